"""SIGTERM interrupts as Ctrl-C does, so that a job that a CI service cancels still writes its report.

The signal's handler is installed only while something runs. Callers handle the KeyboardInterrupt.
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
"""A second signal within this many seconds is the same request: timeout(1) signals a process and its group."""


class Terminated(KeyboardInterrupt):
    """Raised on SIGTERM."""


@dataclass(slots=True)
class Interruption:
    """Whether SIGTERM still interrupts; see `interrupted_by_sigterm`."""

    ending: bool = False
    """Set when the run has begun to end and to report: the signal is then ignored, because that is what it asks for."""
    _pid: int = field(default_factory=os.getpid)
    _last_s: float = float("-inf")

    def interrupt(self, number: int, _frame: FrameType | None) -> None:
        """Handle the signal."""
        if os.getpid() != self._pid:
            # A forked child, which has nothing to report.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        now_s = time.monotonic()
        again, self._last_s = now_s - self._last_s < _AGAIN_S, now_s
        if not self.ending and not again:
            raise Terminated("interrupted by SIGTERM")


@contextmanager
def interrupted_by_sigterm() -> Iterator[Interruption]:
    """While the context lasts, raise Terminated, a KeyboardInterrupt, in the main thread on SIGTERM; once per request.

    A handler that is already set, and an ignored signal, are not changed. Nothing is changed in other threads either,
    where Python allows no handlers.
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
