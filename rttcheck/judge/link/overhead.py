"""How late a packet may leave the link because of the machine: forwarding, a timer, and work on other packets.

The bounds are of one direction. They use no sample of TCP and nothing that netem did: forwarding is measured in the
control run, whose link is a router without any qdisc, between the captures on its two sides; the lateness of timers is
measured while the kernel is idle (virtual time). The two together are the unit of all bounds, each of them at most
`MOST_PART_NS`: a kernel that forwards or wakes more slowly has a fault of its own, which must not excuse its netem.

In virtual time a guest has one processor, and time is the number of instructions executed. A packet that became due
when no packet had passed for long was due on an idle processor: it waits only for the timer's interrupt,
``netem_dequeue()`` and ``dev_hard_start_xmit()``. Any other packet waits for the work on the packets in between: a unit
for each, and work that is seen to take longer, such as from a packet's arrival at an end to its answer there (up to
105 us, when a client that has read its last byte frees its buffers). Measured in the named scenarios, one suite per
kernel, packets with a known due time, in microseconds:

=======  ============  ============  ========================  =====================  =========================
kernel   forwarding    timers late   late, median of a group   late, less the work    later than 20, less work
         (median)                    (of like size) at most    (99 %, 99.9 %, most)
=======  ============  ============  ========================  =====================  =========================
5.10     3.0 to 4.4    5.8           7.4                       7.9, 16.9, 22.5        2 of 4670
6.1      3.3 to 5.1    5.9           7.6                       8.1, 16.2, 20.4        1 of 4686
6.12     3.1 to 4.3    6.2           7.5                       7.7, 15.2, 31.8        1 of 4777
7.3      3.2 to 4.3    6.9           7.9                       8.0, 12.2, 19.7        0 of 4692
6.12-rt  3.5 to 4.9    9.8           10.4                      19.6, 26.5, 513.2      47 of 4906
=======  ============  ============  ========================  =====================  =========================

Hence the median of each direction and size may be late by 1.5 units (13 to 17 us; 20 to 22 us under PREEMPT_RT), and a
single packet by 2 units and no less than 20 us, less the work. One or two may be later, by no more than `MOST_NS`:
background work of a sound kernel does that (4 of 18,825 packets); three are a failure. A netem that is 20 us late
exceeds the first bound, and a netem that makes one in ten packets 20 us late exceeds the second.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.pairing.transit import WAYS, Transit
from rttcheck.record.packet import Point
from rttcheck.record.recording import Recording

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]

_US: Final = 1_000

MOST_NS: Final = 100_000
"""The most that any packet may be late in virtual time, besides the work on packets in between."""

MOST_PART_NS: Final = 25_000
"""The most of each part of a unit, forwarding and timer. Debian's kernels need 3 to 5 us and 6 us."""

REST_NS: Final = 150_000
"""A processor is idle when no packet passed for this long. A packet may cause up to 105 us of work that no other packet
shows: a client that has read its last byte frees its buffers for that long (6.1)."""

LEAST_SINGLE_NS: Final = 20_000
"""The least bound of a single packet, however fast the kernel is."""

MOST_HANDING_NS: Final = 1_000_000
"""The most time in real time from the capture of a packet until the link gets it."""

ENOUGH: Final = 10
"""The fewest packets of a control run from which forwarding is measured."""


class Busy:
    """The packets that passed any capture point of the lab, in order of time. Computed when it is first asked for.

    All of it is large, and only the checks of the link read it: they `forget` it at the end.
    """

    def __init__(self, wire: np.ndarray) -> None:
        self._wire = wire

    @cached_property
    def _columns(self) -> tuple[Integers, Booleans, Booleans]:
        # Three columns in order of time: whole rows would be another table.
        order = np.argsort(self._wire["time_ns"], kind="stable")
        point, outgoing = self._wire["point"][order], self._wire["outgoing"][order]
        arrived = ((point == Point.CLIENT) | (point == Point.SERVER)) & (outgoing == 0)
        answered = np.zeros(len(order), dtype=np.bool_)
        answered[:-1] = arrived[:-1] & (outgoing[1:] == 1) & (point[1:] == point[:-1])
        return self._wire["time_ns"][order], arrived, answered

    @property
    def time_ns(self) -> Integers:
        """When they passed, ascending."""
        return self._columns[0]

    @property
    def arrived(self) -> Booleans:
        """Which of these arrived at an end."""
        return self._columns[1]

    @property
    def answered(self) -> Booleans:
        """Which of these arrived at an end whose answer is the next packet that passed."""
        return self._columns[2]

    @cached_property
    def work_ns(self) -> Integers:
        """The known work of the processor until each of these, accumulated: from packets' arrival at an end to its
        answer, where no other packet passed in between.

        ``tcp_v4_rcv()`` answers from the softirq that has the packet, and no qdisc releases a packet meanwhile.
        """
        worked = np.zeros(len(self.time_ns), dtype=np.int64)
        np.subtract(self.time_ns[1:], self.time_ns[:-1], out=worked[1:], where=self.answered[:-1])
        np.cumsum(worked, out=worked)
        return worked

    def forget(self) -> None:
        """Free the memory."""
        for name in ("_columns", "work_ns"):
            self.__dict__.pop(name, None)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinkOverhead:
    """What the machine adds to a packet's delay, nanoseconds; times are CLOCK_MONOTONIC."""

    forwarded_ns: Integers
    """Times of this direction's packets through the link of the control run."""
    forward_ns: int
    """The median of both directions' packets through the link of the control run."""
    timer_ns: int
    """The median lateness of timers on the idle kernel."""
    slowest_ns: int
    """The control run's slowest packet, of either direction."""
    busy: Busy
    """The packets of the run, of both directions."""

    @classmethod
    def of(cls, recording: Recording, wire: np.ndarray) -> dict[str, LinkOverhead]:
        """Return the overhead of each of `WAYS`, from the packets of the control run and the run, and the timers.

        ``wire`` is the recording's table of packets.

        Older recordings have no timers, and a netem without delay in the control run: there one figure is forwarding
        and netem's own work together, and is used for the timer as well.
        """
        taken = {name: Transit.of(recording.control_wire, name).shortest_ns for name in WAYS}
        both = np.concatenate(list(taken.values()))
        forward_ns = int(np.median(both)) if len(both) else 0
        timers = recording.timers["late_ns"]
        busy = Busy(wire)
        return {
            way: cls(
                forwarded_ns=forwarded_ns,
                forward_ns=forward_ns,
                timer_ns=int(np.median(timers)) if len(timers) else forward_ns,
                slowest_ns=int(both.max(initial=0)),
                busy=busy,
            )
            for way, forwarded_ns in taken.items()
        }

    @property
    def known(self) -> bool:
        """Whether the control run has enough packets."""
        return len(self.forwarded_ns) >= ENOUGH

    @property
    def unit_ns(self) -> int:
        """Forwarding a packet, and a timer."""
        return min(self.forward_ns, MOST_PART_NS) + min(self.timer_ns, MOST_PART_NS)

    @property
    def usual_ns(self) -> int:
        """The bound of the median lateness, in virtual time."""
        return min(self.unit_ns * 3 // 2, MOST_NS)

    @property
    def single_ns(self) -> int:
        """The bound of a single packet, less the work on packets in between, in virtual time."""
        return min(max(2 * self.unit_ns, LEAST_SINGLE_NS), MOST_NS)

    @property
    def handing_ns(self) -> int:
        """The most time from the capture of a packet until the link gets it, in real time."""
        return min(self.slowest_ns, MOST_HANDING_NS)

    def idle(self, due_ns: Integers, left_ns: Integers) -> Booleans:
        """Return which packets became due on an idle processor: no packet passed for long before, nor until they left.

        A packet that passes after the usual lateness does not count.
        """
        quiet = np.searchsorted(self.busy.time_ns, due_ns - REST_NS, side="left")
        until_ns = np.minimum(left_ns, due_ns + self.usual_ns)
        idle: Booleans = np.searchsorted(self.busy.time_ns, until_ns, side="left") <= quiet
        return idle

    def others_ns(self, due_ns: Integers, left_ns: Integers, idle: Booleans) -> Integers:
        """Return the work on packets between each packet's due time and when it left; 0 where it was ``idle``.

        That is a unit for each, and the known longer work.
        """
        work = np.zeros(len(left_ns), dtype=np.int64)
        busy = np.flatnonzero(~idle)
        left_ns, due_ns = left_ns[busy], due_ns[busy]
        before = np.searchsorted(self.busy.time_ns, left_ns, side="left")
        after = np.searchsorted(self.busy.time_ns, due_ns, side="right")
        known = self._worked(left_ns, before) - self._worked(due_ns, after)
        work[busy] = np.maximum(before - after, 0) * self.unit_ns + known
        return work

    def _worked(self, at_ns: Integers, passed: Places) -> Integers:
        """Return the known work of the processor until each time, accumulated; ``passed`` packets are before it.

        Between a packet's arrival at an end and its answer there the processor works all the time, else not at all.
        """
        if not len(self.busy.time_ns):
            return np.zeros(len(at_ns), dtype=np.int64)
        last = np.maximum(passed - 1, 0)
        worked = self.busy.work_ns[last]
        working = np.flatnonzero(self.busy.answered[last] & (passed > 0))
        worked[working] += at_ns[working] - self.busy.time_ns[last[working]]
        return worked

    def unanswered_ns(self, due_ns: Integers, left_ns: Integers) -> Integers:
        """Return how long the processor may have worked, before each packet left, on the last arrival at an end.

        That work is not visible: a client whose FIN was acknowledged answers nothing, and frees its memory in up to
        110 us. It is at most `REST_NS`, and 0 where another packet passed since, or the processor was idle.
        """
        if not len(self.busy.time_ns):
            return np.zeros(len(left_ns), dtype=np.int64)
        last = np.maximum(np.searchsorted(self.busy.time_ns, left_ns, side="left") - 1, 0)
        since_ns = np.minimum(left_ns - np.maximum(self.busy.time_ns[last], due_ns), REST_NS)
        unanswered: Integers = np.where(
            self.busy.arrived[last] & ~self.idle(due_ns, left_ns), np.maximum(since_ns, 0), 0
        )
        return unanswered

    def allowed_ns(self, left_ns: Integers) -> Integers:
        """Return how late each packet may be where its due time is unknown, in virtual time.

        The processor was busy since the first of the preceding packets without an idle time in between. A packet due
        before that would have left as on an idle processor.
        """
        if not len(self.busy.time_ns) or not len(left_ns):
            return np.full(len(left_ns), self.single_ns, dtype=np.int64)
        rested = np.concatenate(([True], np.diff(self.busy.time_ns) > REST_NS))
        start = np.maximum.accumulate(np.where(rested, np.arange(len(rested)), 0))
        place = np.maximum(np.searchsorted(self.busy.time_ns, left_ns, side="left") - 1, 0)
        since_ns = left_ns - self.busy.time_ns[start[place]]
        work_ns = MOST_NS + (place - start[place]) * self.unit_ns
        busy = left_ns - self.busy.time_ns[place] <= REST_NS
        allowed: Integers = np.where(
            busy, np.minimum(self.single_ns + np.maximum(since_ns, 0), work_ns), self.single_ns
        )
        return allowed
