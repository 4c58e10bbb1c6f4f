"""The server's threads: each accepts a connection of any flow, runs its half, and closes it in order."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rttcheck.collect.traffic.endpoint import PeerClosed, TcpEndpoint, accept
from rttcheck.collect.traffic.pattern import Pattern
from rttcheck.collect.traffic.result import Address
from rttcheck.collect.traffic.server_report import ServerReport, ServerReports, TrafficPart, flow_failure
from rttcheck.collect.traffic.threads import Barrier, TrafficThreads

if TYPE_CHECKING:
    from rttcheck.scenario.traffic import Traffic


@dataclass(slots=True)
class Server:
    """One thread of the server; there are as many as flows."""

    index: int
    traffic: Traffic
    threads: TrafficThreads
    reports: ServerReports
    listener: socket.socket
    pattern: Pattern
    start: Barrier
    parts: Sequence[TrafficPart]
    tickets: itertools.count[int]
    """Shared by all threads: each next number below ``connections`` is a connection still to be accepted."""
    connections: int
    client: Address | None = None
    """The address of the client being served."""

    def run(self) -> None:
        """Run the thread. Raises FlowFailed, Aborted."""
        try:
            if self.traffic.kind == "connections":
                self._serve_many()
            else:
                self._serve_one()
        except (OSError, PeerClosed) as error:
            raise flow_failure(self.threads, error, side="server", client=self.client, index=self.index) from error

    def _serve_one(self) -> None:
        end, report = self._accept()
        self.threads.arrive_at(self.start)
        for part in self.parts:
            self.pattern.server(end, report.written_ns, part.first, part.last)
            if part.barrier is not None:
                self.threads.arrive_at(part.barrier)
        self._finish(end, report)

    def _serve_many(self) -> None:
        # One ticket a connection in the whole run, so that no thread is left in accept() after the last one.
        while next(self.tickets) < self.connections:
            end, report = self._accept()
            self.pattern.server(end, report.written_ns, 0, 1)
            self._finish(end, report)

    def _accept(self) -> tuple[TcpEndpoint, ServerReport]:
        self.client = None
        end = accept(self.threads, self.listener, self.traffic)
        self.client = end.remote_address()
        report = self.reports.of(self.client)
        report.cookie = end.cookie()
        return end, report

    def _finish(self, end: TcpEndpoint, report: ServerReport) -> None:
        report.info = end.info()
        report.acknowledged.set()
        end.await_end_of_stream()
        report.closed_ns = time.monotonic_ns()
        end.close_last()
        report.closed.set()
