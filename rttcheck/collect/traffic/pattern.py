"""The loops that read and write on both ends, one pair for each kind of traffic, with two times around each exchange.

The loops do as little as Python allows, because in an emulated guest each instruction is a nanosecond of the
measured time, and because an ACK that arrives while the application owns the socket waits in its backlog: buffers
and columns are allocated before, methods are bound outside the loop, and nothing is logged.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from rttcheck.collect.traffic.endpoint import PeerClosed, TcpEndpoint

if TYPE_CHECKING:
    from rttcheck.scenario.traffic import Traffic

CHUNK_BYTES = 1 << 16
"""How many bytes one write of ``bulk`` passes to the kernel."""

_SINK_BYTES = 1 << 18


@dataclass(slots=True)
class Columns:
    """When each exchange or write of one connection began and ended, in ns of CLOCK_MONOTONIC; 0: not yet."""

    sent_ns: array[int]
    done_ns: array[int]

    @classmethod
    def of(cls, rows: int) -> Columns:
        """Return columns for ``rows`` exchanges, all zero."""
        return cls(array("Q", bytes(8 * rows)), array("Q", bytes(8 * rows)))

    def done(self) -> int:
        """Return how many exchanges are done."""
        return sum(1 for done_ns in self.done_ns if done_ns)


class Pattern(Protocol):
    """Both halves of ``writes`` exchanges, of which any slice may be run."""

    writes: int

    def client(self, end: TcpEndpoint, columns: Columns, first: int, last: int) -> None:
        """Run exchanges ``first`` to ``last - 1``; on return this end's data is acknowledged or answered."""

    def server(self, end: TcpEndpoint, written_ns: array[int], first: int, last: int) -> None:
        """Run the other half; on return all of the client's data is read and this end's data is acknowledged.

        When each write began is appended to ``written_ns``.
        """

    def sizes(self, *, server: bool) -> Sequence[int]:
        """Return the bytes of each write of one end, in order."""


@dataclass(slots=True)
class PingPong:
    """The client writes ``size`` bytes and waits for as many back.

    The answer carries the ACK of the request, so the client has nothing outstanding when it has read it; the server
    waits for the ACK of its last answer.
    """

    writes: int
    size: int
    question: memoryview = field(init=False)
    answer: memoryview = field(init=False)
    echo: memoryview = field(init=False)

    def __post_init__(self) -> None:
        self.question, self.answer, self.echo = (memoryview(bytearray(self.size)) for _ in range(3))

    def client(self, end: TcpEndpoint, columns: Columns, first: int, last: int) -> None:
        """Write each request and read its answer."""
        write, read, now = end.sock.sendall, end.read_exactly, time.monotonic_ns
        sent_ns, done_ns, quickack = columns.sent_ns, columns.done_ns, end.quickack
        question, answer = self.question, self.answer
        for row in range(first, last):
            sent_ns[row] = now()
            write(question)
            read(answer)
            done_ns[row] = now()
            if quickack:
                end.rearm_quickack()

    def server(self, end: TcpEndpoint, written_ns: array[int], first: int, last: int) -> None:
        """Send back what was received; wait for the ACK of the last answer."""
        if first == last:
            return
        write, read, quickack, echo = end.sock.sendall, end.read_exactly, end.quickack, self.echo
        now, keep = time.monotonic_ns, written_ns.append
        for _ in range(first, last - 1):
            read(echo)
            keep(now())
            write(echo)
            if quickack:
                end.rearm_quickack()
        read(echo)
        keep(now())
        end.write_last(echo)
        end.await_acked()

    def sizes(self, *, server: bool) -> Sequence[int]:  # noqa: ARG002 - both ends write the same
        """Return the bytes of each write."""
        return [self.size] * self.writes


@dataclass(slots=True)
class OneWay:
    """The client writes ``total`` bytes, ``size`` at a time, and the server reads them; no data is sent back.

    With an interval each write has a fixed time, counted from the first write since the last pause, so that lateness
    does not add up.
    """

    total: int
    size: int
    interval_ns: int = 0
    writes: int = field(init=False)
    message: memoryview = field(init=False)
    sink: bytearray = field(init=False)

    def __post_init__(self) -> None:
        self.writes = -(-self.total // self.size)
        self.message = memoryview(bytes(self.size))
        self.sink = bytearray(min(self.total, _SINK_BYTES))

    def client(self, end: TcpEndpoint, columns: Columns, first: int, last: int) -> None:
        """Write all, and wait for the ACK of the last byte."""
        if first == last:
            return
        write, now, message = end.sock.sendall, time.monotonic_ns, self.message
        sent_ns, done_ns, interval_ns = columns.sent_ns, columns.done_ns, self.interval_ns
        turn_ns = now()
        for row in range(first, last - 1):
            sent_ns[row] = now()
            write(message)
            done_ns[row] = now()
            if interval_ns:
                turn_ns += interval_ns
                end.threads.await_time(turn_ns)
        row = last - 1
        sent_ns[row] = now()
        end.write_last(message[: self.total - row * self.size])
        done_ns[row] = now()
        end.await_acked()

    def server(self, end: TcpEndpoint, written_ns: array[int], first: int, last: int) -> None:  # noqa: ARG002 - none
        """Read the client's data and discard it."""
        missing = min(last * self.size, self.total) - first * self.size
        read, sink, quickack = end.sock.recv_into, self.sink, end.quickack
        while missing:
            got = read(sink, min(missing, _SINK_BYTES))
            if not got:
                raise PeerClosed
            missing -= got
            if quickack:
                end.rearm_quickack()

    def sizes(self, *, server: bool) -> Sequence[int]:
        """Return the bytes of each write; the server has none."""
        if server:
            return []
        return [min(self.size, self.total - row * self.size) for row in range(self.writes)]


def pattern_of(traffic: Traffic) -> Pattern:
    """Return the pattern of one connection. Both halves of one object may run at the same time, no half twice."""
    match traffic.kind:
        case "pingpong":
            return PingPong(writes=traffic.count, size=traffic.size)
        case "connections":
            return PingPong(writes=1, size=traffic.size)
        case "oneway" | "paced":
            return OneWay(traffic.count * traffic.size, traffic.size, interval_ns=traffic.interval_us * 1000)
        case "bulk":
            return OneWay(traffic.size, CHUNK_BYTES)
        case _:
            raise ValueError(f"no such kind of traffic: {traffic.kind!r}")
