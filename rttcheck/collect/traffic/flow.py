"""One flow on its client's side, from the first SYN to the ACK of the last FIN.

It connects, exchanges data, pauses, reads TCP_INFO and closes, in step with the server's end.

The end of a connection, on both sides: all data acknowledged; the server's TCP_INFO read; the client's; the client's
FIN; the server's; its ACK. So no FIN's sample is lost when the lab is removed, and none gets into TCP_INFO.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rttcheck.collect.traffic.endpoint import PeerClosed, TcpEndpoint, connect, open_client
from rttcheck.collect.traffic.pattern import Columns, Pattern
from rttcheck.collect.traffic.result import Address, FlowResult, timings_of, writes_of
from rttcheck.collect.traffic.server_report import ServerReport, ServerReports, TrafficPart, flow_failure
from rttcheck.collect.traffic.threads import Barrier, TrafficThreads

if TYPE_CHECKING:
    from rttcheck.scenario.traffic import Traffic
    from rttcheck_netns import Host

THROUGH = "through"
AT_A_BARRIER = "waiting for the other flows"
"""Phases that delay no other flow."""


@dataclass(slots=True)
class Flow:
    """One flow and its progress. The client's thread writes, the calling thread reads after a failure."""

    index: int
    traffic: Traffic
    family: int
    threads: TrafficThreads
    reports: ServerReports
    client_host: Host
    server_address: Address
    pattern: Pattern
    start: Barrier
    parts: Sequence[TrafficPart]
    phase: str = "about to connect"
    address: Address | None = None
    columns: Columns | None = None
    results: list[FlowResult] = field(default_factory=list)

    def run(self) -> None:
        """Run the client's thread. Raises FlowFailed, Aborted."""
        try:
            # Once for all of its sockets: entering a namespace and back costs four system calls.
            with self.client_host.namespace.entered():
                if self.traffic.kind == "connections":
                    self._run_many()
                else:
                    self._run_one()
        except (OSError, PeerClosed) as error:
            raise flow_failure(self.threads, error, side="client", client=self.address, index=self.index) from error
        self.phase = THROUGH

    def _run_one(self) -> None:
        connection = self._connect(self.pattern.writes)
        self._wait_at(self.start)
        for part in self.parts:
            self.phase = "exchanging data"
            self.pattern.client(connection.end, connection.columns, part.first, part.last)
            if part.barrier is not None:
                self._wait_at(part.barrier)
        self._finish(connection)

    def _run_many(self) -> None:
        self._wait_at(self.start)
        for part in self.parts:
            for _ in range(part.first, part.last):
                connection = self._connect(1)
                self.phase = "exchanging data"
                self.pattern.client(connection.end, connection.columns, 0, 1)
                self._finish(connection)
            if part.barrier is not None:
                self._wait_at(part.barrier)

    def _connect(self, rows: int) -> _Connection:
        self.phase, self.address = "connecting", None
        end = open_client(self.threads, self.traffic, family=self.family)
        columns = self.columns = Columns.of(rows)
        cookie = end.cookie()
        started_ns = time.monotonic_ns()
        connect(end, self.server_address)
        connected_ns = time.monotonic_ns()
        address = self.address = end.local_address()
        return _Connection(end, columns, address, cookie, started_ns, connected_ns, self.reports.of(address))

    def _finish(self, connection: _Connection) -> None:
        self.phase = "waiting for the ACK of the server's data"
        self.threads.await_event(connection.report.acknowledged)
        finished_ns = time.monotonic_ns()
        client_info, server_info = connection.end.info(), connection.report.info
        assert server_info is not None  # set before `acknowledged`
        self.phase = "closing"
        closed_ns = time.monotonic_ns()
        connection.end.close_first()
        self.threads.await_event(connection.report.closed)
        self.reports.forget(connection.report)
        self.results.append(
            FlowResult(
                flow=self.index,
                client_address=connection.address,
                server_address=self.server_address,
                client_cookie=connection.cookie,
                server_cookie=connection.report.cookie,
                started_ns=connection.started_ns,
                connected_ns=connection.connected_ns,
                finished_ns=finished_ns,
                timings=timings_of(connection.columns.sent_ns, connection.columns.done_ns),
                client_info=client_info,
                server_info=server_info,
                client_writes=writes_of(
                    [connection.started_ns, *connection.columns.sent_ns, closed_ns],
                    [1, *self.pattern.sizes(server=False), 1],
                ),
                server_writes=writes_of(
                    [*connection.report.written_ns, connection.report.closed_ns],
                    [*self.pattern.sizes(server=True), 1],
                    before=1,
                ),
            )
        )

    def _wait_at(self, barrier: Barrier) -> None:
        self.phase = AT_A_BARRIER
        self.threads.arrive_at(barrier)


@dataclass(frozen=True, slots=True)
class _Connection:
    """The client's side of one open connection."""

    end: TcpEndpoint
    columns: Columns
    address: Address
    cookie: int
    started_ns: int
    connected_ns: int
    report: ServerReport
