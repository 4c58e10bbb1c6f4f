"""A session's results as Markdown, for the summary of a CI job: the table, what did not pass, what the kernels were.

Owns the text, its escaping (GitHub Flavored Markdown) and its place in a document. It writes no file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rttcheck.report.matrix import Matrix, Problem, labels, median
from rttcheck.report.terminal import Row, tally

_MARKS = {
    "passed": "",
    "failed": "**FAILED** ",
    "inconclusive": "inconclusive ",
    "lost": "**LOST**",
    "error": "**ERROR**",
    "skipped": "skipped",
}
_LONGEST = 4_000
"""Characters of one reason: a console's tail is long, and a job's summary is bounded (1 MiB at GitHub)."""

_MOST_COMMANDS = 10

BEGIN, END = "<!-- matrix -->", "<!-- /matrix -->"
"""Lines of a document between which the text is put."""


def markdown(rows: Sequence[Row], kernels: Sequence[Mapping[str, Any]] = ()) -> str:
    """The table of ``rows`` (scenarios down, kernels across, medians in us), and a block for what did not pass.

    ``kernels`` are `KernelRun.facts`: what a kernel took, and how often its guest was lost.
    """
    if not rows:
        return "### TCP round trips\n\nNo scenario came to a result.\n"
    matrix = Matrix.of(rows)
    names = labels(matrix.kernels)
    facts = {str(kernel.get("asked", "")): kernel for kernel in kernels}
    lines = ["### TCP round trips", "", "Medians of data samples in microseconds.", ""]
    lines.append("| scenario | injected | " + " | ".join(_cell(names[kernel]) for kernel in matrix.kernels) + " |")
    lines.append("|---|---|" + "---:|" * len(matrix.kernels))
    for scenario in matrix.scenarios:
        found = [matrix.cells.get((kernel, scenario)) for kernel in matrix.kernels]
        injected = next((str(row["injected"]) for row in found if row is not None and row.get("injected")), "")
        cells = [_outcome(row) for row in found]
        lines.append(f"| {_cell(scenario)} | {_cell(injected)} | " + " | ".join(cells) + " |")
    lines += ["", "| kernel | came to | |", "|---|---|---|"]
    for kernel in matrix.kernels:
        words = [matrix.legend(kernel), *_account(facts.get(kernel, {}))]
        told = _cell("; ".join(word for word in words if word))
        lines.append(f"| {_cell(kernel)} | {_cell(tally(matrix.rows(kernel)))} | {told} |")
    for problem in matrix.problems():
        lines += _block(matrix, problem, names)
    for kernel in matrix.kernels:
        for number, loss in enumerate(facts.get(kernel, {}).get("losses", ()), start=1):
            title = _html(f"{names[kernel]}: guest lost" + (" again" if number > 1 else ""))
            lines += ["", f"<details><summary>{title}</summary>", "", *_fenced(str(loss)), "", "</details>"]
    return "\n".join(lines) + "\n"


def placed(text: str, document: str) -> str:
    """``text`` in its place in ``document``: between the lines `BEGIN` and `END`, or instead of all that is there."""
    before, begin, rest = document.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(END)
    return f"{before}{begin}{text}{end}{after}" if begin and end else text


def _block(matrix: Matrix, problem: Problem, names: dict[str, str]) -> list[str]:
    """What did not pass, where, why, and what runs it again."""
    title = " ".join(word for word in (problem.outcome, problem.title) if word)
    where = problem.places(names, matrix.scenarios)
    commands = [
        str(matrix.cells[kernel, scenario].get("reproduce", "")) for kernel, met in problem.where for scenario in met
    ]
    commands = [command for command in dict.fromkeys(commands) if command]
    left = len(commands) - _MOST_COMMANDS
    again = commands[:_MOST_COMMANDS] + ([f"# and {left} more"] if left > 0 else [])
    return [
        "",
        f"<details><summary>{_html(title)} ({_html(where)})</summary>",
        "",
        *_fenced(str(problem.example.get("reason", "")) or "it gave no reason"),
        *(["", *_fenced("\n".join(again))] if again else []),
        "",
        "</details>",
    ]


def _account(facts: Mapping[str, Any]) -> list[str]:
    words = []
    if facts.get("seconds"):
        words.append(f"{facts['seconds']} s, {facts.get('seconds_to_first_test', 0)} s of them to the first test")
    if facts.get("where"):
        words.append(f"on {facts['where']}")
    losses = len(facts.get("losses", ()))
    if losses:
        words.append("its guest was lost" + (" once" if losses == 1 else f" {losses} times"))
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
    # A name is a name, whatever Markdown would make of its stars.
    return re.sub(r"([\\`*\[\]|~])", r"\\\1", _html(text)).replace("\n", " ")


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
