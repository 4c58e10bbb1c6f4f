"""Which kernels there are: what Debian's archive offers, and which of it, or of what it offered once, is cached.

Owns the list and its selection by series and flavour. Fetches no kernel and lays nothing out for a person.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rttcheck.errors import KernelError
from rttcheck.kernels.apt import Archive
from rttcheck.kernels.archive import cached, whole_archive
from rttcheck.kernels.cache import Progress, exclusive
from rttcheck.kernels.inventory import CacheEntry, inventory
from rttcheck.kernels.kernel import version_key
from rttcheck.kernels.spec import FLAVOURS


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One kernel: ``spec`` names exactly it, ``newest_as`` is what also names it while it is the newest of its series.

    ``suite`` is empty for a cached one that the archive has no longer. ``bytes`` (0: not cached) counts all that is
    kept of it, ``used`` is its last use, seconds since the epoch.
    """

    spec: str
    release: str
    series: str
    flavour: str
    version: str
    suite: str
    newest: bool = False
    bytes: int = 0
    used: float | None = None
    headers: bool = False

    @property
    def newest_as(self) -> str:
        """``debian:6.12``, ``debian:6.12-rt``; empty for one that is not the newest."""
        return f"debian:{self.series}{'-rt' if self.flavour.startswith('rt-') else ''}" if self.newest else ""

    @property
    def cached(self) -> bool:
        """Whether it needs no network."""
        return self.used is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """All kernels, the oldest first, as the archive had them at ``asked`` (seconds since the epoch; None: never).

    ``trouble`` is why it could not be asked now.
    """

    kernels: tuple[Offer, ...]
    asked: float | None
    trouble: str = ""


def offers(root: Path, *, progress: Progress) -> Offers:
    """What the archive has now, or where it cannot be reached what it had when it was asked last; and the cache."""
    archive = whole_archive(root)
    trouble = ""
    if not archive.is_fresh():
        try:
            with exclusive(root, progress=progress):
                archive.refresh(progress=progress)
        except KernelError as error:
            trouble = str(error)
    kept = {one.label: one for one in inventory(root) if "kernel" in one.holds}
    offered = _offered(archive, kept)
    known = {(offer.release, offer.version) for offer in offered}
    held = [offer for offer in _held(root, kept) if (offer.release, offer.version) not in known]
    return Offers(kernels=ranked(offered, held), asked=archive.asked, trouble=trouble)


def ranked(offered: Iterable[Offer], held: Iterable[Offer]) -> tuple[Offer, ...]:
    """Both, the oldest first, with the newest of each series and flavour marked.

    `offered` is in the archive's order. A cached kernel that is offered no longer is the newest of its series only
    where nothing of that series is offered.
    """
    newest: dict[tuple[str, str], Offer] = {}
    for offer in offered:
        newest[offer.series, offer.flavour] = offer
    gone = sorted(held, key=_order)
    for offer in gone:
        if not newest.get((offer.series, offer.flavour), offer).suite:
            newest[offer.series, offer.flavour] = offer
    marked = [replace(offer, newest=newest[offer.series, offer.flavour] is offer) for offer in (*offered, *gone)]
    return tuple(sorted(marked, key=_order))


def select(
    kernels: Iterable[Offer], *, series: Collection[str] = (), flavours: Collection[str] = FLAVOURS, every: bool = False
) -> tuple[Offer, ...]:
    """The newest of each series and flavour and what else is cached; with `every` all of them.

    `series` and `flavours` narrow the choice. Raises `KernelError` for a series that nobody has, with those there are.
    """
    known = [offer for offer in kernels if offer.flavour in flavours]
    there = dict.fromkeys(offer.series for offer in sorted(known, key=lambda offer: version_key(offer.series)))
    for wanted in series:
        if wanted not in there:
            raise KernelError(
                f"there is no kernel of series {wanted!r}; name one of {', '.join(there) or 'another flavour'}"
            )
    return tuple(
        offer for offer in known if (every or offer.newest or offer.cached) and (not series or offer.series in series)
    )


def _order(offer: Offer) -> tuple[tuple[int, ...], str, tuple[int, ...]]:
    return version_key(offer.version.partition("-")[0]), offer.flavour, version_key(offer.release)


def _offered(archive: Archive, kept: Mapping[str, CacheEntry]) -> list[Offer]:
    if archive.asked is None:
        return []
    return [
        _with_kept(
            Offer(
                spec=image.spec,
                release=f"{image.release}-{image.flavour}",
                series=image.series,
                flavour=image.flavour,
                version=image.version,
                suite=archive.suite_of(image),
            ),
            kept,
        )
        for image in archive.images()
    ]


def _held(root: Path, kept: Mapping[str, CacheEntry]) -> list[Offer]:
    return [
        _with_kept(
            Offer(
                spec=f"debian:{kernel.name}",
                release=kernel.release,
                series=".".join(kernel.release.split(".")[:2]),
                flavour="rt-amd64" if kernel.release.endswith("-rt-amd64") else "amd64",
                version=kernel.version,
                suite="",
            ),
            kept,
        )
        for kernel in cached(root)
    ]


def _with_kept(offer: Offer, kept: Mapping[str, CacheEntry]) -> Offer:
    known = kept.get(offer.release)
    if known is None:
        return offer
    return replace(offer, bytes=known.bytes, used=known.used, headers="headers" in known.holds)
