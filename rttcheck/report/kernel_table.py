"""What `rttcheck kernels list` shows: a line a kernel, and below where the cache is and when the archive was asked.

Owns the layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from rttcheck.kernels.amount import age_text, date_text, size_text
from rttcheck.kernels.offer import Offer
from rttcheck.report.page import Page, plain_table


def render(
    kernels: Sequence[Offer],
    *,
    asked: float | None,
    root: Path,
    exact: bool,
    now: float,
    width: int,
    colour: bool,
) -> str:
    """The whole text. With `exact` each kernel has the name of just itself, else the newest that of its series."""
    page = Page(width=width, least=80, colour=colour)
    table = plain_table()
    table.add_column("kernel", no_wrap=True)
    table.add_column("release", no_wrap=True)
    table.add_column("suite", no_wrap=True)
    table.add_column("in the cache", overflow="fold")
    for offer in kernels:
        name = offer.spec if exact or not offer.newest else offer.newest_as
        cached = Text(_cached(offer, now), style="green" if offer.cached else "")
        table.add_row(name, offer.release, offer.suite or "offered no longer", cached)
    if kernels:
        page.print(table)
        page.print()
    held = [offer for offer in kernels if offer.cached]
    page.line(f"{len(held)} of these in {root}, {size_text(sum(offer.bytes for offer in held))}")
    when = "was never asked" if asked is None else f"as of {date_text(asked)}, {age_text(now - asked)}"
    page.line(f"Debian's archive {when}")
    return page.text


def _cached(offer: Offer, now: float) -> str:
    if offer.used is None:
        return ""
    beside = " with headers" if offer.headers else ""
    return f"{size_text(offer.bytes)}{beside}, used {age_text(now - offer.used)}"
