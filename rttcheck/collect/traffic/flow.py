"""One flow as its client sees it, from the first SYN to the ACK of the last FIN.

It owns the order of connecting, talking, pausing, reading TCP_INFO and closing, and who waits for whom. It refuses to
know the clock's deadline and how many other flows there are.

The end of a connection, on both sides: all data acknowledged; the server's TCP_INFO read; the client's; the client's
FIN; the server's; its ACK. So no FIN's sample is lost to a lab that is torn down, and none gets into TCP_INFO.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rttcheck.collect.traffic.endpoint import Endpoint, PeerGone, connect, open_client
from rttcheck.collect.traffic.meeting import Lobby, Meeting, Stretch, blame
from rttcheck.collect.traffic.pattern import Columns, Pattern
from rttcheck.collect.traffic.result import Address, FlowResult, timings_of, writes_of
from rttcheck.collect.traffic.stage import Gate, Stage

if TYPE_CHECKING:
    from rttcheck.scenario.traffic import Traffic
    from rttcheck_netns import Host

THROUGH = "through"
AT_A_GATE = "waiting for the other flows"
"""Phases that hold nobody up."""


@dataclass(slots=True)
class Flow:
    """One flow and how far it is. The client's thread writes, the calling thread reads when something went wrong."""

    index: int
    traffic: Traffic
    family: int
    stage: Stage
    lobby: Lobby
    client_host: Host
    server_address: Address
    pattern: Pattern
    start: Gate
    stretches: Sequence[Stretch]
    phase: str = "about to connect"
    address: Address | None = None
    columns: Columns | None = None
    results: list[FlowResult] = field(default_factory=list)

    def run(self) -> None:
        """The client's thread. Raises FlowFailed, Aborted."""
        try:
            # Once for all of its sockets: each visit costs four system calls.
            with self.client_host.namespace.entered():
                if self.traffic.kind == "connections":
                    self._run_many()
                else:
                    self._run_one()
        except (OSError, PeerGone) as error:
            raise blame(self.stage, error, side="client", client=self.address, index=self.index) from error
        self.phase = THROUGH

    def _run_one(self) -> None:
        talk = self._connect(self.pattern.writes)
        self._wait_at(self.start)
        for stretch in self.stretches:
            self.phase = "exchanging data"
            self.pattern.client(talk.end, talk.columns, stretch.first, stretch.last)
            if stretch.gate is not None:
                self._wait_at(stretch.gate)
        self._part(talk)

    def _run_many(self) -> None:
        self._wait_at(self.start)
        for stretch in self.stretches:
            for _ in range(stretch.first, stretch.last):
                talk = self._connect(1)
                self.phase = "exchanging data"
                self.pattern.client(talk.end, talk.columns, 0, 1)
                self._part(talk)
            if stretch.gate is not None:
                self._wait_at(stretch.gate)

    def _connect(self, rows: int) -> _Talk:
        self.phase, self.address = "connecting", None
        end = open_client(self.stage, self.traffic, family=self.family)
        columns = self.columns = Columns.of(rows)
        cookie = end.cookie()
        started_ns = time.monotonic_ns()
        connect(end, self.server_address)
        connected_ns = time.monotonic_ns()
        address = self.address = end.local_address()
        return _Talk(end, columns, address, cookie, started_ns, connected_ns, self.lobby.meet(address))

    def _part(self, talk: _Talk) -> None:
        self.phase = "waiting for the ACK of the server's data"
        self.stage.await_event(talk.meeting.quiet)
        finished_ns = time.monotonic_ns()
        client_info, server_info = talk.end.info(), talk.meeting.info
        assert server_info is not None  # set before `quiet`
        self.phase = "closing"
        closed_ns = time.monotonic_ns()
        talk.end.close_first()
        self.stage.await_event(talk.meeting.gone)
        self.lobby.part(talk.meeting)
        self.results.append(
            FlowResult(
                flow=self.index,
                client_address=talk.address,
                server_address=self.server_address,
                client_cookie=talk.cookie,
                server_cookie=talk.meeting.cookie,
                started_ns=talk.started_ns,
                connected_ns=talk.connected_ns,
                finished_ns=finished_ns,
                timings=timings_of(talk.columns.sent_ns, talk.columns.done_ns),
                client_info=client_info,
                server_info=server_info,
                client_writes=writes_of(
                    [talk.started_ns, *talk.columns.sent_ns, closed_ns], [1, *self.pattern.sizes(server=False), 1]
                ),
                server_writes=writes_of(
                    [*talk.meeting.written_ns, talk.meeting.closed_ns], [*self.pattern.sizes(server=True), 1], before=1
                ),
            )
        )

    def _wait_at(self, gate: Gate) -> None:
        self.phase = AT_A_GATE
        self.stage.arrive_at(gate)


@dataclass(frozen=True, slots=True)
class _Talk:
    """The client's side of one connection while it lasts."""

    end: Endpoint
    columns: Columns
    address: Address
    cookie: int
    started_ns: int
    connected_ns: int
    meeting: Meeting
