"""How late a packet may leave the link for no fault of the link: passing it on, a timer, and work on other packets.

It owns these bounds, for one direction. No sample of TCP has a part in them, and nothing that netem did: what it takes
to pass a packet on is measured in the control run, whose link is a router without any qdisc, between the captures on
its two sides; how late a timer fires, by timers that nobody else was at work beside (virtual time). The two together
are the unit of all bounds, each of them at most `MOST_PART_NS`: a kernel that forwards or wakes more slowly than that
has a fault of its own, and does not grant it to its netem.

In virtual time a guest has one processor, and time is the instructions that it has done. A packet that became due
while nothing had come by for long was due to an idle processor: the timer's interrupt, ``netem_dequeue()`` and
``dev_hard_start_xmit()`` are all that it waits for. Any other packet waits for the work on those that came by: a unit
for each, and what is seen to have taken longer, as from a packet's arrival at an end to its answer there (up to 105 us,
when a client that has read its last byte frees its buffers). Measured in the named scenarios, a suite a kernel, packets
whose due time is known, in microseconds:

=======  ============  ============  ========================  =====================  =========================
kernel   passing on    timers late   late, half of any group   late, less the work    later than 20, less work
                       (half)        (of like size) at most    (99 %, 99.9 %, most)
=======  ============  ============  ========================  =====================  =========================
5.10     3.0 to 4.4    5.8           7.4                       7.9, 16.9, 22.5        2 of 4670
6.1      3.3 to 5.1    5.9           7.6                       8.1, 16.2, 20.4        1 of 4686
6.12     3.1 to 4.3    6.2           7.5                       7.7, 15.2, 31.8        1 of 4777
7.3      3.2 to 4.3    6.9           7.9                       8.0, 12.2, 19.7        0 of 4692
6.12-rt  3.5 to 4.9    9.8           10.4                      19.6, 26.5, 513.2      47 of 4906
=======  ============  ============  ========================  =====================  =========================

Hence half of the packets of each direction and each size may be late by 1.5 units (13 to 17 us; 20 to 22 us under
PREEMPT_RT), and a single one by 2 and no less than 20 us, less the work. One or two that are later, but by no more than
`MOST_NS`, are what background work of a sound kernel makes late (4 of 18,825 packets); three are a failure. A netem
that is 20 us late is beyond the first, and one in ten packets that it makes 20 us late are beyond the second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.pairing.transit import WAYS, Transit
from rttcheck.record.packet import Point
from rttcheck.record.recording import Recording

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

_US: Final = 1_000

MOST_NS: Final = 100_000
"""No packet is granted more in virtual time, beside the work on packets that came by meanwhile."""

MOST_PART_NS: Final = 25_000
"""Of a unit, for passing on as for a timer. Debian's kernels need 3 to 5 us and 6 us."""

REST_NS: Final = 150_000
"""A processor by which nothing came for so long is idle. What a packet sets off takes up to 105 us that no other packet
shows: so long does a client that has read its last byte take over freeing its buffers (6.1)."""

LEAST_SINGLE_NS: Final = 20_000
"""A single packet is granted so much, however quick the kernel is."""

MOST_HANDING_NS: Final = 1_000_000
"""In real time, from the capture of a packet to its being handed to the link, at the most."""

ENOUGH: Final = 10
"""Packets of a control run without which nothing is said of passing on."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overhead:
    """What the machine adds, in nanoseconds; times are CLOCK_MONOTONIC."""

    forwarded_ns: Integers
    """How long packets of this direction took through the link of the control run."""
    forward_ns: int
    """Half of the packets of both directions took no longer through the link of the control run."""
    timer_ns: int
    """Half of the timers were no later, where nothing else was at work."""
    slowest_ns: int
    """The control run's slowest packet, of either direction."""
    busy_ns: Integers
    """When a packet came by any point of the lab, ascending."""
    arrived: Booleans
    """Which of these came to an end."""
    work_ns: Integers
    """How long, until each of these, the processor had been at work for sure: on what had come to an end that answered
    it, from its arrival to the answer."""

    @classmethod
    def of(cls, recording: Recording, way: str) -> Overhead:
        """From the packets of the control run and of the run itself, and the timers before it.

        Older recordings have no timers, and a netem with no delay in the control run: passing on and netem's own work
        are one figure there, which counts for the timer as well.
        """
        taken = {name: Transit.of(recording.control_wire, name).shortest_ns for name in WAYS}
        both = np.concatenate(list(taken.values()))
        forward_ns = int(np.median(both)) if len(both) else 0
        timers = recording.timers["late_ns"]
        wire = recording.wire[np.argsort(recording.wire["time_ns"], kind="stable")]
        return cls(
            forwarded_ns=taken[way],
            forward_ns=forward_ns,
            timer_ns=int(np.median(timers)) if len(timers) else forward_ns,
            slowest_ns=int(both.max(initial=0)),
            busy_ns=wire["time_ns"],
            arrived=np.isin(wire["point"], (Point.CLIENT, Point.SERVER)) & (wire["outgoing"] == 0),
            work_ns=_work_ns(wire),
        )

    @property
    def known(self) -> bool:
        """Whether there was a control run to speak of."""
        return len(self.forwarded_ns) >= ENOUGH

    @property
    def unit_ns(self) -> int:
        """Passing a packet on, and a timer."""
        return min(self.forward_ns, MOST_PART_NS) + min(self.timer_ns, MOST_PART_NS)

    @property
    def usual_ns(self) -> int:
        """How late half of all packets are at the most, in virtual time."""
        return min(self.unit_ns * 3 // 2, MOST_NS)

    @property
    def single_ns(self) -> int:
        """How late a single packet may be, less the work on those that came by meanwhile, in virtual time."""
        return min(max(2 * self.unit_ns, LEAST_SINGLE_NS), MOST_NS)

    @property
    def handing_ns(self) -> int:
        """How long it may take from the capture of a packet to its being handed to the link, in real time."""
        return min(self.slowest_ns, MOST_HANDING_NS)

    def idle(self, due_ns: Integers, left_ns: Integers) -> Booleans:
        """Which packets became due to an idle processor: nothing had come by for long, nor before they were to leave.

        What comes by later than a packet may be late is no reason for it.
        """
        quiet = np.searchsorted(self.busy_ns, due_ns - REST_NS, side="left")
        until_ns = np.minimum(left_ns, due_ns + self.usual_ns)
        idle: Booleans = np.searchsorted(self.busy_ns, until_ns, side="left") <= quiet
        return idle

    def others_ns(self, due_ns: Integers, left_ns: Integers) -> Integers:
        """The work on packets that came by between when a packet was due and when it left; none for an idle processor.

        For each a unit, and what is known to have taken longer.
        """
        before = np.searchsorted(self.busy_ns, left_ns, side="left")
        others = np.maximum(before - np.searchsorted(self.busy_ns, due_ns, side="right"), 0)
        known = self._worked(left_ns) - self._worked(due_ns)
        work: Integers = np.where(self.idle(due_ns, left_ns), 0, others * self.unit_ns + known)
        return work

    def _worked(self, at_ns: Integers) -> Integers:
        """How long the processor had been at work for sure, at any time."""
        if not len(self.busy_ns):
            return np.zeros(len(at_ns), dtype=np.int64)
        start = self.busy_ns[0]
        worked: Integers = np.interp(at_ns - start, self.busy_ns - start, self.work_ns).astype(np.int64)
        return worked

    def beyond_ns(self, due_ns: Integers, left_ns: Integers) -> Integers:
        """How late each packet was, less the work on those that came by meanwhile."""
        return left_ns - due_ns - self.others_ns(due_ns, left_ns)

    def unanswered_ns(self, due_ns: Integers, left_ns: Integers) -> Integers:
        """How long the processor may have been at work, before each packet left, on the last that came to an end.

        Nothing shows how long: a client whose FIN was acknowledged has nothing to answer, and frees what it
        has in up to 110 us. No longer than `REST_NS`, and none where something else came by since, or it was idle.
        """
        if not len(self.busy_ns):
            return np.zeros(len(left_ns), dtype=np.int64)
        last = np.maximum(np.searchsorted(self.busy_ns, left_ns, side="left") - 1, 0)
        since_ns = np.minimum(left_ns - np.maximum(self.busy_ns[last], due_ns), REST_NS)
        unanswered: Integers = np.where(self.arrived[last] & ~self.idle(due_ns, left_ns), np.maximum(since_ns, 0), 0)
        return unanswered

    def granted_ns(self, left_ns: Integers) -> Integers:
        """How late each packet may be where it is not known when it was due, in virtual time.

        The processor was busy since the first of the packets before it that follow each other before it can rest. What
        had been due before would have left as from an idle one.
        """
        if not len(self.busy_ns) or not len(left_ns):
            return np.full(len(left_ns), self.single_ns, dtype=np.int64)
        rested = np.concatenate(([True], np.diff(self.busy_ns) > REST_NS))
        start = np.maximum.accumulate(np.where(rested, np.arange(len(rested)), 0))
        place = np.maximum(np.searchsorted(self.busy_ns, left_ns, side="left") - 1, 0)
        since_ns = left_ns - self.busy_ns[start[place]]
        work_ns = MOST_NS + (place - start[place]) * self.unit_ns
        busy = left_ns - self.busy_ns[place] <= REST_NS
        granted: Integers = np.where(
            busy, np.minimum(self.single_ns + np.maximum(since_ns, 0), work_ns), self.single_ns
        )
        return granted


def _work_ns(wire: np.ndarray) -> Integers:
    """How long, until each packet came by, ends had been at work on what they answered before anything else came by.

    ``tcp_v4_rcv()`` answers from the softirq that has the packet, and nothing is let go from a qdisc meanwhile.
    """
    first, second = wire[:-1], wire[1:]
    at_end = (first["point"] == Point.CLIENT) | (first["point"] == Point.SERVER)
    answered = at_end & (first["outgoing"] == 0) & (second["outgoing"] == 1) & (second["point"] == first["point"])
    taken = np.where(answered, second["time_ns"] - first["time_ns"], 0)
    worked: Integers = np.concatenate(([0], np.cumsum(taken))).astype(np.int64)[: len(wire)]
    return worked
