"""The matrix of scenarios and kernels as a table for a terminal, with problems below it.

On a narrow terminal medians are omitted first, then kernels are split into several tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from rich.cells import cell_len, set_cell_size

from rttcheck.report.matrix import LETTERS, Matrix, labels, median
from rttcheck.report.terminal import COLOURS, MARKS, Row, paint, tally

_NARROWEST = 40
_HEADING = "scenario"
_INDENT = "    "

_Cell = tuple[str, str]
"""A text and its outcome, or an empty string."""


def matrix_lines(rows: Sequence[Row], width: int, *, colour: bool = False) -> list[str]:
    """Return the table, at most ``width`` columns wide (40 at least), the problems, and one line per kernel.

    A cell has a letter unless passed (F failed, ? inconclusive, L lost, E error, s skipped) and the median of the data
    samples in microseconds. No rows give no lines.
    """
    if not rows:
        return []
    width = max(width, _NARROWEST)
    matrix = Matrix.of(rows)
    names = labels(matrix.kernels)
    figures = _width(_table(matrix, matrix.kernels, names, figures=True)) <= width
    lines = _wrapped(_key(matrix, figures=figures), width, "")
    for block in _blocks(matrix, names, width, figures=figures):
        lines += _drawn(_table(matrix, block, names, figures=figures), width, colour=colour)
    for problem in matrix.problems():
        head = f"{MARKS.get(problem.outcome, problem.outcome)} {problem.title}".rstrip()
        heading = [*_wrapped(head, width, ""), *_wrapped(problem.places(names, matrix.scenarios), width, _INDENT)]
        lines += ["", *(paint(line) if colour else line for line in heading)]
        reason = str(problem.example.get("reason", "")).strip().partition("\n")[0]
        lines += _wrapped(reason, width, _INDENT)
    lines.append("")
    widest = max(cell_len(names[kernel]) for kernel in matrix.kernels)
    for kernel in matrix.kernels:
        legend = matrix.legend(kernel)
        text = f"{_left(names[kernel], widest)}  {tally(matrix.rows(kernel))}" + (f"  ({legend})" if legend else "")
        lines.append(_cut(text, width))
    return lines


def _key(matrix: Matrix, *, figures: bool) -> str:
    """Return the legend of the letters and numbers in the table."""
    outcomes = {str(row.get("outcome", "")) for row in matrix.cells.values()}
    words = [f"{letter} {outcome}" for outcome, letter in LETTERS.items() if outcome in outcomes and letter != " "]
    if figures:
        return "; ".join(filter(None, ["medians of data samples in us", ", ".join(words)]))
    return ", ".join(["+ passed", *words])


def _blocks(matrix: Matrix, names: dict[str, str], width: int, *, figures: bool) -> list[Sequence[str]]:
    """Return groups of kernels that fit the width; a single kernel may be truncated."""
    blocks: list[Sequence[str]] = []
    left: Sequence[str] = matrix.kernels
    while left:
        count = len(left)
        while count > 1 and _width(_table(matrix, left[:count], names, figures=figures)) > width:
            count -= 1
        blocks.append(left[:count])
        left = left[count:]
    return blocks


def _table(matrix: Matrix, kernels: Sequence[str], names: dict[str, str], *, figures: bool) -> list[list[_Cell]]:
    """Return lines of cells, each padded to its column's width."""
    first = max(cell_len(_HEADING), *map(cell_len, matrix.scenarios))
    columns: list[list[_Cell]] = [[(_left(text, first), "") for text in (_HEADING, *matrix.scenarios)]]
    for kernel in kernels:
        rows = [matrix.cells.get((kernel, scenario)) for scenario in matrix.scenarios]
        cells = [(_cell(row, figures=figures), str((row or {}).get("outcome", ""))) for row in rows]
        widest = max(cell_len(text) for text, _ in ((names[kernel], ""), *cells))
        columns.append([(_right(text, widest), outcome) for text, outcome in ((names[kernel], ""), *cells)])
    return [list(line) for line in zip(*columns, strict=True)]


def _width(table: list[list[_Cell]]) -> int:
    return sum(cell_len(text) for text, _ in table[0]) + len(table[0]) - 1


def _drawn(table: list[list[_Cell]], width: int, *, colour: bool) -> list[str]:
    # Truncated lines stay plain: a truncated escape sequence would colour everything after it.
    plain = _width(table) > width or not colour
    lines = [" ".join(text if plain else _painted(text, outcome) for text, outcome in line).rstrip() for line in table]
    return [_cut(line, width) for line in lines] if plain else lines


def _painted(text: str, outcome: str) -> str:
    number = COLOURS.get(MARKS.get(outcome, outcome)) if outcome != "passed" else None
    return f"\x1b[{number}m{text}\x1b[0m" if number is not None else text


def _cell(row: Row | None, *, figures: bool) -> str:
    if row is None:
        return ""
    letter = LETTERS.get(str(row.get("outcome", "")), "E")
    return f"{letter} {median(row)}" if figures else letter.replace(" ", "+")


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return wrap(text, width, initial_indent=indent, subsequent_indent=indent or _INDENT, break_on_hyphens=False)


def _left(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))


def _right(text: str, width: int) -> str:
    return " " * (width - cell_len(text)) + text


def _cut(line: str, width: int) -> str:
    return line if cell_len(line) <= width else f"{set_cell_size(line, width - 1)}…"
