"""The newest kernel of each series, in the cache or in Debian's archive."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from rttcheck.errors import KernelError
from rttcheck.kernels.apt import series_of
from rttcheck.kernels.archive import cached, whole_archive
from rttcheck.kernels.cache import Progress, cache_root, exclusive, say
from rttcheck.kernels.kernel import BootableKernel
from rttcheck.kernels.spec import FLAVOURS


def newest_cached(root: Path | None = None) -> tuple[str, ...]:
    """Return the newest of each series in the cache, the oldest first, by exact release: ``debian:6.1.0-56``.

    The series' name could now mean a newer kernel, which would have to be fetched. Raises KernelError when nothing is
    cached.
    """
    root = cache_root() if root is None else root
    found = newest_of_each_series(cached(root))
    if not found:
        raise KernelError(
            f"no kernel is named, and none is cached in {root}: name some, as in debian:6.1 debian:6.12, or take all "
            "that Debian has, with --all-series"
        )
    return found


def newest_of_each_series(kernels: Iterable[BootableKernel]) -> tuple[str, ...]:
    """Return the newest of each series in ``kernels``, as `newest_cached` does; only those of the first flavour."""
    newest: dict[tuple[int, ...], BootableKernel] = {}
    for kernel in sorted(kernels, key=lambda kernel: _numbers(kernel.release)):
        if not any(kernel.release.endswith(f"-{flavour}") for flavour in FLAVOURS[1:]):
            newest[_numbers(kernel.release)[:2]] = kernel
    return tuple(f"debian:{kernel.name}" for _, kernel in sorted(newest.items()))


def offered(root: Path | None = None, *, progress: Progress = say) -> tuple[str, ...]:
    """Return each series in Debian's archive, the oldest first: ``debian:5.10``.

    Raises KernelError when the archive cannot be read.
    """
    root = cache_root() if root is None else root
    archive = whole_archive(root)
    with exclusive(root, progress=progress):
        archive.refresh(progress=progress)
        images = archive.images()
    series = series_of(image for image in images if image.flavour == FLAVOURS[0])
    return tuple(f"debian:{one}" for one in series)


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", release)))
