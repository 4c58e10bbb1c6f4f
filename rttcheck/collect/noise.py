"""Measure how noisy the machine is while something runs: timers on the same cores, and how late each wakes.

One process a core waits for the timers; this module starts them and reads their shared memory. The processes end with
this one, by SIGKILL too: while idle they read a socket whose other end this process holds, and while they tick they
poll it a thousand times a second. A failure here is not an error: no noise is recorded, and the facts give the reason.
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
"""For each answer of a process: one that does not run for so long measures nothing."""

_MOST_TIMERS = 4
"""Of many cores only some are measured."""

_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from rttcheck.collect.noise_process import run_from_command_line; run_from_command_line()"
)


@dataclass(slots=True)
class _Timer:
    """One timer process and its shared memory."""

    cpu: int
    control: socket.socket
    memory_fd: int

    def receive(self) -> bytes:
        """Return the process's next message. Raises OSError when it does not answer."""
        self.control.settimeout(_DEADLINE_S)
        answer = self.control.recv(4096)
        if not answer:
            raise ConnectionResetError
        return answer

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
class NoiseTimers:
    """Timers on some cores; `start` and `stop` go in pairs. Without timers where nothing is or can be measured."""

    timers: list[_Timer] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    """``period_ns`` and ``timers``, how each is scheduled, as text; or ``why_not``."""

    def start(self) -> None:
        """Start all timers."""
        self._send(START)

    def stop(self) -> np.ndarray:
        """Stop the timers and return the ticks since `start`, dtype ``TICK``, core by core."""
        self._send(STOP)
        try:
            for timer in self.timers:
                timer.receive()
        except OSError:
            self._give_up()
        ticks = [timer.ticks() for timer in self.timers]
        return np.concatenate(ticks) if ticks else np.zeros(0, TICK)

    @contextmanager
    def ticking(self) -> Iterator[Callable[[], np.ndarray]]:
        """Tick until the end of the block, or until the yielded function is called, which returns the ticks."""
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

    def _send(self, what: bytes) -> None:
        try:
            for timer in self.timers:
                timer.control.send(what)
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        self.timers.clear()
        self.facts = {"why_not": f"a process that waited for timers ended, or did not answer within {_DEADLINE_S:g} s"}


def summary_of(ticks: np.ndarray) -> dict[str, int]:
    """Return how many ticks (dtype ``TICK``) there were and how late, in nanoseconds; only the count where it is 0."""
    if not len(ticks):
        return {"count": 0}
    p50, p99 = (int(value) for value in np.percentile(ticks["late_ns"], (50, 99), method="higher"))
    return {"count": len(ticks), "p50_ns": p50, "p99_ns": p99, "max_ns": int(ticks["late_ns"].max())}


def timers_for(cores: Cores) -> dict[int, int]:
    """Return the cores for timers and their priorities: one above those of the traffic and the relay.

    So they measure what delays these threads, and not the threads' own work. Where the threads may run anywhere, the
    timers run on all cores at the same priority as everything else.
    """
    if cores.traffic is None or cores.relay is None:
        return dict.fromkeys(sorted(os.sched_getaffinity(0))[:_MOST_TIMERS], 0)
    return {cores.traffic: cores.priority + 1, cores.relay: RELAY_PRIORITY + 1}


@contextmanager
def open_noise(cores: Mapping[int, int]) -> Iterator[NoiseTimers]:
    """Yield stopped timers on these cores, under SCHED_FIFO with their priorities (0: the normal scheduler)."""
    noise = NoiseTimers()
    with ExitStack() as resources:
        try:
            for cpu, priority in cores.items():
                noise.timers.append(_timer(cpu, priority, resources))
            got = {f"core {timer.cpu}": timer.receive().decode() for timer in noise.timers}
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
        arguments = (str(cpu), str(priority), str(memory_fd), str(theirs.fileno()))
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PROGRAM, str(root), *arguments],
            pass_fds=(memory_fd, theirs.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # A Ctrl-C at the terminal is for the starting process only.
            start_new_session=True,
        )
    resources.callback(_end, child, ours)
    return _Timer(cpu, ours, memory_fd)


def _end(child: subprocess.Popen[bytes], control: socket.socket) -> None:
    """Close the socket, which asks the process to end; kill it when it does not."""
    with suppress(OSError):
        control.shutdown(socket.SHUT_RDWR)
    control.close()
    import subprocess

    try:
        child.wait(timeout=2)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
