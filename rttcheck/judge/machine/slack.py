"""How much the machine itself adds to a round trip, measured in the control run.

The control run's link has no delay, so every sample of it is overhead. There are no constants for a machine's speed
anywhere in the judge; the slack that is allowed is printed with the verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.address import address_bytes
from rttcheck.judge.link.bounds import scenario_bounds
from rttcheck.judge.samples import Kind, classify, shown_us, values_us
from rttcheck.scenario.model import Scenario

FALSE_ALARM: Final = 1e-6
"""The false alarm rate of a statistical check, for one run: 1 in a million."""


@dataclass(frozen=True, slots=True, eq=False)
class Slack:
    """The overheads of a control run, microseconds, and what else the measured run may add."""

    overheads_us: npt.NDArray[np.int64]
    concurrent: int
    """How many segments may arrive at one instant and wait for each other; in the control run they came one by one.

    A link with delay lets flows synchronize, and one with jitter lets a flow's own segments catch up. Where segments
    leave at a steady pace, one meets the ACK of another that left a round trip before.
    """
    burst_us: int
    """What a burst adds to the samples of its own last segments; 0 for traffic that waits for each ACK.

    All segments of a burst carry the time at which it began (``tcp_write_xmit()``), and the last one is sent after all
    others. The control run shows how long the machine needs for a burst's segments: twice that is allowed, as the
    delayed run arms a timer for each.
    """
    drift_us: int = 0
    """The significant difference between the medians of the control runs before and after; else 0."""
    link_us: int = 0
    """What the link may add that the control run does not have: its timers, and work on packets in between."""

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
        """Return the slack of ``scenario``, from its control run's events; ``clients`` are the clients' IP addresses.

        With several control runs in a row ``runs`` is the number of events of each. An event counts for no more than
        its entry in ``most_us``, its wire time and the work at both ends: the samples themselves are those of the
        kernel under test.

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
            ours = from_hosts(control, clients)
            burst_us = max(
                _burst_us(scenario, control[run][kept[run]], values[run][kept[run]], ours[run][kept[run]])
                for run in apart
            )
        return cls(
            values[kept],
            _concurrent(scenario),
            burst_us,
            _drift_us([values[run][kept[run]] for run in apart]),
            link_us,
        )

    @property
    def samples(self) -> int:
        """The number of overheads."""
        return len(self.overheads_us)

    @property
    def highest_us(self) -> int:
        """The largest overhead."""
        return int(self.overheads_us.max())

    @property
    def spread_us(self) -> int:
        """The difference of the largest and the smallest overhead."""
        return int(self.overheads_us.max()) - int(self.overheads_us.min())

    @property
    def upper_us(self) -> int:
        """How far a sample may be above the link's own upper bound.

        The largest overhead, plus the spread, because the largest of a finite sample is not the largest possible. Plus
        the largest again for each segment that may arrive at the same instant, itself included: a link with delay also
        wakes the machine by a timer in each direction. Plus a burst's own queue, and what the link may add.
        """
        return self.highest_us * (1 + self.concurrent) + self.spread_us + self.burst_us + self.link_us

    @property
    def typical_us(self) -> int:
        """As `upper_us`, but from the middle 80 %, so that one outlier on a busy machine has no effect."""
        low, high = (float(value) for value in np.percentile(self.overheads_us, (10, 90)))
        return round(high * (1 + self.concurrent) + high - low) + self.burst_us

    def render(self) -> str:
        """Return the figures in one line."""
        if not self.samples:
            return "no data sample in the control run"
        text = (
            f"control run of {self.samples} samples at zero delay: "
            f"{int(self.overheads_us.min())} to {self.highest_us} us, median {int(np.median(self.overheads_us))} us"
        )
        text += f", {self.concurrent} segments at once" if self.concurrent > 1 else ""
        text += f", {self.drift_us} us between its two halves" if self.drift_us else ""
        text += f", bursts {self.burst_us} us" if self.burst_us else ""
        return text + (f", the link's timers {self.link_us} us" if self.link_us else "")


def _burst_us(scenario: Scenario, data: np.ndarray, values: npt.NDArray[np.int64], ours: npt.NDArray[np.bool_]) -> int:
    """Return what a burst may add by a control run's ``data`` events, their ``values`` and which are of the clients.

    Traffic that never pauses is one burst, from its first data segment on. Other traffic is one burst a write, and as
    many wait together as may be in flight.
    """
    ended_ns = data["timestamp_ns"].astype(np.int64)
    begun_ns = ended_ns - values * 1_000
    whole_ns = int(ended_ns.max() - begun_ns.min())
    traffic = scenario.traffic
    if traffic.kind in ("bulk", "oneway"):
        return 2 * whole_ns // 1_000
    at_once = _in_flight(scenario) if traffic.interval_us else 1
    longest_ns = max(_longest_ns(begun_ns[side], ended_ns[side]) for side in (ours, ~ours) if side.any())
    return 2 * min(whole_ns, at_once * longest_ns) // 1_000


def _in_flight(scenario: Scenario) -> int:
    """Return how many writes of a flow may be in flight, or wait for the congestion window, at one time."""
    traffic = scenario.traffic
    highest = [trip.highest_us for trip in scenario_bounds(scenario)]
    if any(each is None for each in highest):
        return traffic.count
    return min(traffic.count, 1 + max(-(-(each or 0) // traffic.interval_us) for each in highest))


def _longest_ns(begun_ns: npt.NDArray[np.int64], ended_ns: npt.NDArray[np.int64]) -> int:
    """Return the longest time without a pause: the longest of the joined intervals."""
    order = np.argsort(begun_ns, kind="stable")
    begun_ns, ended_ns = begun_ns[order], np.maximum.accumulate(ended_ns[order])
    begins = np.flatnonzero(np.append(True, begun_ns[1:] > ended_ns[:-1]))
    ends = np.append(begins[1:], len(order)) - 1
    return int((ended_ns[ends] - begun_ns[begins]).max())


def _drift_us(runs: Sequence[npt.NDArray[np.int64]]) -> int:
    """Return the largest significant difference of two runs' medians: half of one above all of the other; else 0."""
    apart = [0]
    for one in runs:
        for other in runs:
            over = int((other > one.max()).sum())
            if 2 * over > len(other) and chance_of_exceeding(over, len(other), len(one)) < FALSE_ALARM:
                apart.append(int(np.median(other)) - int(np.median(one)))
    return max(apart)


def _concurrent(scenario: Scenario) -> int:
    traffic = scenario.traffic
    in_flight = 1
    if traffic.interval_us:
        scattering = [trip for trip in scenario_bounds(scenario) if not trip.constant]
        in_flight += max((-(-(trip.highest_us or 0) // traffic.interval_us) for trip in scattering), default=1)
    return traffic.flows * min(in_flight, traffic.count)


def from_hosts(events: np.ndarray, hosts: Iterable[str]) -> npt.NDArray[np.bool_]:
    """Return which events are of a socket bound to one of ``hosts`` (IP addresses as text)."""
    known = np.zeros(len(events), dtype=np.bool_)
    for host in hosts:
        known |= (events["saddr"] == np.frombuffer(address_bytes(host), dtype=np.uint8)).all(axis=1)
    return known


def chance_of_exceeding(exceeding: int, measured: int, control: int) -> float:
    """Return the probability that ``exceeding`` of the ``measured`` overheads are above all ``control`` ones by chance.

    The exceedance test: if both runs have the same distribution, whichever it is, every order of the values is equally
    likely, so the ``exceeding`` largest are all measured ones with the product of (m - i) / (m + n - i).
    """
    chance = 1.0
    for taken in range(exceeding):
        chance *= (measured - taken) / (measured + control - taken)
    return chance
