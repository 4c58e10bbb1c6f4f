"""List the kernels in Debian's archive and in the cache, and select from them by series and flavour."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rttcheck.errors import KernelError
from rttcheck.kernels.apt import Archive
from rttcheck.kernels.archive import cached, whole_archive
from rttcheck.kernels.cache import Progress, exclusive
from rttcheck.kernels.inventory import CacheEntry, inventory, size_of
from rttcheck.kernels.kernel import version_key
from rttcheck.kernels.spec import FLAVOURS


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One kernel: ``spec`` names exactly it, ``newest_as`` its series while it is the newest of that.

    ``suite`` is empty for a cached kernel that is no longer in the archive. ``bytes`` is the size of its files in the
    cache (0: not cached), ``frozen`` the part of each of its frozen guests, ``used`` its last use in seconds since the
    epoch.
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
    frozen: tuple[int, ...] = ()

    @property
    def newest_as(self) -> str:
        """``debian:6.12`` or ``debian:6.12-rt`` for the newest of its series and flavour, else empty."""
        return f"debian:{self.series}{'-rt' if self.flavour.startswith('rt-') else ''}" if self.newest else ""

    @property
    def cached(self) -> bool:
        """Whether it is in the cache and needs no network."""
        return self.used is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """All kernels, the oldest first. The archive's lists are from ``asked`` (seconds since the epoch; None: never).

    ``trouble`` is why they could not be updated, else empty.
    """

    kernels: tuple[Offer, ...]
    asked: float | None
    trouble: str = ""


def offers(root: Path, *, progress: Progress) -> Offers:
    """Return the kernels in the archive and in the cache. Without network the archive's last lists are used."""
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
    """Return all kernels, the oldest first, with the newest of each series and flavour marked.

    `offered` are those in the archive, in its order; `held` are those only in the cache, which are the newest of their
    series only if the archive has none of that series.
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
    """Return the newest of each series and flavour, and all cached ones; with `every` all kernels.

    `series` and `flavours` restrict the selection. Raises `KernelError` for an unknown series, with the known ones.
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
    frozen = tuple(size_of(part) for part in known.parts if part.parent.name == "frozen")
    return replace(offer, bytes=known.bytes, used=known.used, headers="headers" in known.holds, frozen=frozen)
