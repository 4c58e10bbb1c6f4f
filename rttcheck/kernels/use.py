"""Which kernels of the cache are in use, and when the others were last used.

Each release has a small file below ``use/``: a lock on it means that a session uses that release, its modification time
is that of the last use. The kernel releases a lock however its owner ends.
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
    """Protect the files of `release` from pruning while the block lasts.

    Nothing is marked in a cache that this user cannot write to, because this user cannot prune it either.
    """
    mark = _held(root / "use" / release)
    try:
        yield
    finally:
        if mark is not None:
            os.close(mark)


def touch(root: Path, release: str) -> None:
    """Record that `release` is used now."""
    with in_use(root, release):
        pass


def last_used(root: Path, release: str) -> float | None:
    """Return when `release` was last used, seconds since the epoch; None if that was not recorded."""
    try:
        return (root / "use" / release).stat().st_mtime
    except OSError:
        return None


@contextlib.contextmanager
def unused(root: Path, release: str) -> Iterator[bool]:
    """Yield whether no session uses `release`; if so, none can begin to until the block ends."""
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
    """Return whether a session uses `release` at this moment."""
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
    """Return a descriptor with a shared lock; None in a cache that cannot be written to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mark = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno in _READ_ONLY:
            return None
        raise
    # The lock is exclusive only while something is pruned.
    fcntl.flock(mark, fcntl.LOCK_SH)
    os.utime(mark)
    return mark
