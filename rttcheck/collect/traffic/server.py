"""The server's threads: each accepts a connection of any flow, plays its half, and sees the connection off.

It owns the server's side of pausing and of the end of a connection. It refuses to know which flow a connection is of:
all flows say the same.
"""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rttcheck.collect.traffic.endpoint import Endpoint, PeerGone, accept
from rttcheck.collect.traffic.meeting import Lobby, Meeting, Stretch, blame
from rttcheck.collect.traffic.pattern import Pattern
from rttcheck.collect.traffic.result import Address
from rttcheck.collect.traffic.stage import Gate, Stage

if TYPE_CHECKING:
    from rttcheck.scenario.traffic import Traffic


@dataclass(slots=True)
class Server:
    """One thread of the server; there are as many as flows."""

    index: int
    traffic: Traffic
    stage: Stage
    lobby: Lobby
    listener: socket.socket
    pattern: Pattern
    start: Gate
    stretches: Sequence[Stretch]
    tickets: itertools.count[int]
    """Shared by all threads: the next number below ``connections`` is a connection that somebody must accept."""
    connections: int
    client: Address | None = None
    """Who is being served."""

    def run(self) -> None:
        """The thread. Raises FlowFailed, Aborted."""
        try:
            if self.traffic.kind == "connections":
                self._serve_many()
            else:
                self._serve_one()
        except (OSError, PeerGone) as error:
            raise blame(self.stage, error, side="server", client=self.client, index=self.index) from error

    def _serve_one(self) -> None:
        end, meeting = self._welcome()
        self.stage.arrive_at(self.start)
        for stretch in self.stretches:
            self.pattern.server(end, meeting.written_ns, stretch.first, stretch.last)
            if stretch.gate is not None:
                self.stage.arrive_at(stretch.gate)
        self._see_off(end, meeting)

    def _serve_many(self) -> None:
        # One ticket a connection in the whole run: no thread is left in accept() when all were served.
        while next(self.tickets) < self.connections:
            end, meeting = self._welcome()
            self.pattern.server(end, meeting.written_ns, 0, 1)
            self._see_off(end, meeting)

    def _welcome(self) -> tuple[Endpoint, Meeting]:
        self.client = None
        end = accept(self.stage, self.listener, self.traffic)
        self.client = end.remote_address()
        meeting = self.lobby.meet(self.client)
        meeting.cookie = end.cookie()
        return end, meeting

    def _see_off(self, end: Endpoint, meeting: Meeting) -> None:
        meeting.info = end.info()
        meeting.quiet.set()
        end.await_end_of_stream()
        meeting.closed_ns = time.monotonic_ns()
        end.close_last()
        meeting.gone.set()
