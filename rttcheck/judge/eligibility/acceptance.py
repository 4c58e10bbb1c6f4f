"""Which incoming packets TCP accepts for ACK processing: it drops old ones.

The state that this needs of a socket: ``ts_recent``, ``rcv_nxt``, ``rcv_wup``, the window's last update.

Source: ``tcp_validate_incoming()``, ``tcp_disordered_ack()``, ``tcp_sequence()``, ``tcp_replace_ts_recent()`` and
``tcp_may_update_window()`` in net/ipv4/tcp_input.c, 5.10 to 7.3; RFC 7323, section 5.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from rttcheck.record.packet import SYN

_PAWS_WINDOW: Final = 1
"""``TCP_PAWS_WINDOW``: a packet's timestamp may be this many ticks old."""

_INITIAL_RTO_MS: Final = 1_000
"""``TCP_TIMEOUT_INIT``."""


@dataclass(slots=True)
class Arrival:
    """One incoming packet with an ACK number; ``ack`` and ``blocks`` are offsets of the own direction."""

    row: int
    time_ns: int
    ack: int
    blocks: tuple[tuple[int, int], ...]
    seq: int
    """As on the wire."""
    length: int
    """Payload bytes, plus one for SYN or FIN."""
    flags: int
    window: int
    stamped: bool
    """Whether it carries a timestamp."""
    tsval: int
    tsecr: int
    merges: bool = False
    """Whether the next packet may be merged into it in the backlog (``tcp_add_backlog()``)."""


def signed(difference: int) -> int:
    """Return a difference of two 32-bit numbers as TCP reads it: from -2^31 up to 2^31 - 1."""
    return ((difference + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000


@dataclass(slots=True)
class Acceptance:
    """The receive state of a socket. Offsets of the peer's direction count from its initial sequence number."""

    initial: int | None = None
    """The peer's initial sequence number; None until it is known."""
    next: int = 0
    """``rcv_nxt``."""
    acked: int = 0
    """``rcv_wup``: ``rcv_nxt`` as the last outgoing packet acknowledged it."""
    rto_ms: float = _INITIAL_RTO_MS
    _recent: int | None = None
    _updated: int = 0
    _window: int | None = None
    _out_of_order: list[tuple[int, int]] = field(default_factory=list)

    def open(self, arrival: Arrival) -> None:
        """Take the peer's first captured packet: its SYN-ACK, or any packet where the capture began later."""
        self.begin(arrival.seq if arrival.flags & SYN else arrival.seq - 1)
        self._recent = arrival.tsval if arrival.stamped else None

    def begin(self, initial: int) -> None:
        """Set the peer's initial sequence number."""
        self.initial = initial & 0xFFFF_FFFF
        self.next = self.acked = 1
        self._updated = 0

    def acknowledge(self, ack: int) -> None:
        """Take the ACK number of an outgoing packet, as on the wire (``tcp_select_window()``)."""
        if self.initial is not None:
            self.acked = self._offset(ack)
            self._add_data(self.acked, self.acked)

    def accepts(self, arrival: Arrival, una: int) -> bool:
        """Return whether TCP processes the ACK; ``una`` is ``snd_una`` as an offset."""
        if arrival.flags & SYN:
            return False
        start = self._offset(arrival.seq)
        if arrival.stamped and self._recent:
            behind = signed(self._recent - arrival.tsval)
            if behind > _PAWS_WINDOW and not self._is_disordered_ack(arrival, start, una, behind):
                return False
        return start + arrival.length >= self.acked

    def receive(self, arrival: Arrival, una: int) -> None:
        """Update the state with an accepted packet; ``una`` is ``snd_una`` before its ACK number is processed."""
        start = self._offset(arrival.seq)
        if arrival.ack >= una:
            older = self._recent is not None and signed(self._recent - arrival.tsval) > 0
            if arrival.stamped and start <= self.acked and not older:
                self._recent = arrival.tsval
            if self._updates_window(arrival, start, una):
                self._updated, self._window = start, arrival.window
        if arrival.length:
            self._add_data(start, start + arrival.length)

    def _offset(self, seq: int) -> int:
        assert self.initial is not None
        return self.next + signed(seq - self.initial - self.next)

    def _is_disordered_ack(self, arrival: Arrival, start: int, una: int, behind: int) -> bool:
        """Return what ``tcp_disordered_ack()`` does: a pure ACK with nothing new and a recent timestamp is accepted."""
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

    def _add_data(self, start: int, end: int) -> None:
        """Add incoming data, in order or not (``tcp_data_queue()``)."""
        if start > self.next and start < end:
            self._out_of_order.append((start, end))
            return
        self.next = max(self.next, end)
        if self._out_of_order:
            self._out_of_order.sort()
            while self._out_of_order and self._out_of_order[0][0] <= self.next:
                self.next = max(self.next, self._out_of_order.pop(0)[1])
