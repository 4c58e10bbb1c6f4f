"""Children that die with their parent, whatever kills it.

Owns PR_SET_PDEATHSIG and its two traps: a parent that was gone before the call, and the signal coming when the *thread*
that forked ends (prctl(2)). Knows nothing of guests.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def _prctl() -> Callable[[int, int], int]:
    library = ctypes.CDLL(None, use_errno=True)
    call: Callable[[int, int], int] = library.prctl
    return call


def die_with_parent() -> Callable[[], None]:
    """For `preexec_fn`: the child is killed by the kernel when the calling thread ends; call it in the main thread."""
    prctl = _prctl()
    parent = os.getpid()

    def leash() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(255)

    return leash


def hear_of_parents_death(parent: int) -> None:
    """Have this process get SIGUSR1 when `parent` dies, and end by `SystemExit` then.

    `parent` is what ``os.getppid()`` said at the start. Not SIGKILL: the signal also comes when only the thread that
    forked us has ended, and that is no reason to go.
    """

    def gone(_signal: int, _frame: object) -> None:
        if os.getppid() != parent:
            raise SystemExit(128 + signal.SIGUSR1)

    signal.signal(signal.SIGUSR1, gone)
    _prctl()(_PR_SET_PDEATHSIG, signal.SIGUSR1)
    if os.getppid() != parent:
        raise SystemExit(128 + signal.SIGUSR1)
