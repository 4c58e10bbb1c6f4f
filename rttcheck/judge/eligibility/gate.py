"""Which packets that came in TCP lets through to the ACK's processing: not those of the past.

It owns what a socket remembers of its peer's packets for that: ``ts_recent``, ``rcv_nxt``, ``rcv_wup``, the window's
last update. It does not know what an ACK acknowledges.

Source: ``tcp_validate_incoming()``, ``tcp_disordered_ack()``, ``tcp_sequence()``, ``tcp_replace_ts_recent()`` and
``tcp_may_update_window()`` in net/ipv4/tcp_input.c, 5.10 to 7.3; RFC 7323, section 5.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from rttcheck.record.packet import SYN

_PAWS_WINDOW: Final = 1
"""``TCP_PAWS_WINDOW``: how many ticks of its timestamp a packet may lie behind."""

_INITIAL_RTO_MS: Final = 1_000
"""``TCP_TIMEOUT_INIT``."""


@dataclass(slots=True)
class Arrival:
    """One packet that came in with an ACK number; ``ack`` and ``blocks`` are offsets of the own direction."""

    row: int
    time_ns: int
    ack: int
    blocks: tuple[tuple[int, int], ...]
    seq: int
    """As on the wire."""
    length: int
    """Payload, SYN and FIN."""
    flags: int
    window: int
    stamped: bool
    """Whether it carries a timestamp."""
    tsval: int
    tsecr: int
    merges: bool = False
    """Whether the next to come in may be made one with it while both wait (``tcp_add_backlog()``)."""


def signed(difference: int) -> int:
    """A difference of two 32-bit numbers as TCP reads it: from -2^31 up to 2^31 - 1."""
    return ((difference + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000


@dataclass(slots=True)
class Gate:
    """What a socket knows of its peer. Offsets of the peer's direction count from its initial sequence number."""

    initial: int | None = None
    """The peer's initial sequence number; None until it is known."""
    next: int = 0
    """``rcv_nxt``."""
    told: int = 0
    """``rcv_wup``: ``rcv_nxt`` as the last packet that left said it."""
    rto_ms: float = _INITIAL_RTO_MS
    _recent: int | None = None
    _updated: int = 0
    _window: int | None = None
    _ahead: list[tuple[int, int]] = field(default_factory=list)

    def open(self, arrival: Arrival) -> None:
        """The first packet of the peer's that is seen: its SYN-ACK, or one of a connection that was there before."""
        self.begin(arrival.seq if arrival.flags & SYN else arrival.seq - 1)
        self._recent = arrival.tsval if arrival.stamped else None

    def begin(self, initial: int) -> None:
        """The peer's initial sequence number becomes known."""
        self.initial = initial & 0xFFFF_FFFF
        self.next = self.told = 1
        self._updated = 0

    def tell(self, ack: int) -> None:
        """A packet leaves with this ACK number, as on the wire (``tcp_select_window()``)."""
        if self.initial is not None:
            self.told = self._offset(ack)
            self._take(self.told, self.told)

    def lets_through(self, arrival: Arrival, una: int) -> bool:
        """Whether the ACK is looked at; ``una`` is up to where all of the own direction is acknowledged."""
        if arrival.flags & SYN:
            return False
        start = self._offset(arrival.seq)
        if arrival.stamped and self._recent:
            behind = signed(self._recent - arrival.tsval)
            if behind > _PAWS_WINDOW and not self._only_late(arrival, start, una, behind):
                return False
        return start + arrival.length >= self.told

    def receive(self, arrival: Arrival, una: int) -> None:
        """Remember a packet that was let through; ``una`` is from before its ACK number counts."""
        start = self._offset(arrival.seq)
        if arrival.ack >= una:
            older = self._recent is not None and signed(self._recent - arrival.tsval) > 0
            if arrival.stamped and start <= self.told and not older:
                self._recent = arrival.tsval
            if self._updates_window(arrival, start, una):
                self._updated, self._window = start, arrival.window
        if arrival.length:
            self._take(start, start + arrival.length)

    def _offset(self, seq: int) -> int:
        assert self.initial is not None
        return self.next + signed(seq - self.initial - self.next)

    def _only_late(self, arrival: Arrival, start: int, una: int, behind: int) -> bool:
        """``tcp_disordered_ack()``: a pure ACK that says nothing new and is not too old may pass."""
        return (
            not arrival.length
            and start == self.next
            and arrival.ack == una
            and not self._updates_window(arrival, start, una)
            and behind <= self.rto_ms * 1_024 / 1_000
        )

    def _updates_window(self, arrival: Arrival, start: int, una: int) -> bool:
        wider = self._window is None or arrival.window > self._window
        return arrival.ack > una or start > self._updated or (start == self._updated and wider)

    def _take(self, start: int, end: int) -> None:
        """Data comes in, in order or ahead of it (``tcp_data_queue()``)."""
        if start > self.next and start < end:
            self._ahead.append((start, end))
            return
        self.next = max(self.next, end)
        if self._ahead:
            self._ahead.sort()
            while self._ahead and self._ahead[0][0] <= self.next:
                self.next = max(self.next, self._ahead.pop(0)[1])
