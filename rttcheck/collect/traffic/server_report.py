"""What the two ends of a connection share: where they pause, and what the server's end reports to the client's.

Any of the server's threads may have accepted a connection, so the client's thread finds its report by address.
"""

from __future__ import annotations

import threading
from array import array
from dataclasses import dataclass, field

from rttcheck.collect.traffic.endpoint import PeerClosed
from rttcheck.collect.traffic.result import Address
from rttcheck.collect.traffic.tcp_info import TcpInfo
from rttcheck.collect.traffic.threads import Aborted, Barrier, TrafficThreads


@dataclass(frozen=True, slots=True)
class TrafficPart:
    """Exchanges ``first`` to ``last - 1``, and the barrier where all wait afterwards; None: there is no pause."""

    first: int
    last: int
    barrier: Barrier | None


@dataclass(slots=True)
class ServerReport:
    """What the server's end of a connection reports to the client's."""

    acknowledged: threading.Event
    """Set when ``info`` is read: the server's data is acknowledged and nothing is in flight."""
    closed: threading.Event
    """Set when the server's FIN is acknowledged."""
    cookie: int = 0
    info: TcpInfo | None = None
    written_ns: array[int] = field(default_factory=lambda: array("Q"))
    """When the server began each of its writes, ns of CLOCK_MONOTONIC."""
    closed_ns: int = 0
    """When the server began to close."""


class ServerReports:
    """The reports of all connections, by the client's address."""

    def __init__(self, threads: TrafficThreads) -> None:
        self._stage = threads
        self._lock = threading.Lock()
        self._waiting: dict[Address, ServerReport] = {}

    def of(self, client: Address) -> ServerReport:
        """Return the report of this connection; each end calls once, in any order."""
        with self._lock:
            report = self._waiting.pop(client, None)
            if report is None:
                report = self._waiting[client] = ServerReport(self._stage.event(), self._stage.event())
            return report

    def forget(self, report: ServerReport) -> None:
        """Remove the report of a finished connection."""
        self._stage.drop(report.acknowledged)
        self._stage.drop(report.closed)


class FlowFailed(Exception):
    """A connection failed; ``cause`` is the socket's error, or PeerClosed."""

    def __init__(self, *, side: str, client: Address | None, index: int, cause: OSError | PeerClosed) -> None:
        super().__init__(side, client, index, cause)
        self.side = side
        self.client = client
        """The client's address of that connection; None before it has one."""
        self.index = index
        """The number of the thread on that side: on the client's side that is the flow."""
        self.cause = cause


def flow_failure(
    threads: TrafficThreads, error: OSError | PeerClosed, *, side: str, client: Address | None, index: int
) -> Exception:
    """Return the exception to raise for ``error``: Aborted when the cause is that all threads are being stopped."""
    if threads.aborting.is_set():
        return Aborted()
    return FlowFailed(side=side, client=client, index=index, cause=error)
