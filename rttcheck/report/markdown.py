"""A session's results as GitHub Flavored Markdown, for the summary of a CI job.

A table of medians, a table of kernels, and a block for each problem.
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
"""Most characters of one reason: consoles are long, and a job's summary is limited (1 MiB at GitHub)."""

_MOST_COMMANDS = 10

BEGIN, END = "<!-- matrix -->", "<!-- /matrix -->"
"""Lines of a document that enclose the text."""


def markdown(rows: Sequence[Row], kernels: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the table of ``rows`` (one row per scenario, one column per kernel, medians in us) and of problems.

    ``kernels`` are `KernelRun.facts`: the time that each kernel took, and its lost guests.
    """
    if not rows:
        return "### TCP round trips\n\nNo scenario has a result.\n"
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
    lines += ["", "| kernel | result | |", "|---|---|---|"]
    for kernel in matrix.kernels:
        parts = [matrix.legend(kernel), *_account(facts.get(kernel, {}))]
        remarks = _cell("; ".join(part for part in parts if part))
        lines.append(f"| {_cell(kernel)} | {_cell(tally(matrix.rows(kernel)))} | {remarks} |")
    for problem in matrix.problems():
        lines += _block(matrix, problem, names)
    for kernel in matrix.kernels:
        for number, loss in enumerate(facts.get(kernel, {}).get("losses", ()), start=1):
            title = _html(f"{names[kernel]}: guest lost" + (" again" if number > 1 else ""))
            lines += ["", f"<details><summary>{title}</summary>", "", *_fenced(str(loss)), "", "</details>"]
    return "\n".join(lines) + "\n"


def placed(text: str, document: str) -> str:
    """Return ``document`` with ``text`` between the lines `BEGIN` and `END`; without these lines, ``text``."""
    before, begin, rest = document.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(END)
    return f"{before}{begin}{text}{end}{after}" if begin and end else text


def _block(matrix: Matrix, problem: Problem, names: dict[str, str]) -> list[str]:
    """Return a block: what did not pass, where, why, and the commands that run it again."""
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
        *_fenced(str(problem.example.get("reason", "")) or "no reason given"),
        *(["", *_fenced("\n".join(again))] if again else []),
        "",
        "</details>",
    ]


def _account(facts: Mapping[str, Any]) -> list[str]:
    parts = []
    if facts.get("seconds"):
        parts.append(f"{facts['seconds']} s, {facts.get('seconds_to_first_test', 0)} s of it to the first test")
    if facts.get("where"):
        parts.append(f"on {facts['where']}")
    losses = len(facts.get("losses", ()))
    if losses:
        parts.append("its guest was lost" + (" once" if losses == 1 else f" {losses} times"))
    return parts


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
    # Escape the characters that Markdown would interpret.
    return re.sub(r"([\\`*\[\]|~])", r"\\\1", _html(text)).replace("\n", " ")


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
