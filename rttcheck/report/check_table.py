"""The output of `rttcheck checks`: all checks as a table for a terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby

from rttcheck.judge.check import Check
from rttcheck.report.json_report import FORMAT
from rttcheck.report.page import Page, plain_table

_INTRODUCTION = """\
# Checks

Made by `rttcheck checks --markdown`. A check's id never changes; its title may. JSON documents, JUnit files,
`rttcheck compare`, `rttcheck soak` and `rttcheck judge --check ID` name checks by their ids. A check of the control run
has the same id, with `control:` before it.

A check that needs what the probe does not see is *not run*. Where the recording is damaged (last column), a failure is
*inconclusive*. [bounds.md](bounds.md) gives the source of each tolerance.
"""


def render(checks: Sequence[Check], *, width: int, colour: bool) -> str:
    """Return the table for a terminal: id, assertion, reference, tolerance and needs."""
    page = Page(width=width, least=100, colour=colour)
    table = plain_table()
    table.add_column("check", no_wrap=True)
    for name in ("asserts", "against", "tolerance", "needs of the probe"):
        table.add_column(name, overflow="fold")
    for check in checks:
        table.add_row(check.id, check.asserts, check.against, check.tolerance, check.needs.render() or "nothing")
    page.print(table)
    return page.text


def markdown(checks: Sequence[Check]) -> str:
    """Return the whole of docs/checks.md, one table per layer."""
    parts = [_INTRODUCTION]
    for layer, group in groupby(checks, key=lambda check: check.layer):
        parts.append(
            f"\n## {layer.value}\n\n"
            "| check | asserts | against | tolerance | needs of the probe | needs of the recording |\n"
            "|---|---|---|---|---|---|\n"
        )
        for check in group:
            cells = (f"`{check.id}`", check.asserts, check.against, check.tolerance, _needs(check), check.quality.value)
            parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return "".join(parts)


def document(checks: Sequence[Check]) -> str:
    """Return JSON: ``format`` and ``checks``, each with the fields of `Check`."""
    rows = [
        {
            "id": check.id,
            "layer": check.layer.value,
            "title": check.title,
            "asserts": check.asserts,
            "against": check.against,
            "tolerance": check.tolerance,
            "needs": {
                "every_sample": check.needs.every_sample,
                "all_of": list(check.needs.all_of),
                "any_of": list(check.needs.any_of),
            },
            "quality": check.quality.value,
        }
        for check in checks
    ]
    return json.dumps({"format": FORMAT, "checks": rows}, indent=1, ensure_ascii=False)


def _needs(check: Check) -> str:
    return check.needs.render() or "nothing"
