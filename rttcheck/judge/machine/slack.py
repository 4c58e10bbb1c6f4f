"""How much a machine adds to a round trip by itself, as its own control run shows it.

It owns the figures of a run over a link that delays nothing: every sample of it is overhead. There are no constants for
a machine's speed anywhere in the judge; what slack was granted is printed with the verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.link.bounds import scenario_bounds
from rttcheck.judge.samples import Kind, address_bytes, classify, shown_us, values_us
from rttcheck.scenario.model import Scenario

FALSE_ALARM: Final = 1e-6
"""How often a run in real time may fail its upper bound by chance, if both runs draw from one distribution."""


@dataclass(frozen=True, slots=True, eq=False)
class Slack:
    """The overheads of a control run, in microseconds, and how long its data took to cross."""

    overheads_us: npt.NDArray[np.int64]
    abreast: int
    """How many segments may arrive at one instant and wait for each other, where the control run's came one by one.

    A link that delays lets flows fall into step, and one that scatters lets a flow's own segments catch up. Where
    segments leave at a steady pace, one meets the ACK of another that left a round trip before.
    """
    burst_us: int
    """What a burst adds to the samples of its own last segments; 0 for traffic that waits for each ACK.

    All segments of a burst carry the time at which it began (``tcp_write_xmit()``), and the last one is sent when those
    before it are. How long the machine needs for all of the traffic's segments is in the control run: twice as much is
    granted, as the delayed run arms a timer for each.
    """
    drift_us: int = 0
    """How far the medians of the control runs before and after are apart, where that is no chance; else 0."""
    link_us: int = 0
    """What the link may add that the control run does not pay: its timers, and the work on packets meanwhile."""

    @classmethod
    def of(
        cls,
        scenario: Scenario,
        control: np.ndarray,
        *,
        clients: Iterable[str] = (),
        runs: Sequence[int] = (),
        most_us: npt.NDArray[np.int64] | None = None,
        link_us: int = 0,
    ) -> Slack:
        """Work the slack out from the events of ``scenario``'s control run; ``clients`` are the clients' IP addresses.

        Where there were several, one after the other, ``runs`` is how many events each left. No event counts for more
        than its entry in ``most_us``, which is what passed on the wire and the work at both ends: the samples are the
        suspect's own.

        Where the server's ACKs may be delayed (no quickack on the routes), only samples of ``clients`` count.
        """
        kept = (classify(control) == Kind.DATA) & (shown_us(control) >= 0)
        if not scenario.quickack and scenario.traffic.server_writes:
            kept &= from_hosts(control, clients)
        values = values_us(control) if most_us is None else np.minimum(values_us(control), most_us)
        edges = [0, *np.cumsum(runs).tolist(), len(control)]
        apart = [slice(first, last) for first, last in pairwise(edges) if kept[first:last].any()]
        burst_us = 0
        if scenario.bursts and apart:
            burst_us = 2 * max(_burst_ns(control[run], kept[run]) for run in apart) // 1_000
        return cls(
            values[kept],
            _abreast(scenario),
            burst_us,
            _drift_us([values[run][kept[run]] for run in apart]),
            link_us,
        )

    @property
    def samples(self) -> int:
        """How many overheads were seen."""
        return len(self.overheads_us)

    @property
    def highest_us(self) -> int:
        """The largest overhead."""
        return int(self.overheads_us.max())

    @property
    def spread_us(self) -> int:
        """From the smallest overhead to the largest."""
        return int(self.overheads_us.max()) - int(self.overheads_us.min())

    @property
    def upper_us(self) -> int:
        """What a sample may lie above the link's own upper bound.

        The largest overhead, and the spread once more, because the largest of a finite number of draws is not the
        largest there is. Once more the largest for each segment that may arrive at the same instant, itself included:
        a link that delays also wakes the machine by a timer each way, where one that does not passes straight through.
        Then a burst's own queue, and what the link may add.
        """
        return self.highest_us * (1 + self.abreast) + self.spread_us + self.burst_us + self.link_us

    @property
    def typical_us(self) -> int:
        """As `upper_us`, but from the middle 80 %: one outlier on a busy machine does not move it."""
        low, high = (float(value) for value in np.percentile(self.overheads_us, (10, 90)))
        return round(high * (1 + self.abreast) + high - low) + self.burst_us

    def render(self) -> str:
        """The figures in a line."""
        if not self.samples:
            return "no data sample in the control run"
        text = (
            f"control run of {self.samples} samples at zero delay: "
            f"{int(self.overheads_us.min())} to {self.highest_us} us, median {int(np.median(self.overheads_us))} us"
        )
        text += f", {self.abreast} segments abreast" if self.abreast > 1 else ""
        text += f", {self.drift_us} us more in one half than in the other" if self.drift_us else ""
        text += f", bursts {self.burst_us} us" if self.burst_us else ""
        return text + (f", the link's timers {self.link_us} us" if self.link_us else "")


def _burst_ns(control: np.ndarray, kept: np.ndarray) -> int:
    """How long a control run's traffic took since its first segment left: connecting before is no part of it."""
    data = control[kept]
    begun_ns = (data["timestamp_ns"].astype(np.int64) - values_us(data).astype(np.int64) * 1_000).min()
    return int(control["timestamp_ns"].max()) - int(begun_ns)


def _drift_us(runs: Sequence[npt.NDArray[np.int64]]) -> int:
    """The two runs that are furthest apart: half of one above all of the other, by more than chance."""
    apart = [0]
    for one in runs:
        for other in runs:
            over = int((other > one.max()).sum())
            if 2 * over > len(other) and chance_of_exceeding(over, len(other), len(one)) < FALSE_ALARM:
                apart.append(int(np.median(other)) - int(np.median(one)))
    return max(apart)


def _abreast(scenario: Scenario) -> int:
    traffic = scenario.traffic
    in_flight = 1
    if traffic.interval_us:
        scattering = [trip for trip in scenario_bounds(scenario) if not trip.constant]
        in_flight += max((-(-(trip.highest_us or 0) // traffic.interval_us) for trip in scattering), default=1)
    return traffic.flows * min(in_flight, traffic.count)


def from_hosts(events: np.ndarray, hosts: Iterable[str]) -> npt.NDArray[np.bool_]:
    """Which events happened on a socket bound to one of ``hosts`` (IP addresses as text)."""
    known = np.zeros(len(events), dtype=np.bool_)
    for host in hosts:
        known |= (events["saddr"] == np.frombuffer(address_bytes(host), dtype=np.uint8)).all(axis=1)
    return known


def chance_of_exceeding(exceeding: int, measured: int, control: int) -> float:
    """How likely it is that so many of the ``measured`` overheads lie above all the ``control`` ones by chance alone.

    The exceedance test: if both runs drew from one distribution, whichever it is, every order of the draws is equally
    likely, so that the ``exceeding`` largest are all measured ones with the product of (m - i) / (m + n - i).
    """
    chance = 1.0
    for taken in range(exceeding):
        chance *= (measured - taken) / (measured + control - taken)
    return chance
