"""Measure how late this kernel's timers fire on an idle machine, in virtual time.

Takes a few ticks of a timerfd just before the traffic, in this process, without TCP and netem. In real time `noise`
measures during the run, beside the traffic.
"""

from __future__ import annotations

import ctypes
import os
import time
from typing import Final

import numpy as np

from rttcheck.record.tick import TICK

TICKS: Final = 40

PERIOD_NS: Final = 997_000
"""As `noise_process.PERIOD_NS`: nearly a millisecond, and no divisor of one."""

_FIRST_NS = 2_000_000
"""Least time from setting the timer to its first tick: all earlier work must be over by then."""
_ABSOLUTE = 1
"""``TFD_TIMER_ABSTIME``."""
_COUNT_BYTES = 8
"""A read of a timerfd: the number of ticks since the last read (timerfd_create(2))."""


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


def idle_ticks(ticks: int = TICKS) -> np.ndarray:
    """Wait for ticks `PERIOD_NS` apart; return when each was due and how much later this process ran, dtype ``TICK``.

    A timerfd has no slack (``timerfd_setup()`` arms an hrtimer without a range), so this measures the timer, its
    interrupt and the wake-up of this process. Raises OSError when the kernel refuses a timerfd.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    table = np.zeros(ticks, dtype=TICK)
    timer = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_CLOEXEC)
    if timer < 0:
        raise OSError(ctypes.get_errno(), "no timerfd could be created")
    try:
        due_ns = time.monotonic_ns() + _FIRST_NS
        wanted = _Itimerspec(_timespec(PERIOD_NS), _timespec(due_ns))
        if libc.timerfd_settime(timer, _ABSOLUTE, ctypes.byref(wanted), None) < 0:
            raise OSError(ctypes.get_errno(), "a timerfd could not be set")
        late_ns: list[int] = []
        read, now = os.read, time.monotonic_ns
        while len(late_ns) < ticks:
            count = int.from_bytes(read(timer, _COUNT_BYTES), "little")
            ran_ns = now()
            # A tick that passed unread, because the one before it was late, has its full lateness.
            for _ in range(count):
                late_ns.append(ran_ns - due_ns)
                due_ns += PERIOD_NS
    finally:
        os.close(timer)
    table["due_ns"] = due_ns - PERIOD_NS * np.arange(len(late_ns), 0, -1)[:ticks]
    table["late_ns"] = np.clip(late_ns[:ticks], 0, np.iinfo(np.uint32).max)
    return table


def _timespec(time_ns: int) -> _Timespec:
    return _Timespec(*divmod(time_ns, 1_000_000_000))
