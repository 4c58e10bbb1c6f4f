"""The output of `rttcheck doctor`: a table of capabilities, the remedies, and what `auto` would use.

Remedies are printed below the table on unbroken lines, so that commands can be copied.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from rttcheck.doctor.capability import GUEST, HOST, OPTIONAL, Capability, missing
from rttcheck.doctor.kernel_choice import Choice
from rttcheck.doctor.selection import Pair
from rttcheck.report.page import Page, plain_table

_TITLES = {
    HOST: "to judge the running kernel",
    GUEST: "to judge other kernels, in guests",
    OPTIONAL: "optional",
}


def render(
    capabilities: Sequence[Capability],
    choice: Choice | None,
    refusal: str,
    pairs: Sequence[Pair] = (),
    *,
    width: int,
    colour: bool,
) -> str:
    """Return the whole text, in tables of at most ``width`` columns; ``refusal`` is the reason for no ``choice``."""
    page = Page(width=width, least=60, colour=colour)
    page.print(_table(capabilities))
    page.print()
    if pairs:
        page.print(_pairs(pairs))
        page.print()
    for needed_for, title in _TITLES.items():
        lacking = missing(capabilities, needed_for)
        remedies = [(capability.name, capability.remedy) for capability in lacking if capability.remedy]
        if not remedies:
            continue
        page.print(f"missing {title}:" if needed_for != OPTIONAL else "optional:")
        widest = max(len(name) for name, _ in remedies)
        for name, remedy in remedies:
            page.line(f"  {name:<{widest}}  {remedy}")
        page.print()
    if choice is not None:
        page.line(Text.assemble(("auto would use: ", "bold"), choice.sentence))
    else:
        page.line(Text.assemble(("auto cannot use any kernel: ", "bold red"), refusal))
    return page.text


def _table(capabilities: Sequence[Capability]) -> Table:
    table = plain_table()
    table.add_column("", no_wrap=True)
    table.add_column("capability", no_wrap=True)
    table.add_column("result", overflow="fold")
    for needed_for, title in _TITLES.items():
        rows = [capability for capability in capabilities if capability.needed_for == needed_for]
        if not rows:
            continue
        table.add_row("", Text(title, style="bold"), "")
        for capability in rows:
            table.add_row(_mark(capability, capabilities), f"  {capability.name}", Text(capability.detail))
        table.add_section()
    return table


def _pairs(pairs: Sequence[Pair]) -> Table:
    """Return a table of probes (rows) and engines (columns), best first, with what each pair sees or lacks."""
    engines = list(dict.fromkeys(pair.engine for pair in pairs))
    table = plain_table()
    table.add_column("probe", no_wrap=True)
    for engine in engines:
        table.add_column(f"with engine {engine}", overflow="fold")
    for probe in dict.fromkeys(pair.probe for pair in pairs):
        cells = {pair.engine: pair for pair in pairs if pair.probe == probe}
        table.add_row(probe, *(_cell(cells[engine]) for engine in engines))
    return table


def _cell(pair: Pair) -> Text:
    return Text(pair.sees, style="green") if pair.works else Text(f"- {pair.why}", style="yellow")


def _mark(capability: Capability, capabilities: Sequence[Capability]) -> Text:
    """Return the mark of a capability: found, MISSING, missing (optional or replaceable), or unknown (not tested)."""
    if capability.found:
        return Text("found", style="green")
    if capability.needed_for != OPTIONAL and not capability.lack:
        return Text("unknown", style="yellow")
    if capability.needed_for == OPTIONAL or capability not in missing(capabilities, capability.needed_for):
        return Text("missing", style="yellow")
    return Text("MISSING", style="bold red")
