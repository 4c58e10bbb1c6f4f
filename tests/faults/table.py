"""The table fault x verdict, as Markdown, and its place in a file.

It owns the text. What is judged, and how it comes out, it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rttcheck.judge.findings import Layer
from tests.faults import display_faults
from tests.faults.catalogue import FAMILIES, Judged, cases, judge_case
from tests.faults.truth import truth

_MOST: Final = 200
"""Letters of a finding's message that a row shows."""

_HEAD: Final = (
    "| fault | what is wrong | planted in | guilty | verdict | the first finding |",
    "|---|---|---|---|---|---|",
)


def marks(name: str) -> tuple[str, str]:
    """What stands before and after the part ``name`` of the file."""
    return f"<!-- {name} -->", f"<!-- /{name} -->"


def row(name: str, what: str, scenario: str, expected: str, judged: Judged) -> str:
    """One case as a row."""
    verdict = judged.outcome.value if judged.guilty is None else f"{judged.outcome.value}: {judged.guilty.value}"
    said = f"{judged.first.heading}: {judged.first.message}"
    if len(said) > _MOST:
        said = f"{said[: said.rfind(' ', 0, _MOST)]} ..."
    return (
        "| " + " | ".join(text.replace("|", "\\|") for text in (name, what, scenario, expected, verdict, said)) + " |"
    )


def planted_tables() -> str:
    """The tables of all faults that are planted in recordings."""
    parts: list[str] = []
    for title, family in FAMILIES:
        parts += [f"## {title}", "", *_HEAD]
        for case in cases(family.FAULTS):
            fault = case.fault
            judged = judge_case(case)
            parts.append(row(fault.name, fault.what, case.scenario, fault.layer.value, judged))
        parts.append("")
    parts += ["## What a tool prints", "", *_HEAD]
    for shown in display_faults.FAULTS:
        first = shown.judge(truth(shown.scenario))[0]
        judged = Judged(outcome=first.outcome, guilty=first.layer, first=first)
        parts.append(row(shown.name, shown.what, shown.scenario, Layer.OBSERVER.value, judged))
    return "\n".join(parts)


def titled(title: str, rows: Sequence[str]) -> str:
    """A table of ``rows`` under a title."""
    return "\n".join([f"## {title}", "", *_HEAD, *rows])


def part_of(text: str, name: str) -> str:
    """What stands between the marks of the part ``name``. Raises ValueError when they are missing."""
    begin, end = marks(name)
    _, begun, rest = text.partition(begin)
    part, ended, _ = rest.partition(end)
    if not begun or not ended:
        raise ValueError(f"there is no place for the table: put {begin} and {end} in the file")
    return part.strip("\n")


def write_part(path: Path, name: str, part: str) -> None:
    """Put ``part`` between the marks of the part ``name`` in the file ``path``."""
    text = path.read_text()
    part_of(text, name)
    begin, end = marks(name)
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n{part}\n{end}{after}")
