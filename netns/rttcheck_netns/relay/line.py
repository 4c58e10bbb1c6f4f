"""One direction's delay line as arithmetic: the fate of each packet and when it is due.

Follows netem's order of decisions (``netem_enqueue()`` in net/sched/sch_netem.c, 6.12). Times are arguments, in
nanoseconds of any clock. All random decisions are drawn before the queue is considered, so the fate of the k-th packet
depends on the seed alone and not on arrival times; only `Fate.OVERFLOW`, and the effect of a rate on the due time,
depend on the traffic.
"""

from __future__ import annotations

from enum import IntEnum

from ..netem import Netem
from . import dice


class Fate(IntEnum):
    """The fate of a packet."""

    PASSED = 0
    """Held for its delay and released; or still held, where the time of release is 0."""
    REORDERED = 1
    """Released at once, ahead of the waiting packets."""
    LOST = 2
    """Dropped by random loss, as asked for."""
    OVERFLOW = 3
    """Dropped because as many packets as the limit allows were waiting."""
    REPLACED = 4
    """Was waiting when the impairment was replaced, and was dropped."""
    REFUSED = 5
    """The kernel did not take it when it was due, or it was too long for the ring."""


Admitted = tuple[int, Fate, bool]
"""When a packet is due (0 for one that is dropped), its fate, and whether it is a copy."""

UNLIMITED = (1 << 32) - 1

_DROPPED: dict[Fate, list[Admitted]] = {fate: [(0, fate, False)] for fate in (Fate.LOST, Fate.OVERFLOW)}


class Line:
    """The delay line of one direction under one impairment; None passes everything at once."""

    def __init__(self, netem: Netem | None, seed: int) -> None:
        asked = netem if netem is not None else Netem(limit=UNLIMITED)
        self.delay_ns, self.limit = asked.delay_ns, asked.limit
        self.waiting = 0
        """Waiting packets; the caller that releases one decrements this."""
        self._lost, self._duplicated = dice.lost(asked, seed), dice.duplicated(asked, seed)
        self._reordered, self._deviation = dice.reordered(asked, seed), dice.deviation(asked, seed)
        self._gap = (asked.gap or 1) - 1
        self._since_reordered = 0
        self._rate = asked.rate_bytes
        self._overhead, self._cell, self._cell_overhead = asked.packet_overhead, asked.cell_size, asked.cell_overhead
        self._last_due_ns = 0
        self._plain = not (self._lost or self._duplicated or self._reordered or self._deviation or self._rate)

    def admit(self, taken_ns: int, length: int) -> list[Admitted]:
        """Decide on a packet of ``length`` bytes, Ethernet header included; return one row for it, and one for a copy.

        A copy goes first, and has its own loss, reordering and jitter, as in netem.
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
        # A packet both lost and duplicated is one packet, as netem counts.
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
        """Return how long to hold the next packet, None for one that overtakes; never negative.

        In netem a negative sum of delay and jitter is a time in the past: released at once, as 0 is here.
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
            # netem subtracts the wait behind the last packet from the delay: the later of the two counts, then the
            # wire.
            due_ns = max(due_ns, self._last_due_ns) + self._wire_ns(length)
            self._last_due_ns = due_ns
        return due_ns, Fate.PASSED

    def _wire_ns(self, length: int) -> int:
        """``packet_time_ns()``: return how long the rate takes for a packet, overhead and cells included."""
        length += self._overhead
        if self._cell:
            length = -(-length // self._cell) * (self._cell + self._cell_overhead)
        return max(0, length) * 1_000_000_000 // self._rate
