"""A process that waits for a timer again and again and records in shared memory how late it was woken.

Standard library only: it runs in a separate Python that has nothing else. It ends when its control socket's other end
is closed; the starting process chooses its scheduling.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import select
import socket
import sys
import time

from rttcheck.collect.cores import take

PERIOD_NS = 997_000
"""Nearly a millisecond, and no divisor of one, so that an event every millisecond does not always hit the same tick."""

MOST_TICKS = 1 << 20
"""Limit of one run: 17 minutes; 8 bytes each, allocated as they are written."""

BEGUN, TICKS, HEADER_WORDS = 0, 1, 512
"""Words of the shared memory: when the first tick was due (CLOCK_MONOTONIC, ns), how many follow, where they begin."""

START, STOP = b"+", b"-"

_PR_SET_TIMERSLACK = 29


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Pollfd(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


def run_from_command_line() -> None:
    """Run with the arguments: core, priority, descriptor of the memory, descriptor of the control socket."""
    cpu, priority, memory_fd, control_fd = (int(word) for word in sys.argv[-4:])
    with socket.socket(fileno=control_fd) as control, mmap.mmap(memory_fd, os.fstat(memory_fd).st_size) as memory:
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
        words = memoryview(memory).cast("q")
        scheduling = take(cpu, priority)
        gc.collect()
        gc.freeze()
        gc.disable()
        control.send(scheduling.encode())
        while control.recv(1) == START and _tick(control, words):
            control.send(STOP)
        words.release()


def _tick(control: socket.socket, words: memoryview) -> bool:
    """Tick until the control socket is readable; return False when the process is to end."""
    ppoll, now = ctypes.CDLL(None).ppoll, time.monotonic_ns
    polled = (_Pollfd * 1)(_Pollfd(control.fileno(), select.POLLIN, 0))
    timeout = _Timespec()
    reference = ctypes.byref(timeout)
    ticks, most = 0, len(words) - HEADER_WORDS
    due_ns = now() + PERIOD_NS
    words[BEGUN], words[TICKS] = due_ns, 0
    while True:
        left_ns = due_ns - now()
        timeout.nanoseconds = left_ns if left_ns > 0 else 0
        asked = ppoll(polled, 1, reference, None) > 0
        # A missed tick is as late as a timer for it would have been; so is one that is due at the stop.
        while (late_ns := now() - due_ns) >= 0:
            if ticks < most:
                words[HEADER_WORDS + ticks] = late_ns
                ticks += 1
                words[TICKS] = ticks
            due_ns += PERIOD_NS
        if asked:
            return control.recv(1) == STOP
