"""PR_SET_PDEATHSIG: a process gets a signal when its parent dies, whatever kills the parent.

It handles two pitfalls (prctl(2)): the parent may have died before the call, and the signal is also sent when only the
*thread* that forked ends.
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
    """Return a `preexec_fn`: the kernel kills the child when the calling thread ends. Call it in the main thread."""
    prctl = _prctl()
    parent = os.getpid()

    def request_death_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(255)

    return request_death_signal


def exit_when_parent_dies(parent: int) -> None:
    """Raise `SystemExit` in this process, through SIGUSR1, when the process `parent` dies.

    `parent` is ``os.getppid()`` at the start of this process. The signal is not SIGKILL because it is also sent when
    only the thread that forked this process has ended, which must not end it.
    """

    def on_signal(_signal: int, _frame: object) -> None:
        if os.getppid() != parent:
            raise SystemExit(128 + signal.SIGUSR1)

    signal.signal(signal.SIGUSR1, on_signal)
    _prctl()(_PR_SET_PDEATHSIG, signal.SIGUSR1)
    if os.getppid() != parent:
        raise SystemExit(128 + signal.SIGUSR1)
