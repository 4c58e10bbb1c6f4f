"""The cache directory for kernels, package lists and guest images: its path, its lock and complete entries only.

An entry is built in a staging directory and renamed into place, so that the cache never has half of one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from rttcheck.errors import KernelError

Progress = Callable[[str], None]
"""Called with one line of text when something takes more than two seconds."""

QUIET_S = 2.0
"""Work that takes less time than this prints no line."""


def say(line: str) -> None:
    """Print a line of progress to standard error."""
    print(f"rttcheck: {line}", file=sys.stderr, flush=True)


def cache_root() -> Path:
    """Return ``$RTTCHECK_CACHE``, else ``$XDG_CACHE_HOME/rttcheck``, else ``~/.cache/rttcheck``; it need not exist."""
    own = os.environ.get("RTTCHECK_CACHE")
    if own:
        return Path(own).absolute()
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache").absolute() / "rttcheck"


@contextlib.contextmanager
def exclusive(root: Path, *, progress: Progress, deadline_s: float = 900.0) -> Iterator[None]:
    """Lock the cache for writing; a second session waits until the first is done.

    The lock is an ``flock``, which the kernel releases however its owner ends. Raises `KernelError` after `deadline_s`
    seconds of host time, or when the directory cannot be made.
    """
    with _sentences(root):
        root.mkdir(parents=True, exist_ok=True)
        lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _acquire(lock, root, progress, deadline_s)
        yield
    finally:
        os.close(lock)


def _acquire(lock: int, root: Path, progress: Progress, deadline_s: float) -> None:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    # flock has no timeout, so a thread waits for it, on a descriptor of its own: it may wait for longer than this
    # function. The lock belongs to both descriptors and is released when the last of them is closed.
    held = threading.Event()
    own = os.dup(lock)

    def wait_for_it() -> None:
        try:
            fcntl.flock(own, fcntl.LOCK_EX)
            held.set()
        finally:
            os.close(own)

    threading.Thread(target=wait_for_it, name="rttcheck-cache-lock", daemon=True).start()
    if held.wait(min(QUIET_S, deadline_s)):
        return
    progress(f"waiting for another session that is writing to {root}")
    if held.wait(max(0.0, deadline_s - QUIET_S)):
        return
    raise KernelError(
        f"another session has been writing to {root} for {deadline_s:.0f} s; end it or set RTTCHECK_CACHE to another "
        "directory"
    )


@contextlib.contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Make an empty directory that becomes `target` when the block succeeds, and is removed when it raises.

    The caller holds `exclusive`: remains of a killed session beside `target`, and a damaged `target`, are removed.
    Raises `KernelError` on a full or read-only disk, with the directory's name.
    """
    with _sentences(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(f".{target.name}.*"):
            shutil.rmtree(left, ignore_errors=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        with _sentences(target.parent):
            yield staging
            staging.chmod(0o755)
            if target.exists():
                shutil.rmtree(target)
            staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextlib.contextmanager
def _sentences(directory: Path) -> Iterator[None]:
    """Turn disk errors into a `KernelError` of one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise KernelError(f"the disk of {directory} is full; free some space or set RTTCHECK_CACHE") from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise KernelError(
                f"{directory} cannot be written ({error.strerror}); set RTTCHECK_CACHE to a writable directory"
            ) from error
        raise
