"""Kernels beside each other on a terminal: scenarios down, kernels across, below it what did not pass.

Owns how the table gives way on a narrow terminal: medians go first, then kernels are told in blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from rttcheck.report.matrix import LETTERS, Matrix, labels, median
from rttcheck.report.terminal import MARKS, Row

_NARROWEST = 40
_HEADING = "scenario"


def matrix_lines(rows: Sequence[Row], width: int) -> list[str]:
    """The table, at most ``width`` columns wide (40 at least), what did not pass, and a line a kernel with its count.

    A cell is a letter for what did not pass (F failed, ? inconclusive, L lost, E error) and the median of the data
    samples in microseconds. No rows give no lines.
    """
    if not rows:
        return []
    width = max(width, _NARROWEST)
    matrix = Matrix.of(rows)
    names = labels(matrix.kernels)
    key = "medians of data samples in us; F failed, ? inconclusive, L lost, E error"
    table = _blocks(matrix, names, width, figures=True)
    if table is None:
        key = "+ passed, F failed, ? inconclusive, L lost, E error"
        table = _blocks(matrix, names, width, figures=False)
    if table is None:
        table = _split(matrix, names, width)
    lines = [*_wrapped(key, width), *table]
    for problem in matrix.problems():
        where = ", ".join(names[kernel] for kernel in problem.kernels)
        guilty = f"{problem.guilty}: " if problem.guilty else ""
        head = f"{MARKS.get(problem.outcome, problem.outcome)} {problem.scenario} on {where}"
        lines += _wrapped(f"{head}: {guilty}{_first_line(problem.reason)}".rstrip(": "), width)
    lines.append("")
    widest = max(len(names[kernel]) for kernel in matrix.kernels)
    for kernel in matrix.kernels:
        outcomes = matrix.outcomes(kernel)
        tally = ", ".join(f"{outcomes.count(one)} {one}" for one in MARKS if one in outcomes)
        legend = matrix.legend(kernel)
        lines.append(_cut(f"{names[kernel]:<{widest}}  {tally}" + (f"  ({legend})" if legend else ""), width))
    return lines


def _blocks(matrix: Matrix, names: dict[str, str], width: int, *, figures: bool) -> list[str] | None:
    """All kernels in one table, or None where it is too wide."""
    lines = _one(matrix, matrix.kernels, names, figures=figures)
    return lines if max(map(len, lines)) <= width else None


def _split(matrix: Matrix, names: dict[str, str], width: int) -> list[str]:
    """As many kernels side by side as fit, the others below; a single one may be cut."""
    lines: list[str] = []
    left = list(matrix.kernels)
    while left:
        count = len(left)
        while count > 1 and max(map(len, _one(matrix, left[:count], names, figures=False))) > width:
            count -= 1
        lines += [_cut(line, width) for line in _one(matrix, left[:count], names, figures=False)]
        left = left[count:]
    return lines


def _one(matrix: Matrix, kernels: Sequence[str], names: dict[str, str], *, figures: bool) -> list[str]:
    first = max(len(_HEADING), *map(len, matrix.scenarios))
    columns = []
    for kernel in kernels:
        cells = [_cell(matrix.cells.get((kernel, scenario)), figures=figures) for scenario in matrix.scenarios]
        widest = max(len(names[kernel]), *map(len, cells))
        columns.append([text.rjust(widest) for text in (names[kernel], *cells)])
    heads = [_HEADING, *matrix.scenarios]
    return [" ".join((head.ljust(first), *cells)).rstrip() for head, *cells in zip(heads, *columns, strict=True)]


def _cell(row: Row | None, *, figures: bool) -> str:
    if row is None:
        return ""
    letter = LETTERS.get(str(row.get("outcome", "")), "E")
    return f"{letter} {median(row)}" if figures else letter.replace(" ", "+")


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _wrapped(text: str, width: int) -> list[str]:
    return wrap(text, width, subsequent_indent="    ", break_on_hyphens=False)


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"
