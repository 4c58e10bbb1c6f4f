"""The threads of the two ends of all flows: they start, pause and stop together, with one deadline.

The calling thread is the only one that checks the clock: the others block in the kernel without a timeout, which
costs them no extra system call an exchange. They wake at the deadline because their sockets are shut down and
``abort_fd`` becomes readable.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from types import TracebackType

from rttcheck.collect.cores import ANYWHERE, Cores, take
from rttcheck.errors import TrafficError

_JOIN_S = 10.0


class Aborted(Exception):
    """Raised in a traffic thread that was woken because all must end; never reaches the caller."""


class DeadlinePassed(Exception):
    """The deadline passed before the awaited event."""


@dataclass(slots=True)
class Barrier:
    """A place where ``parties`` threads wait until the calling thread releases them."""

    parties: int
    opened: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


_ARRIVED, _FINISHED = "arrived", "finished"


class TrafficThreads:
    """Threads and sockets of one run of traffic; a context manager that leaves neither behind.

    Leaving it with an exception resets the connections (SO_LINGER 0), because an orphaned socket with unacknowledged
    data would keep its network namespace alive for minutes.
    """

    def __init__(self, *, deadline_s: float, cores: Cores = ANYWHERE) -> None:
        """``cores`` sets where the threads run, until they end."""
        self.deadline_ns = time.monotonic_ns() + round(deadline_s * 1e9)
        self.aborting = threading.Event()
        self._abort_fd = -1
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._events: list[threading.Event] = []
        self._threads: list[threading.Thread] = []
        self._reports: SimpleQueue[str | _Failed] = SimpleQueue()
        self._finished = 0
        self._cores = cores
        self.scheduling = ""
        """How the kernel schedules the threads, as text; empty before the first."""

    def __enter__(self) -> TrafficThreads:
        self._abort_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                self._abort()
            until = time.monotonic() + _JOIN_S
            for thread in self._threads:
                thread.join(max(0.0, until - time.monotonic()))
            stuck = [thread.name for thread in self._threads if thread.is_alive()]
        finally:
            self._close(reset=error is not None)
        if stuck:
            raise TrafficError(
                f"the thread {stuck[0]!r} did not end within {_JOIN_S:g} s after its sockets were shut down: "
                "this is a defect of rttcheck or of the kernel, see where it hangs with py-spy or gdb"
            ) from error

    # Called by the calling thread.

    def spawn(self, name: str, act: Callable[[], None]) -> None:
        """Run ``act`` in a thread; an exception in it ends the whole run.

        Raises TrafficError when the system refuses another thread.
        """

        def run() -> None:
            try:
                self.scheduling = take(self._cores.traffic, self._cores.priority)
                act()
            except Aborted:
                pass
            except BaseException as error:
                self._reports.put(_Failed(error))
            else:
                self._reports.put(_FINISHED)

        thread = threading.Thread(target=run, name=f"rttcheck {name}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise TrafficError(
                f"traffic needs two threads a flow and the system gave no more after {len(self._threads)} ({error}): "
                "take fewer flows, or raise the limit of processes (ulimit -u, or the control group's pids.max)"
            ) from error
        self._threads.append(thread)

    def barrier(self, parties: int) -> Barrier:
        """Create a barrier for ``parties`` threads, before the threads that pass it."""
        barrier = Barrier(parties)
        self._events.append(barrier.opened)
        return barrier

    def await_all_at(self, barrier: Barrier) -> None:
        """Wait until all parties are at ``barrier``; they stay there until its ``opened`` is set.

        Raises DeadlinePassed, or what a thread raised.
        """
        arrived = 0
        while arrived < barrier.parties:
            if self._next_report() == _ARRIVED:
                arrived += 1

    @contextmanager
    def clock_stopped(self) -> Iterator[None]:
        """Exclude the time in the block from the deadline."""
        begun_ns = time.monotonic_ns()
        yield
        self.deadline_ns += time.monotonic_ns() - begun_ns

    def await_end(self) -> None:
        """Wait until all threads have finished. Raises DeadlinePassed, or what a thread raised."""
        while self._finished < len(self._threads):
            self._next_report()

    def _next_report(self) -> str:
        remaining_s = (self.deadline_ns - time.monotonic_ns()) / 1e9
        try:
            report = self._reports.get(timeout=max(0.0, remaining_s))
        except Empty:
            raise DeadlinePassed from None
        if isinstance(report, _Failed):
            raise report.error
        if report == _FINISHED:
            self._finished += 1
        return report

    # Called by the traffic threads.

    def arrive_at(self, barrier: Barrier) -> None:
        """Report to the calling thread that this one is at ``barrier`` and wait until it opens. Raises Aborted."""
        self._reports.put(_ARRIVED)
        self.await_event(barrier.opened)

    def event(self) -> threading.Event:
        """Create an event for `await_event`, set by one thread for another, or by the abort."""
        event = threading.Event()
        with self._lock:
            self._events.append(event)
            if self.aborting.is_set():
                event.set()
        return event

    def drop(self, event: threading.Event) -> None:
        """Remove an event that no thread will wait for again."""
        with self._lock:
            self._events.remove(event)

    def await_event(self, event: threading.Event) -> None:
        """Wait until ``event`` is set. Raises Aborted when it was set because all must end."""
        event.wait()
        if self.aborting.is_set():
            raise Aborted

    def await_time(self, at_ns: int) -> None:
        """Wait until CLOCK_MONOTONIC reads ``at_ns``; returns at once when that is past. Raises Aborted."""
        remaining_ns = at_ns - time.monotonic_ns()
        if remaining_ns > 0 and self.aborting.wait(remaining_ns / 1e9):
            raise Aborted

    def await_poll(self, sock: socket.socket, events: int) -> int:
        """Wait until ``sock`` has one of ``events`` (or POLLERR, POLLHUP) and return which. Raises Aborted."""
        poll = select.poll()
        poll.register(sock, events)
        poll.register(self._abort_fd, select.POLLIN)
        ready = dict(poll.poll())
        if self._abort_fd in ready:
            raise Aborted
        return ready[sock.fileno()]

    def edges_of(self, sock: socket.socket) -> select.epoll:
        """Return an edge-triggered epoll on all events of ``sock``, and on the abort; the caller closes it."""
        epoll = select.epoll()
        epoll.register(self._abort_fd, select.EPOLLIN)
        epoll.register(sock, select.EPOLLET | select.EPOLLIN | select.EPOLLRDHUP)
        return epoll

    def keep(self, sock: socket.socket) -> socket.socket:
        """Register ``sock``: it is shut down on abort and closed at the end. Raises Aborted (and closes it)."""
        with self._lock:
            if not self.aborting.is_set():
                self._sockets.add(sock)
                return sock
        sock.close()
        raise Aborted

    def close(self, sock: socket.socket) -> None:
        """Close ``sock`` before the end of the run, and unregister it."""
        with self._lock:
            self._sockets.discard(sock)
            sock.close()

    def _abort(self) -> None:
        with self._lock:
            self.aborting.set()
            for event in self._events:
                event.set()
            for sock in self._sockets:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:  # not connected (yet): a thread that waits for it waits for abort_fd as well
                    continue
        os.eventfd_write(self._abort_fd, 1)

    def _close(self, *, reset: bool) -> None:
        with self._lock:
            for sock in self._sockets:
                if reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
            self._sockets.clear()
        os.close(self._abort_fd)
