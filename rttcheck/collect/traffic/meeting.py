"""What the two ends of a connection have in common: where they pause, and what they tell each other.

It owns how the client's thread finds the server's end of its own connection (any of the server's threads may have
accepted it). It refuses to touch a socket.
"""

from __future__ import annotations

import threading
from array import array
from dataclasses import dataclass, field

from rttcheck.collect.traffic.endpoint import PeerGone
from rttcheck.collect.traffic.result import Address
from rttcheck.collect.traffic.stage import Aborted, Gate, Stage
from rttcheck.collect.traffic.tcp_info import TcpInfo


@dataclass(frozen=True, slots=True)
class Stretch:
    """Exchanges ``first`` to ``last - 1``, and the gate where all wait afterwards; None: there is no pause."""

    first: int
    last: int
    gate: Gate | None


@dataclass(slots=True)
class Meeting:
    """What the server's end of a connection tells the client's."""

    quiet: threading.Event
    """Set when ``info`` is read: the server's data is acknowledged and nothing is under way."""
    gone: threading.Event
    """Set when the server's FIN is acknowledged."""
    cookie: int = 0
    info: TcpInfo | None = None
    written_ns: array[int] = field(default_factory=lambda: array("Q"))
    """When the server began each of its writes, ns of CLOCK_MONOTONIC."""
    closed_ns: int = 0
    """When the server began to close."""


class Lobby:
    """Where the two ends of a connection find each other, by the client's address."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._lock = threading.Lock()
        self._waiting: dict[Address, Meeting] = {}

    def meet(self, client: Address) -> Meeting:
        """The meeting of this connection; each end calls once, in any order."""
        with self._lock:
            meeting = self._waiting.pop(client, None)
            if meeting is None:
                meeting = self._waiting[client] = Meeting(self._stage.event(), self._stage.event())
            return meeting

    def part(self, meeting: Meeting) -> None:
        """Forget a meeting that is over."""
        self._stage.drop(meeting.quiet)
        self._stage.drop(meeting.gone)


class FlowFailed(Exception):
    """A connection could not go on; ``cause`` is what the socket said, or PeerGone."""

    def __init__(self, *, side: str, client: Address | None, index: int, cause: OSError | PeerGone) -> None:
        super().__init__(side, client, index, cause)
        self.side = side
        self.client = client
        """The client's address of that connection; None before it has one."""
        self.index = index
        """Which thread of that side: on the client's side that is the flow."""
        self.cause = cause


def blame(stage: Stage, error: OSError | PeerGone, *, side: str, client: Address | None, index: int) -> Exception:
    """What a thread raises for ``error``: Aborted when it only failed because all are being stopped."""
    if stage.aborting.is_set():
        return Aborted()
    return FlowFailed(side=side, client=client, index=index, cause=error)
