"""The output of `rttcheck kernels list`: one line per kernel, then the cache and the age of the archive's lists."""

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
    """Return the whole text. With ``exact`` every kernel has its exact name, else the newest has its series' name."""
    page = Page(width=width, least=80, colour=colour)
    table = plain_table()
    table.add_column("kernel", no_wrap=True)
    table.add_column("release", no_wrap=True)
    table.add_column("suite", no_wrap=True)
    table.add_column("cached", overflow="fold")
    for offer in kernels:
        name = offer.spec if exact or not offer.newest else offer.newest_as
        cached = Text(_cached(offer, now), style="green" if offer.cached else "")
        table.add_row(name, offer.release, offer.suite or "no longer offered", cached)
    if kernels:
        page.print(table)
        page.print()
    held = [offer for offer in kernels if offer.cached]
    page.line(f"{len(held)} of these are cached in {root}, {size_text(sum(offer.bytes for offer in held))}")
    when = "was never queried" if asked is None else f"as of {date_text(asked)}, {age_text(now - asked)}"
    page.line(f"Debian's archive {when}")
    return page.text


def _cached(offer: Offer, now: float) -> str:
    if offer.used is None:
        return ""
    beside = ["headers"] if offer.headers else []
    if offer.frozen:
        count = "a frozen guest" if len(offer.frozen) == 1 else f"{len(offer.frozen)} frozen guests"
        beside.append(f"{count} ({size_text(sum(offer.frozen))})")
    held = f" with {' and '.join(beside)}" if beside else ""
    return f"{size_text(offer.bytes)}{held}, used {age_text(now - offer.used)}"
