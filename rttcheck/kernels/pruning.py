"""Prune the cache: the least recently used releases first, never one that a session uses.

A release is removed as a whole: kernel, headers, initramfs, frozen guests. The cache's size has a limit.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rttcheck.errors import KernelError
from rttcheck.kernels.amount import parse_size, size_text
from rttcheck.kernels.cache import Progress
from rttcheck.kernels.inventory import CacheEntry, inventory
from rttcheck.kernels.use import unused

LIMIT_VARIABLE = "RTTCHECK_CACHE_LIMIT"
DEFAULT_LIMIT = "10G"
"""Room for some 20 kernels with a frozen guest each."""

_LEFT_OVER_S = 24 * 3600.0
"""A staging directory older than this is unused: the deadlines of all sessions are far shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneRequest:
    """What to remove: down to `size` bytes, what was not used for `age_s` seconds, or everything."""

    size: int | None = None
    age_s: float | None = None
    everything: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was removed, what was spared because it is in use, and the bytes that are left."""

    gone: tuple[CacheEntry, ...]
    spared: tuple[CacheEntry, ...]
    left: int

    @property
    def freed(self) -> int:
        """Bytes that were freed."""
        return sum(one.bytes for one in self.gone)


def cache_limit() -> int | None:
    """Return the cache's limit in bytes: ``$RTTCHECK_CACHE_LIMIT`` or `DEFAULT_LIMIT`; None for ``none``.

    Raises `KernelError` for a variable that is no size.
    """
    text = os.environ.get(LIMIT_VARIABLE) or DEFAULT_LIMIT
    return None if text.strip().lower() == "none" else parse_size(text, what=LIMIT_VARIABLE)


def choose(
    kept: Sequence[CacheEntry], request: PruneRequest, *, now: float, keep: Collection[str] = ()
) -> tuple[CacheEntry, ...]:
    """Return the entries to remove, in order; `kept` has the least recently used first, labels in `keep` stay."""
    left = sum(one.bytes for one in kept)
    going = []
    for one in kept:
        old = request.age_s is not None and now - one.used > request.age_s
        large = request.size is not None and left > request.size
        if not (request.everything or old or large) or one.label in keep:
            continue
        going.append(one)
        if not one.in_use:
            left -= one.bytes
    return tuple(going)


def prune(root: Path, request: PruneRequest, *, keep: Collection[str] = (), dry_run: bool = False) -> Pruned:
    """Remove what `request` describes from the cache at `root`; with `dry_run` only report it.

    The caller holds `exclusive` unless it is a dry run.
    """
    kept = inventory(root)
    gone: list[CacheEntry] = []
    spared: list[CacheEntry] = []
    for one in choose(kept, request, now=time.time(), keep=keep):
        (gone if _removed(root, one, dry_run=dry_run) else spared).append(one)
    if not dry_run:
        _sweep(root)
    left = sum(one.bytes for one in kept) - sum(one.bytes for one in gone)
    return Pruned(gone=tuple(gone), spared=tuple(spared), left=left)


def keep_within_limit(root: Path, *, keep: Iterable[str], progress: Progress) -> None:
    """Prune to the cache's limit, except the releases in `keep`; the caller holds `exclusive`."""
    limit = cache_limit()
    if limit is None:
        return
    pruned = prune(root, PruneRequest(size=limit), keep=frozenset(keep))
    for one in pruned.gone:
        progress(f"removed {one.label} ({size_text(one.bytes)}): the cache is limited to {size_text(limit)}")


def _removed(root: Path, one: CacheEntry, *, dry_run: bool) -> bool:
    """Remove an entry; return whether it was (with `dry_run`: would be) removed."""
    if not one.release or dry_run:
        if not dry_run:
            _remove(one.parts)
        return not one.in_use
    with unused(root, one.label) as free:
        if free:
            _remove(one.parts)
    return free


def _remove(parts: Iterable[Path]) -> None:
    """Remove them; renamed first, so that the cache never has a part of a kernel, even if this process is killed."""
    for part in parts:
        going = part.with_name(f".{part.name}.gone")
        shutil.rmtree(going, ignore_errors=True)
        try:
            part.rename(going)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise KernelError(f"{part} cannot be removed ({error.strerror}); remove it as its owner") from error
        shutil.rmtree(going, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Remove what killed sessions left half made or half removed."""
    for left in root.glob("*/.*"):
        with contextlib.suppress(OSError):
            if left.name.endswith(".gone") or time.time() - left.stat().st_mtime > _LEFT_OVER_S:
                shutil.rmtree(left, ignore_errors=True)
