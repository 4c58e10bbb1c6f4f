"""The relay's process: the messages on its control socket, its scheduling, and its end with the starting process.

`run_from_command_line` runs in a separate Python with the standard library only and reports on its control socket when
it is ready; `pump` forwards the packets. The process ends when that socket's other end is closed or the process that
started it has died.
"""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass

from ..netem import Netem
from .clock import Clock
from .journal import Journal
from .line import Line
from .port import Port, PortSide
from .pump import Pump
from .waiting import Waiting

PRIORITY = 40
"""SCHED_FIFO; below the kernel's threaded interrupts, which have 50."""

MOST_MESSAGE = 200_000
"""Bytes; two tables of the greatest size fit, and a socket accepts that much at once by default."""

_PR_SET_PDEATHSIG, _PR_SET_TIMERSLACK = 1, 29
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_SIGKILL = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The first message: the inherited descriptors, the two sides, and the core to keep to."""

    near_fd: int
    far_fd: int
    journal_fd: int
    starter_fd: int
    """A pidfd of the starting process."""
    near: PortSide
    far: PortSide
    cpu: int | None
    tied_to_thread: bool
    """Whether the kernel may kill the process when the starting thread ends, which the kernel treats as the parent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Impair:
    """Later messages: the impairment of each direction and the seed of its random decisions."""

    out: Netem | None
    out_seed: int
    back: Netem | None
    back_seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The reply to each message: what failed, if anything did, and how the process is scheduled."""

    problem: str = ""
    scheduling: str = ""


def run_from_command_line() -> None:
    """Serve until the control socket is closed; the last argument is the number of its descriptor."""
    with socket.socket(fileno=int(sys.argv[-1])) as control:
        start: Start = pickle.loads(control.recv(MOST_MESSAGE))
        prctl = ctypes.CDLL(None).prctl
        if start.tied_to_thread:
            prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
        prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
        clock, journal = Clock(), Journal(start.journal_fd)
        try:
            near = Port(socket.socket(fileno=start.near_fd), start.near, clock)
            far = Port(socket.socket(fileno=start.far_fd), start.far, clock)
        except OSError as problem:
            _answer(control, Answer(problem=f"{problem.strerror} ({problem.errno})"))
            return
        # Before binding to one core: there it may busy-wait, as the others have a core left.
        cores = len(os.sched_getaffinity(0))
        scheduling = _scheduling(start.cpu)
        waiting = Waiting([near.fileno(), far.fileno(), control.fileno(), start.starter_fd], cores=cores)
        waiting.calibrate()
        pump = Pump(near, far, journal, waiting, clock)
        gc.collect()
        gc.freeze()
        gc.disable()
        _answer(control, Answer(scheduling=scheduling))
        pump.run(lambda: not _handle(control, pump, waiting))


def _handle(control: socket.socket, pump: Pump, waiting: Waiting) -> bool:
    """Handle the next message on the control socket; return False when the relay is to end."""
    if waiting.ready(3):
        return False
    message = control.recv(MOST_MESSAGE)
    if not message:
        return False
    asked: Impair = pickle.loads(message)
    pump.impair(Line(asked.out, asked.out_seed), Line(asked.back, asked.back_seed))
    _answer(control, Answer())
    return True


def _answer(control: socket.socket, answer: Answer) -> None:
    # The other end may be closed by now; the next read of the control socket ends the relay.
    with suppress(BrokenPipeError, ConnectionResetError):
        control.send(pickle.dumps(answer))


def _scheduling(cpu: int | None) -> str:
    """Set the scheduling that the machine allows; return a description of it."""
    parts = []
    if cpu is not None:
        try:
            os.sched_setaffinity(0, {cpu})
            parts.append(f"on CPU {cpu}")
        except OSError as problem:
            parts.append(f"not on CPU {cpu} ({problem.strerror})")
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
        parts.insert(0, f"SCHED_FIFO priority {PRIORITY}")
    except OSError as problem:
        parts.insert(0, f"the normal scheduler, SCHED_FIFO is refused ({problem.strerror})")
    if ctypes.CDLL(None).mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT):
        parts.append("memory not locked")
    return ", ".join(parts)
