"""Results as lines for a terminal: one per scenario, in columns, with the reason below what did not pass.

On a narrow terminal some columns are omitted. The lines are plain text; `paint` adds colour. Made from rows
(`rttcheck.judging.result.Row`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap

Row = Mapping[str, str | int | float]

MARKS = {"passed": "passed", "failed": "FAILED", "inconclusive": "inconclusive", "error": "ERROR", "lost": "LOST"}
"""The outcome at the beginning of a line; capitals stand out without colour, too."""

_MACHINE = {"kernel": "kernel {}", "clock": "{} clock", "engine": "engine {}", "probe": "probe {}"}
"""The origin of a row: printed once above the table where all rows agree, else in a column."""

COLOURS = {"passed": 32, "FAILED": 31, "inconclusive": 33, "ERROR": 31, "LOST": 35}
"""ANSI colour numbers of the marks."""
_GAP = "  "
_INDENT = "    "
_NARROWEST = 40


@dataclass(frozen=True, slots=True)
class _Column:
    """A column: heading, cells, whether it is right-aligned, and when it is omitted (0: never, 1: first)."""

    heading: str
    cells: tuple[str, ...]
    right: bool = False
    omitted: int = 0

    @property
    def width(self) -> int:
        return max(map(len, (self.heading, *self.cells)))

    def aligned(self) -> list[str]:
        texts = (self.heading, *self.cells)
        return [text.rjust(self.width) if self.right else text.ljust(self.width) for text in texts]


def summary_lines(rows: Sequence[Row], width: int) -> list[str]:
    """Return a heading (kernel, clock, engine and probe if shared), a line per scenario, and a tally.

    Below a scenario that did not pass are the guilty layer and the reason. No line is longer than ``width`` columns
    (40 at least). No rows give no lines.
    """
    if not rows:
        return []
    width = max(width, _NARROWEST)
    table = _table(rows, width)
    lines = [*_wrapped(machine(rows), width, ""), table[0]]
    for row, line in zip(rows, table[1:], strict=True):
        lines.append(line)
        lines += _reason(row, width)
    return [*lines, tally(rows)]


def tally(rows: Iterable[Row]) -> str:
    """Return the number of scenarios of each outcome that occurs: ``16 passed, 1 failed, 1 inconclusive``."""
    outcomes = [_text(row, "outcome") for row in rows]
    order = (*MARKS, *(outcome for outcome in dict.fromkeys(outcomes) if outcome not in MARKS))
    return ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in order if outcome in outcomes)


def paint(line: str) -> str:
    """Return a scenario's line with its outcome coloured, any other line unchanged."""
    for mark, colour in COLOURS.items():
        if line.startswith(f"{mark} "):
            return f"\x1b[{colour}m{mark}\x1b[0m{line[len(mark) :]}"
    return line


def machine(rows: Sequence[Row]) -> str:
    """Return what all rows share of their origin: ``kernel 6.12.111, virtual clock, engine netem``."""
    shared = {key: _text(rows[0], key) for key in _MACHINE if len({_text(row, key) for row in rows}) == 1}
    return ", ".join(_MACHINE[key].format(value) for key, value in shared.items() if value)


def _table(rows: Sequence[Row], width: int) -> list[str]:
    """Return heading and rows; columns are omitted, then lines truncated, to fit ``width``."""
    columns = _columns(rows)
    while _width(columns) > width:
        omittable = [column for column in columns if column.omitted]
        if not omittable:
            break
        columns.remove(min(omittable, key=lambda column: column.omitted))
    lines = [_GAP.join(cells).rstrip() for cells in zip(*(column.aligned() for column in columns), strict=True)]
    return [_cut(line, width) for line in lines]


def _width(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + len(_GAP) * (len(columns) - 1)


def _columns(rows: Sequence[Row]) -> list[_Column]:
    columns = [
        _Column("", tuple(_mark(row) for row in rows)),
        _Column("scenario", tuple(_text(row, "scenario") for row in rows)),
        _Column("injected", tuple(_text(row, "injected") for row in rows), omitted=4),
        _Column("samples", tuple(_number(row, "samples") for row in rows), right=True, omitted=1),
        _Column("min us", tuple(_number(row, "min_us") for row in rows), right=True, omitted=3),
        _Column("p50 us", tuple(_number(row, "p50_us") for row in rows), right=True),
        _Column("max us", tuple(_number(row, "max_us") for row in rows), right=True, omitted=5),
        _Column("bucket", tuple(_text(row, "bucket") or "-" for row in rows), omitted=2),
    ]
    if any(row.get("lost") for row in rows):
        columns.append(_Column("lost", tuple(_number(row, "lost") for row in rows), right=True))
    for key in _MACHINE:
        cells = tuple(_text(row, key) for row in rows)
        if len(set(cells)) > 1:
            columns.append(_Column(key, cells))
    return columns


def _mark(row: Row) -> str:
    outcome = _text(row, "outcome")
    return MARKS.get(outcome, outcome)


def _reason(row: Row, width: int) -> list[str]:
    """Return the guilty layer and the reason of what did not pass, as indented lines."""
    if _text(row, "outcome") == "passed":
        return []
    guilty, reason = _text(row, "guilty"), _text(row, "reason")
    return _wrapped(f"{guilty}: {reason}" if guilty and reason else guilty or reason, width, _INDENT)


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return wrap(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _text(row: Row, key: str) -> str:
    return str(row.get(key, ""))


def _number(row: Row, key: str) -> str:
    """Return a count or a time as text; a dash if missing or negative (not measured)."""
    value = row.get(key, -1)
    return str(value) if isinstance(value, (int, float)) and value >= 0 else "-"


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"
