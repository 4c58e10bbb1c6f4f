"""SIGTERM means what Ctrl-C means: what a CI service sends to a job that is cancelled or late ends it with its report.

Owns the signal's handler while something runs, and that it is gone afterwards. What an interruption comes to is decided
by who catches KeyboardInterrupt.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Final

_AGAIN_S: Final = 10.0
"""A signal that comes so soon after another is the same request: timeout(1) sends it to a process and to its group."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


@dataclass(slots=True)
class Interruption:
    """Whether SIGTERM still interrupts; see `interrupted_by_sigterm`."""

    ending: bool = False
    """What runs has begun to end, and to report: from now on the signal is ignored, for it asks for just that."""
    _pid: int = field(default_factory=os.getpid)
    _last_s: float = float("-inf")

    def interrupt(self, number: int, _frame: FrameType | None) -> None:
        """The handler."""
        if os.getpid() != self._pid:
            # A child that was forked, and has nothing to report.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        now_s = time.monotonic()
        again, self._last_s = now_s - self._last_s < _AGAIN_S, now_s
        if not self.ending and not again:
            raise Terminated("interrupted by SIGTERM")


@contextmanager
def interrupted_by_sigterm() -> Iterator[Interruption]:
    """While the context lasts SIGTERM raises Terminated, a KeyboardInterrupt, in the main thread; once for a request.

    A handler that somebody else has set, or that the signal is ignored, stays as it is; so it does in another thread,
    where Python lets nobody set one.
    """
    interruption = Interruption()
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    handler = interruption.interrupt
    if ours:
        signal.signal(signal.SIGTERM, handler)
    try:
        yield interruption
    finally:
        if ours and signal.getsignal(signal.SIGTERM) is handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
