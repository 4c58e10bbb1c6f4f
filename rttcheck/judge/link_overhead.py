"""What the machine adds between the captures on the link's two sides, as the control run shows it.

It owns how late a packet may be for no fault of the link: what it takes to be passed on, and to wait for a processor
that is at work on others. There are no constants for a machine's speed.

Noise only adds, so that nothing here excuses a packet that is early. How much it may add is known in virtual time only,
where a guest has one processor and time is what that processor has done. A single packet may be late by: passing it on,
and waking up for it by a timer, each as long as the control run's slowest, and the spread of the control run once more,
because the slowest of a finite number is not the slowest there is; the exchange that the processor may be at work on
when the packet becomes due, twice and with its spread for the same reasons (as `Slack.upper_us`), and where traffic
comes in bursts, the work on a whole burst; and once more the slowest for each packet that came by anywhere since it was
due, because it was worked on first. Half of all packets are late by no more than what is usual in the control run,
twice; under PREEMPT_RT three times, for there what a timer starts is done by a thread that has to be woken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rttcheck.judge.slack import Slack
from rttcheck.judge.transit import WAYS, Transit

Integers = npt.NDArray[np.int64]

_US = 1_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overhead:
    """The control run's transits of one direction and of both, nanoseconds, and when packets came by in the run."""

    own_ns: Integers
    all_ns: Integers
    exchange_ns: int
    """The most that a whole exchange takes the machine: the control run's longest twice, its spread, and a burst."""
    busy_ns: Integers
    """When a packet came by any point of the lab, ascending."""
    wakes: int = 1
    """Who is woken for a packet that was delayed: the processor by its timer, under PREEMPT_RT a thread as well."""

    @classmethod
    def of(cls, control: np.ndarray, wire: np.ndarray, slack: Slack, way: str, *, preemptible: bool) -> Overhead:
        """From the packets of the control run and of the run itself; ``preemptible`` where the kernel is PREEMPT_RT."""
        taken = {name: Transit.of(control, name).shortest_ns for name in WAYS}
        return cls(
            own_ns=np.sort(taken[way]),
            all_ns=np.sort(np.concatenate(list(taken.values()))),
            exchange_ns=(2 * slack.highest_us + slack.spread_us + slack.burst_us) * _US if slack.samples else 0,
            busy_ns=np.sort(wire["time_ns"]),
            wakes=2 if preemptible else 1,
        )

    @property
    def known(self) -> bool:
        """Whether the control run shows enough to speak of its middle 80 %."""
        return len(self.own_ns) >= 10 and self.exchange_ns > 0

    @property
    def highest_ns(self) -> int:
        """The control run's slowest packet, of either direction."""
        return int(self.all_ns.max(initial=0))

    @property
    def base_ns(self) -> int:
        """How late a single packet may be while no other comes by."""
        return 3 * self.highest_ns - int(self.all_ns.min(initial=self.highest_ns)) + self.exchange_ns

    @property
    def usual_ns(self) -> int:
        """How late half of all packets are at most: passed on and woken, and the spread, by the middle 80 %."""
        low, high = (float(value) for value in np.percentile(self.own_ns, (10, 90)))
        return round((1 + self.wakes) * high + high - low)

    def others(self, due_ns: Integers, left_ns: Integers) -> Integers:
        """How many packets came by between when a packet was due and when it left, neither end included."""
        before = np.searchsorted(self.busy_ns, left_ns, side="left")
        others: Integers = np.maximum(before - np.searchsorted(self.busy_ns, due_ns, side="right"), 0)
        return others

    def beyond_ns(self, due_ns: Integers, left_ns: Integers) -> Integers:
        """How late each packet was, less the work on those that came by meanwhile."""
        return left_ns - due_ns - self.others(due_ns, left_ns) * self.highest_ns

    def granted_ns(self, left_ns: Integers) -> Integers:
        """How late each packet may be where it is not known when it was due, in virtual time.

        The processor was busy since the first of the packets before it that follow each other faster than two can be
        passed on. What had been due before would have left, but for the work that no packet shows.
        """
        if not len(self.busy_ns) or not len(left_ns):
            return np.zeros(len(left_ns), dtype=np.int64)
        rested = np.concatenate(([True], np.diff(self.busy_ns) > 2 * self.highest_ns))
        start = self.busy_ns[np.maximum.accumulate(np.where(rested, np.arange(len(rested)), 0))]
        place = np.maximum(np.searchsorted(self.busy_ns, left_ns, side="right") - 1, 0)
        granted: Integers = self.base_ns + np.maximum(left_ns - start[place], 0)
        return granted
