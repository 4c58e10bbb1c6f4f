"""One direction's delay line as arithmetic: what becomes of a packet that came then, and when it is due.

Owns the fate and the due time of each packet, in netem's order of decisions (``netem_enqueue()`` in
net/sched/sch_netem.c, 6.12); refuses to know clocks, sockets and frames: times are told, in nanoseconds of any clock.
All chances are drawn before the queue is looked at, so the fate of the k-th packet hangs on the seed alone and not on
when packets come; only `Fate.OVERFLOW`, and what a rate makes of the due time, follow from the traffic.
"""

from __future__ import annotations

from enum import IntEnum

from ..netem import Netem
from . import dice


class Fate(IntEnum):
    """What became of a packet."""

    PASSED = 0
    """Held for its delay and let go; or still held, where the time of release is 0."""
    REORDERED = 1
    """Let go at once, ahead of those that wait."""
    LOST = 2
    """Dropped by chance, as asked for."""
    OVERFLOW = 3
    """Dropped because as many packets as the limit allows were waiting."""
    REPLACED = 4
    """Waited when the impairment was replaced, and was dropped with it."""
    REFUSED = 5
    """The kernel did not take it when it was due, or it was too long for the ring."""


Admitted = tuple[int, Fate, bool]
"""When a packet is due (0 for one that is dropped), its fate, and whether it is a copy."""

UNLIMITED = (1 << 32) - 1

_DROPPED: dict[Fate, list[Admitted]] = {fate: [(0, fate, False)] for fate in (Fate.LOST, Fate.OVERFLOW)}


class Line:
    """The delay line of one direction under one impairment; None lets everything pass at once."""

    def __init__(self, netem: Netem | None, seed: int) -> None:
        asked = netem if netem is not None else Netem(limit=UNLIMITED)
        self.delay_ns, self.limit = asked.delay_ns, asked.limit
        self.waiting = 0
        """Packets that wait; who lets one go counts down."""
        self._lost, self._duplicated = dice.lost(asked, seed), dice.duplicated(asked, seed)
        self._reordered, self._deviation = dice.reordered(asked, seed), dice.deviation(asked, seed)
        self._gap = (asked.gap or 1) - 1
        self._since_reordered = 0
        self._rate = asked.rate_bytes
        self._overhead, self._cell, self._cell_overhead = asked.packet_overhead, asked.cell_size, asked.cell_overhead
        self._last_due_ns = 0
        self._plain = not (self._lost or self._duplicated or self._reordered or self._deviation or self._rate)

    def admit(self, taken_ns: int, length: int) -> list[Admitted]:
        """Decide on a packet of ``length`` bytes, Ethernet header included; one row for it, and one for a copy.

        A copy goes first, and goes through loss, reordering and jitter on its own, as netem's does.
        """
        if self._plain:
            if self.waiting >= self.limit:
                return _DROPPED[Fate.OVERFLOW]
            self.waiting += 1
            return [(taken_ns + self.delay_ns, Fate.PASSED, False)]
        duplicated = self._duplicated is not None and self._duplicated()
        lost = self._lost is not None and self._lost()
        if lost and not duplicated:
            return _DROPPED[Fate.LOST]
        # Lost and duplicated at once is one packet, by netem's count.
        copied = duplicated and not lost
        copy_lost = copied and self._lost is not None and self._lost()
        copy_hold = self._hold() if copied and not copy_lost else None
        hold = self._hold()
        if self.waiting >= self.limit:
            return _DROPPED[Fate.OVERFLOW]
        admitted: list[Admitted] = []
        if copied:
            if copy_lost or self.waiting >= self.limit:
                admitted.append((0, Fate.LOST if copy_lost else Fate.OVERFLOW, True))
            else:
                admitted.append((*self._queued(taken_ns, copy_hold, length), True))
        admitted.append((*self._queued(taken_ns, hold, length), False))
        return admitted

    def _hold(self) -> int | None:
        """How long to hold the next packet, None for one that overtakes. Never less than nothing.

        netem lets a negative sum of delay and jitter pass as a time in the past: at once, as 0 does here.
        """
        if self._reordered is not None:
            if self._since_reordered >= self._gap and self._reordered():
                self._since_reordered = 0
                return None
            self._since_reordered += 1
        return self.delay_ns if self._deviation is None else max(0, self.delay_ns + self._deviation())

    def _queued(self, taken_ns: int, hold: int | None, length: int) -> tuple[int, Fate]:
        self.waiting += 1
        if hold is None:
            return taken_ns, Fate.REORDERED
        due_ns = taken_ns + hold
        if self._rate:
            # netem takes the wait behind the last packet off the delay: the later of the two counts, then the wire.
            due_ns = max(due_ns, self._last_due_ns) + self._wire_ns(length)
            self._last_due_ns = due_ns
        return due_ns, Fate.PASSED

    def _wire_ns(self, length: int) -> int:
        """``packet_time_ns()``: how long the rate takes over a packet, overhead and cells included."""
        length += self._overhead
        if self._cell:
            length = -(-length // self._cell) * (self._cell + self._cell_overhead)
        return max(0, length) * 1_000_000_000 // self._rate
