"""Print the tables of the planted faults as Markdown, and replace the marked parts of a file.

One row a fault. A row names the verdict and the id of the first finding's check, and no message: ids do not change when
a message is worded anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rttcheck.judge.findings import Layer, Outcome
from tests.faults import display_faults
from tests.faults.catalogue import FAMILIES, Judged, cases, judge_case
from tests.faults.truth import truth


def marks(name: str) -> tuple[str, str]:
    """Return the lines before and after the part ``name`` of the file."""
    return f"<!-- {name} -->", f"<!-- /{name} -->"


def row(name: str, what: str, guilty: Layer, judged: Mapping[str, Judged]) -> str:
    """Return the row of one fault; ``judged`` has what the judge found, by the recording's name or settings.

    Recordings are named again in the last column only where they got different verdicts.
    """
    verdicts: dict[str, list[str]] = {}
    for recording, each in judged.items():
        verdicts.setdefault(_verdict(each), []).append(recording)
    if len(verdicts) == 1:
        last = next(iter(verdicts))
    else:
        last = "<br>".join(f"{verdict} ({', '.join(names)})" for verdict, names in verdicts.items())
    return markdown_row((name, what, ", ".join(judged), guilty.value, last))


def _verdict(judged: Judged) -> str:
    if judged.outcome is Outcome.PASSED:
        return judged.outcome.value
    layer = f": {judged.guilty.value}" if judged.guilty is not None else ""
    return f"{judged.outcome.value}{layer}, `{judged.first.key}`"


def markdown_row(cells: Sequence[str]) -> str:
    """Return the cells as one line of a Markdown table."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def planted_tables() -> str:
    """Judge all faults that are planted in recordings and in a tool's output, and return their tables."""
    parts: list[str] = []
    for title, family in FAMILIES:
        by_fault: dict[str, dict[str, Judged]] = {}
        for case in cases(family.FAULTS):
            by_fault.setdefault(case.fault.name, {})[case.scenario] = judge_case(case)
        rows = [row(fault.name, fault.what, fault.layer, by_fault[fault.name]) for fault in family.FAULTS]
        parts += [titled(title, rows), ""]
    shown = []
    for fault in display_faults.FAULTS:
        first = fault.judge(truth(fault.scenario))[0]
        judged = Judged(outcome=first.outcome, guilty=first.layer, first=first)
        shown.append(row(fault.name, fault.what, Layer.OBSERVER, {fault.scenario: judged}))
    return "\n".join([*parts, titled("What a tool prints", shown)])


def titled(title: str, rows: Sequence[str], *, recordings: str = "planted in") -> str:
    """Return a table of ``rows`` under a title; ``recordings`` is the head of the column that names them."""
    head = ("fault", "what is wrong", recordings, "guilty", "verdict and first finding")
    return "\n".join([f"## {title}", "", markdown_row(head), "|---|---|---|---|---|", *rows])


def part_of(text: str, name: str) -> str:
    """Return the text between the marks of the part ``name``. Raises ValueError when they are missing."""
    begin, end = marks(name)
    _, begun, rest = text.partition(begin)
    part, ended, _ = rest.partition(end)
    if not begun or not ended:
        raise ValueError(f"there is no place for the table: put {begin} and {end} in the file")
    return part.strip("\n")


def write_part(path: Path, name: str, part: str) -> None:
    """Replace the text between the marks of the part ``name`` in the file ``path``. Raises ValueError without marks."""
    text = path.read_text()
    part_of(text, name)
    begin, end = marks(name)
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n{part}\n{end}{after}")
