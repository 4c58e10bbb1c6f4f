"""A session's results as Markdown, for the summary of a CI job: the table, what did not pass, what the kernels were.

Owns the text and its escaping (GitHub Flavored Markdown). It writes no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rttcheck.report.matrix import Matrix, labels, median
from rttcheck.report.terminal import Row

_MARKS = {
    "passed": "",
    "failed": "**FAILED** ",
    "inconclusive": "inconclusive ",
    "lost": "**LOST**",
    "error": "**ERROR**",
}
_LONGEST = 4_000
"""Characters of one reason: a console's tail is long, and a job's summary is bounded."""


def markdown(rows: Sequence[Row], kernels: Sequence[Mapping[str, Any]] = ()) -> str:
    """The table of ``rows`` (scenarios down, kernels across, medians in us), and a block for each that did not pass.

    ``kernels`` are `KernelRun.facts`: what a kernel took, and how often its guest was lost.
    """
    if not rows:
        return "### TCP round trips\n\nNo scenario came to a result.\n"
    matrix = Matrix.of(rows)
    names = labels(matrix.kernels)
    lines = ["### TCP round trips", "", "Medians of data samples in microseconds.", ""]
    lines.append("| scenario | injected | " + " | ".join(_cell(names[kernel]) for kernel in matrix.kernels) + " |")
    lines.append("|---|---|" + "---:|" * len(matrix.kernels))
    for scenario in matrix.scenarios:
        found = [matrix.cells.get((kernel, scenario)) for kernel in matrix.kernels]
        injected = next((str(row["injected"]) for row in found if row is not None and row.get("injected")), "")
        cells = [_outcome(row) for row in found]
        lines.append(f"| {_cell(scenario)} | {_cell(injected)} | " + " | ".join(cells) + " |")
    lines += ["", "| kernel | came to | |", "|---|---|---|"]
    facts = {str(kernel.get("asked", "")): kernel for kernel in kernels}
    for kernel in matrix.kernels:
        outcomes = matrix.outcomes(kernel)
        tally = ", ".join(f"{outcomes.count(one)} {one}" for one in _MARKS if one in outcomes)
        words = [matrix.legend(kernel), *_account(facts.get(kernel, {}))]
        lines.append(f"| {_cell(kernel)} | {tally} | {_cell('; '.join(word for word in words if word))} |")
    for problem in matrix.problems():
        where = ", ".join(names[kernel] for kernel in problem.kernels)
        layer = f", the {problem.guilty} layer" if problem.guilty else ""
        title = _html(f"{problem.scenario}: {problem.outcome} on {where}{layer}")
        lines += ["", f"<details><summary>{title}</summary>", "", *_fenced(problem.reason), "", "</details>"]
    return "\n".join(lines) + "\n"


def _account(facts: Mapping[str, Any]) -> list[str]:
    words = []
    if facts.get("seconds"):
        words.append(f"{facts['seconds']} s, {facts.get('seconds_to_first_test', 0)} s of them to the first test")
    if facts.get("where"):
        words.append(f"on {facts['where']}")
    if facts.get("losses"):
        words.append(f"its guest was lost {len(facts['losses'])} times")
    return words


def _outcome(row: Row | None) -> str:
    if row is None:
        return ""
    mark = _MARKS.get(str(row.get("outcome", "")), "**ERROR**")
    figure = median(row)
    return (mark + (figure if figure != "-" else "")).strip() or "-"


def _fenced(text: str) -> list[str]:
    text = text.strip()
    if len(text) > _LONGEST:
        text = "…" + text[-_LONGEST:]
    fence = "```"
    while fence in text:
        fence += "`"
    return [fence, text, fence]


def _cell(text: str) -> str:
    return _html(text).replace("|", "\\|").replace("\n", " ")


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
