"""List the cache's contents: for each kernel release its parts, their size and their last use."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rttcheck.kernels.use import is_used, last_used

_PARTS = {"kernels": "kernel", "trees": "module tree", "frozen": "frozen guest", "initramfs": "initramfs"}
"""Directories of the cache, and what one entry of each is; entries of the last three are named RELEASE.DIGEST."""

LISTS = "apt"
"""The directory of the archive's package lists."""

_DIGEST = re.compile(r"\.[0-9a-f]{16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """All parts of one release (``label``) in the cache, or one directory of package lists.

    ``bytes`` is their size on disk, ``used`` the last use in seconds since the epoch, ``holds`` the kind of each part.
    """

    label: str
    parts: tuple[Path, ...]
    bytes: int
    used: float
    in_use: bool = False
    release: bool = True
    holds: tuple[str, ...] = ()

    @property
    def contents(self) -> str:
        """``holds`` as text: ``kernel, 2 frozen guests``."""
        counts = {name: self.holds.count(name) for name in dict.fromkeys(self.holds)}
        return ", ".join(name if count == 1 else f"{count} {name}s" for name, count in counts.items())


def inventory(root: Path) -> tuple[CacheEntry, ...]:
    """Return everything in the cache at `root`, the least recently used first."""
    found: dict[str, list[tuple[Path, str]]] = {}
    for place, kind in _PARTS.items():
        for part in _visible(root / place):
            label = part.name if place == "kernels" else part.name[: -len(".0123456789abcdef")]
            if place != "kernels" and not _DIGEST.fullmatch(part.name[len(label) :]):
                # Made by a version with other names.
                label = f"{place}/{part.name}"
            found.setdefault(label, []).append((part, kind))
            if (part / "headers").is_dir():
                found[label].append((part / "headers", "headers"))
    kept = [_kept(root, label, parts) for label, parts in found.items()]
    kept += [_lists(directory) for directory in _visible(root / LISTS)]
    return tuple(sorted(kept, key=lambda one: one.used))


def size_of(path: Path) -> int:
    """Return the bytes of disk below `path`; files that are removed meanwhile do not count."""
    total = 0
    with contextlib.suppress(OSError):
        total += path.lstat().st_blocks * 512
        if path.is_symlink() or not path.is_dir():
            return total
        with os.scandir(path) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        total += size_of(Path(entry.path))
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


def _kept(root: Path, label: str, parts: list[tuple[Path, str]]) -> CacheEntry:
    whole = tuple(path for path, kind in parts if kind != "headers")
    used = last_used(root, label)
    return CacheEntry(
        label=label,
        parts=whole,
        bytes=sum(size_of(path) for path in whole),
        # A cache of an older version has no marks of use.
        used=used if used is not None else max(_changed(path) for path in whole),
        in_use=is_used(root, label),
        release="/" not in label,
        holds=tuple(kind for _, kind in parts),
    )


def _lists(directory: Path) -> CacheEntry:
    stamp = directory / "stamp"
    return CacheEntry(
        label=f"package lists {directory.name}",
        parts=(directory,),
        bytes=size_of(directory),
        used=_changed(stamp if stamp.exists() else directory),
        release=False,
        holds=("package lists",),
    )


def _changed(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _visible(directory: Path) -> Iterator[Path]:
    """Yield its entries, without those that are being made or removed."""
    with contextlib.suppress(OSError):
        yield from (path for path in sorted(directory.iterdir()) if not path.name.startswith("."))
