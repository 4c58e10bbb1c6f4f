"""Results as lines for a terminal: one a scenario, columns aligned, the reason below what did not pass.

Owns which columns there are and which of them give way on a narrow terminal. The lines are plain text; colour is put
on top by `paint`, and only for who asks for it. It knows rows (`rttcheck.harness.Row`) and no recording.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap

Row = Mapping[str, str | int | float]

MARKS = {"passed": "passed", "failed": "FAILED", "inconclusive": "inconclusive", "error": "ERROR", "lost": "LOST"}
"""How an outcome is written at the beginning of a line: what needs a look stands out without colour, too."""

_MACHINE = {"kernel": "kernel {}", "clock": "{} clock", "engine": "engine {}", "probe": "probe {}"}
"""What says where a row comes from: told once above the table where all rows agree, else in a column of its own."""

COLOURS = {"passed": 32, "FAILED": 31, "inconclusive": 33, "ERROR": 31, "LOST": 35}
"""Of the marks, as a terminal numbers them."""
_GAP = "  "
_INDENT = "    "
_NARROWEST = 40


@dataclass(frozen=True, slots=True)
class _Column:
    """A column: its heading, its cells, whether it is of numbers, and when it gives way (0: never, 1: first)."""

    heading: str
    cells: tuple[str, ...]
    right: bool = False
    gives_way: int = 0

    @property
    def width(self) -> int:
        return max(map(len, (self.heading, *self.cells)))

    def aligned(self) -> list[str]:
        texts = (self.heading, *self.cells)
        return [text.rjust(self.width) if self.right else text.ljust(self.width) for text in texts]


def summary_lines(rows: Sequence[Row], width: int) -> list[str]:
    """A heading (of the machine what all rows share), a line a scenario, and how many came to what.

    Below a scenario that did not pass stand the guilty layer and the reason. No line is longer than ``width`` columns
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


def render_rows(rows: Sequence[Row]) -> list[str]:
    """One aligned line a scenario, as wide as it takes, without heading or reasons."""
    return _table(rows, None)[1:] if rows else []


def tally(rows: Iterable[Row]) -> str:
    """How many scenarios came to what: ``16 passed, 1 failed, 1 inconclusive``; outcomes of nobody are left out."""
    outcomes = [_text(row, "outcome") for row in rows]
    order = (*MARKS, *(outcome for outcome in dict.fromkeys(outcomes) if outcome not in MARKS))
    return ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in order if outcome in outcomes)


def paint(line: str) -> str:
    """The line of a scenario with its outcome coloured; any other line as it is."""
    for mark, colour in COLOURS.items():
        if line.startswith(f"{mark} "):
            return f"\x1b[{colour}m{mark}\x1b[0m{line[len(mark) :]}"
    return line


def machine(rows: Sequence[Row]) -> str:
    """What all rows have in common of where they come from: ``kernel 6.12.111, virtual clock, engine netem``."""
    shared = {key: _text(rows[0], key) for key in _MACHINE if len({_text(row, key) for row in rows}) == 1}
    return ", ".join(_MACHINE[key].format(value) for key, value in shared.items() if value)


def _table(rows: Sequence[Row], width: int | None) -> list[str]:
    """Heading and rows; columns give way, then cells are cut, until they fit ``width``."""
    columns = _columns(rows)
    while width is not None and _width(columns) > width:
        victims = [column for column in columns if column.gives_way]
        if not victims:
            break
        columns.remove(min(victims, key=lambda column: column.gives_way))
    lines = [_GAP.join(cells).rstrip() for cells in zip(*(column.aligned() for column in columns), strict=True)]
    return lines if width is None else [_cut(line, width) for line in lines]


def _width(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + len(_GAP) * (len(columns) - 1)


def _columns(rows: Sequence[Row]) -> list[_Column]:
    columns = [
        _Column("", tuple(_mark(row) for row in rows)),
        _Column("scenario", tuple(_text(row, "scenario") for row in rows)),
        _Column("injected", tuple(_text(row, "injected") for row in rows), gives_way=4),
        _Column("samples", tuple(_number(row, "samples") for row in rows), right=True, gives_way=1),
        _Column("min us", tuple(_number(row, "min_us") for row in rows), right=True, gives_way=3),
        _Column("p50 us", tuple(_number(row, "p50_us") for row in rows), right=True),
        _Column("max us", tuple(_number(row, "max_us") for row in rows), right=True, gives_way=5),
        _Column("bucket", tuple(_text(row, "bucket") or "-" for row in rows), gives_way=2),
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
    """The guilty layer and the reason, below the line of what did not pass."""
    if _text(row, "outcome") == "passed":
        return []
    guilty, reason = _text(row, "guilty"), _text(row, "reason")
    return _wrapped(f"{guilty}: {reason}" if guilty and reason else guilty or reason, width, _INDENT)


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return wrap(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _text(row: Row, key: str) -> str:
    return str(row.get(key, ""))


def _number(row: Row, key: str) -> str:
    """A count or a time; what was never measured (missing, or negative) is a dash."""
    value = row.get(key, -1)
    return str(value) if isinstance(value, (int, float)) and value >= 0 else "-"


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"
