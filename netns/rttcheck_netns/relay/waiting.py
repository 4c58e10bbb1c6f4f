"""Wait for a time or for a readable descriptor, whichever is first, as exactly as this machine can.

Uses ppoll (Python's own polls have a resolution of milliseconds), learns how late it wakes, and busy-waits on the clock
for the rest. Standard library only.

Busy-waiting costs a core, so it is left out where there is only one, and while the process has used much of it: a
real-time task that never sleeps is stopped for 50 ms a second (kernel.sched_rt_runtime_us).
"""

from __future__ import annotations

import ctypes
import os
import select
import time
from collections.abc import Sequence

_MOST_EARLY_NS = 250_000
_MOST_LEARNT_NS = 8_000
"""Learnt from one sleep: a machine that stalled once does not characterise its timers."""
_MOST_BUSY = 0.6
_WINDOW_NS = 50_000_000
_CALIBRATION_NS = 200_000


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Pollfd(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


class Waiting:
    """Sleeps until a time or until one of the descriptors has something to read."""

    def __init__(self, descriptors: Sequence[int], *, cores: int | None = None) -> None:
        """``cores`` is the number of cores for this process and all others; None: as many as this one may use."""
        self._ppoll = ctypes.CDLL(None).ppoll
        self._polled = (_Pollfd * len(descriptors))(*(_Pollfd(fd, select.POLLIN, 0) for fd in descriptors))
        self._count = len(descriptors)
        self._timeout = _Timespec()
        self._by_reference = ctypes.byref(self._timeout)
        self._early_ns = 0
        self._alone = (len(os.sched_getaffinity(0)) if cores is None else cores) > 1
        self._since_ns, self._used_ns, self._busy = time.monotonic_ns(), time.thread_time_ns(), False

    @property
    def early_ns(self) -> int:
        """How long before a time to wake and busy-wait from then on; 0 where that is not done now."""
        return self._early_ns if self._alone and not self._busy else 0

    def calibrate(self) -> None:
        """Start from the present lateness of timers: the third worst of twenty."""
        late_ns = []
        for _ in range(20):
            until_ns = time.monotonic_ns() + _CALIBRATION_NS
            self._timeout.seconds, self._timeout.nanoseconds = 0, _CALIBRATION_NS
            self._ppoll(None, 0, self._by_reference, None)
            late_ns.append(time.monotonic_ns() - until_ns)
        self._early_ns = min(sorted(late_ns)[-3], _MOST_EARLY_NS)

    def sleep(self, until_ns: int, now_ns: int) -> bool:
        """Sleep until then (CLOCK_MONOTONIC; may be past); return whether a descriptor is readable.

        Each sleep that ends by time adjusts the learnt lateness: up in steps of an eighth, down of a 256th, so that it
        settles where few wake-ups are late.
        """
        timeout = self._timeout
        timeout.seconds, timeout.nanoseconds = divmod(max(0, until_ns - now_ns), 1_000_000_000)
        if self._ppoll(self._polled, self._count, self._by_reference, None) > 0:
            return True
        if until_ns > now_ns:
            missing_ns = time.monotonic_ns() - until_ns - self._early_ns
            step = min(missing_ns >> 3, _MOST_LEARNT_NS) if missing_ns > 0 else -(-missing_ns >> 8)
            self._early_ns = min(self._early_ns + step, _MOST_EARLY_NS)
        return False

    def ready(self, at: int) -> bool:
        """Return whether the descriptor at this place was readable when `sleep` last returned."""
        return bool(self._polled[at].revents)

    def watch_load(self, now_ns: int) -> None:
        """Check, now and then, how much of a core this thread has used."""
        passed_ns = now_ns - self._since_ns
        if passed_ns >= _WINDOW_NS:
            used_ns = time.thread_time_ns()
            self._busy = used_ns - self._used_ns > _MOST_BUSY * passed_ns
            self._since_ns, self._used_ns = now_ns, used_ns
