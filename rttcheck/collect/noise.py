"""How noisy the machine was while something ran: timers on the same cores, and how late each woke.

Owns the processes that wait for the timers, one a core, and reading what they wrote; refuses to know what noise does to
a sample. They are children that end with this process, by SIGKILL too: while idle they read a socket whose other end it
holds, and while they tick they look at it a thousand times a second. Where they cannot work nothing fails: what was not
measured is not there, and the facts say why.
"""

from __future__ import annotations

import mmap
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rttcheck.collect.cores import Cores
from rttcheck.collect.noise_process import BEGUN, HEADER_WORDS, MOST_TICKS, PERIOD_NS, START, STOP, TICKS
from rttcheck.record.tick import TICK
from rttcheck_netns.relay.process import PRIORITY as RELAY_PRIORITY

if TYPE_CHECKING:
    import subprocess

_DEADLINE_S = 20.0
"""For each answer of a process: one that is kept from running so long measures nothing."""

_MOST_TIMERS = 4
"""Of many cores some speak for all."""

_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from rttcheck.collect.noise_process import run_from_command_line; run_from_command_line()"
)


@dataclass(slots=True)
class _Timer:
    """One process and its memory."""

    cpu: int
    control: socket.socket
    memory_fd: int

    def hear(self) -> bytes:
        """Raises OSError when it does not answer."""
        self.control.settimeout(_DEADLINE_S)
        said = self.control.recv(4096)
        if not said:
            raise ConnectionResetError
        return said

    def ticks(self) -> np.ndarray:
        with mmap.mmap(self.memory_fd, 0, prot=mmap.PROT_READ) as memory:
            header = np.frombuffer(memory, np.int64, HEADER_WORDS)
            begun_ns, count = int(header[BEGUN]), int(header[TICKS])
            late_ns = np.frombuffer(memory, np.int64, count, 8 * HEADER_WORDS).copy()
            del header
        ticks = np.zeros(count, dtype=TICK)
        ticks["due_ns"] = begun_ns + PERIOD_NS * np.arange(count)
        ticks["late_ns"] = np.clip(late_ns, 0, np.iinfo(np.uint32).max)
        ticks["cpu"] = self.cpu
        return ticks


@dataclass(slots=True)
class Noise:
    """Timers on some cores; `start` and `stop` go in pairs. Empty where there is nothing to measure, or no way to."""

    timers: list[_Timer] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    """``period_ns`` and ``timers``, how each is scheduled in words; or ``why_not``."""

    def start(self) -> None:
        """Let all timers tick."""
        self._tell(START)

    def stop(self) -> np.ndarray:
        """Stop them; the ticks since `start`, dtype ``TICK``, core by core."""
        self._tell(STOP)
        try:
            for timer in self.timers:
                timer.hear()
        except OSError:
            self._give_up()
        ticks = [timer.ticks() for timer in self.timers]
        return np.concatenate(ticks) if ticks else np.zeros(0, TICK)

    @contextmanager
    def ticking(self) -> Iterator[Callable[[], np.ndarray]]:
        """Tick from here on; what is given stops them and returns the ticks, as the end of the block does."""
        self.start()
        stopped = False

        def stop() -> np.ndarray:
            nonlocal stopped
            stopped = True
            return self.stop()

        try:
            yield stop
        finally:
            if not stopped:
                self.stop()

    def _tell(self, what: bytes) -> None:
        try:
            for timer in self.timers:
                timer.control.send(what)
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        self.timers.clear()
        self.facts = {"why_not": f"a process that waited for timers ended, or did not answer within {_DEADLINE_S:g} s"}


def summary_of(ticks: np.ndarray) -> dict[str, int]:
    """How many ticks (dtype ``TICK``) there were and how late, in nanoseconds; only the number where there is none."""
    if not len(ticks):
        return {"count": 0}
    p50, p99 = (int(value) for value in np.percentile(ticks["late_ns"], (50, 99), method="higher"))
    return {"count": len(ticks), "p50_ns": p50, "p99_ns": p99, "max_ns": int(ticks["late_ns"].max())}


def timers_for(cores: Cores) -> dict[int, int]:
    """Where timers belong that wait as the traffic and the relay do, and with which priority: the next above theirs.

    So they hear of whatever kept these waiting, and not of their own work. Where these may run anywhere, so do others,
    and the timers wait with all of them.
    """
    if cores.traffic is None or cores.relay is None:
        return dict.fromkeys(sorted(os.sched_getaffinity(0))[:_MOST_TIMERS], 0)
    return {cores.traffic: cores.priority + 1, cores.relay: RELAY_PRIORITY + 1}


@contextmanager
def open_noise(cores: Mapping[int, int]) -> Iterator[Noise]:
    """Timers on these cores, under SCHED_FIFO with their priorities (0: the normal scheduler); they do not tick yet."""
    noise = Noise()
    with ExitStack() as resources:
        try:
            for cpu, priority in cores.items():
                noise.timers.append(_timer(cpu, priority, resources))
            got = {f"core {timer.cpu}": timer.hear().decode() for timer in noise.timers}
            noise.facts = {"period_ns": PERIOD_NS, "timers": got}
        except OSError as error:
            noise.timers.clear()
            noise.facts = {"why_not": f"no process could be started that waits for timers ({error})"}
        yield noise


def _timer(cpu: int, priority: int, resources: ExitStack) -> _Timer:
    # Guests, where imports cost much, have virtual time and no timers.
    import subprocess

    memory_fd = os.memfd_create("rttcheck-noise")
    resources.callback(os.close, memory_fd)
    os.ftruncate(memory_fd, 8 * (HEADER_WORDS + MOST_TICKS))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        resources.enter_context(ours)
        root = Path(__file__).parents[2]
        words = (str(cpu), str(priority), str(memory_fd), str(theirs.fileno()))
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PROGRAM, str(root), *words],
            pass_fds=(memory_fd, theirs.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # An interrupt at the terminal is for the one that started it.
            start_new_session=True,
        )
    resources.callback(_end, child, ours)
    return _Timer(cpu, ours, memory_fd)


def _end(child: subprocess.Popen[bytes], control: socket.socket) -> None:
    """Closing the socket is the request to end; a process that does not hear it is killed."""
    with suppress(OSError):
        control.shutdown(socket.SHUT_RDWR)
    control.close()
    import subprocess

    try:
        child.wait(timeout=2)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
