"""Which kernels of the cache are in use, and since when the others are not.

Owns the marks below ``use/``, one small file for each release: a lock on it says that a session uses what is kept of
that release, its time of change when one last did. The kernel drops a lock whatever kills its owner. Knows nothing of
what is kept.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def in_use(root: Path, release: str) -> Iterator[None]:
    """Nothing that is kept of `release` is pruned while the block lasts.

    In a cache that cannot be written nobody of our rights prunes, and nothing is marked.
    """
    mark = _held(root / "use" / release)
    try:
        yield
    finally:
        if mark is not None:
            os.close(mark)


def touch(root: Path, release: str) -> None:
    """What is kept of `release` is used now."""
    with in_use(root, release):
        pass


def last_used(root: Path, release: str) -> float | None:
    """When what is kept of `release` was last used, seconds since the epoch; None where nothing says so."""
    try:
        return (root / "use" / release).stat().st_mtime
    except OSError:
        return None


@contextlib.contextmanager
def unused(root: Path, release: str) -> Iterator[bool]:
    """Whether nobody uses what is kept of `release`; then nobody begins to until the block ends."""
    path = root / "use" / release
    mark = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644) if path.parent.is_dir() else None
    try:
        try:
            if mark is not None:
                fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        if mark is not None:
            os.close(mark)


def is_used(root: Path, release: str) -> bool:
    """Whether a session uses what is kept of `release` at this moment."""
    try:
        mark = os.open(root / "use" / release, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(mark)
    return False


def _held(path: Path) -> int | None:
    """The mark's descriptor with a shared lock on it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mark = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno in _READ_ONLY:
            return None
        raise
    # Held exclusively only while something is pruned.
    fcntl.flock(mark, fcntl.LOCK_SH)
    os.utime(mark)
    return mark
