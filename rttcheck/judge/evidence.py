"""A recording made ready for judging: what each sample is, and what it may be.

It owns the arrays that all checks share, worked out once: kinds, sources, sides, and the bounds in force when each
sample was taken. It finds nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.eligibility.expectations import expectations_of
from rttcheck.judge.link.bounds import RoundTrip, scenario_bounds, union
from rttcheck.judge.link.overhead import Overhead
from rttcheck.judge.machine.hop import MOST_NS
from rttcheck.judge.machine.noise import Noise
from rttcheck.judge.machine.slack import Slack
from rttcheck.judge.observation import Observation, addresses
from rttcheck.judge.pairing.transit import WAYS
from rttcheck.judge.pairing.wire_times import MICROSECOND_NS, WireTimes
from rttcheck.judge.samples import (
    Kind,
    Side,
    classify,
    connections_of,
    maybe_coarse,
    shown_us,
    sources,
    values_us,
    visible_to_nettrace,
)
from rttcheck.record.histogram import Unit
from rttcheck.record.recording import Recording
from rttcheck.scenario.model import Scenario

TSECR_GRAIN_US = 1_000
"""A sample from the echoed timestamp counts milliseconds (TCP_TS_HZ) and cuts both ends: up to 1 ms too short."""

CLOCK_STEP_NS: Final = 100_000
"""A wall clock that moved by more than this against the monotonic one was set; less is how finely it can be read."""

UNBOUNDED_US = np.iinfo(np.int64).max
"""Stands for "no upper bound" in arrays."""

Booleans = npt.NDArray[np.bool_]
Microseconds = npt.NDArray[np.int64]


_HEADERS: Final = {4: 40, 6: 60}
"""Bytes of the IP and TCP headers without options, by family."""


# No slots: `cached_property` keeps its value in the instance's dictionary.
@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """One row an event in every array; ``lowest_us`` and ``highest_us`` are the link's own bounds, without slack."""

    recording: Recording
    scenario: Scenario
    events: np.ndarray
    kinds: npt.NDArray[np.uint8]
    sources: npt.NDArray[np.uint8]
    connections: npt.NDArray[np.intp]
    sides: npt.NDArray[np.uint8]
    lowest_us: Microseconds
    highest_us: Microseconds
    """`UNBOUNDED_US` where the link's model has no upper bound."""
    bounds: tuple[RoundTrip, ...]
    """At the start and after each step."""
    slack: Slack
    noise: Noise | None
    """How late the machine was by its own account; None in virtual time, where there is no noise."""
    observation: Observation | None
    """The run's events with the packets behind them; None where nothing was captured."""
    control: Observation | None
    """The same of its control run; None where there is none, or nothing of it was captured."""

    @classmethod
    def of(cls, recording: Recording) -> Evidence:
        """Work out what ``recording`` holds. Raises ScenarioError when its scenario is none that this version knows."""
        scenario = Scenario.make(**recording.scenario)
        events = recording.events
        flows = addresses(recording.flows)
        connections, sides = connections_of(events, flows)
        found = sources(events)
        bounds = scenario_bounds(scenario)
        lowest, highest = _in_force(recording, events, bounds)
        control = Observation.of_control(recording) if len(recording.control_wire) else None
        slack = Slack.of(
            scenario,
            recording.control,
            clients={client[0] for client, _ in flows},
            runs=recording.control_runs,
            most_us=_most_us(control) if control is not None else None,
            link_us=_link_us(recording) if recording.clock == "virtual" else 0,
        )
        coarse = maybe_coarse(events)
        lowest[coarse] -= TSECR_GRAIN_US
        highest[coarse & (highest != UNBOUNDED_US)] += TSECR_GRAIN_US
        return cls(
            recording=recording,
            scenario=scenario,
            events=events,
            kinds=classify(events),
            sources=found,
            connections=connections,
            sides=sides,
            lowest_us=lowest,
            highest_us=highest,
            bounds=bounds,
            observation=Observation.of_run(recording) if recording.wire_facts else None,
            control=control,
            slack=slack,
            noise=Noise.of(recording, slack) if recording.clock != "virtual" else None,
        )

    @property
    def wire_times(self) -> WireTimes | None:
        """What the packets say of each sample; None where nothing was captured."""
        return self.observation.wire_times if self.observation is not None else None

    @cached_property
    def expectations(self) -> np.ndarray | None:
        """Return the samples that the packets imply beside those that events report (dtype `EXPECTATION`).

        None where nothing was captured. Computed once, as it takes a large part of the time of a verdict.
        """
        if self.wire_times is None:
            return None
        segment_bytes = self.scenario.mtu - _HEADERS[self.scenario.family]
        recording = self.recording
        return expectations_of(self.wire_times.events, recording.wire, recording.flows, segment_bytes=segment_bytes)

    @property
    def unit(self) -> Unit:
        """The unit of the histogram whose buckets are asserted."""
        return Unit(self.scenario.unit)

    @property
    def whole(self) -> RoundTrip:
        """The bounds of the whole run, its steps included."""
        return union(self.bounds)

    @property
    def data(self) -> Booleans:
        """Samples of data segments, from whichever source."""
        data: Booleans = self.kinds == Kind.DATA
        return data

    @property
    def shown(self) -> Booleans:
        """Data samples that nettrace shows: those with a first-acked segment."""
        return self.data & visible_to_nettrace(self.events)

    @property
    def values_us(self) -> Microseconds:
        """The time that each event shows; -1 for none."""
        return values_us(self.events)

    @property
    def shown_us(self) -> Microseconds:
        """What a histogram counts of each event; -1 for nothing."""
        return shown_us(self.events)

    @property
    def bounded_above(self) -> Booleans:
        """Data samples that the network alone is answerable for.

        Where ACKs may be delayed, a server's samples also hold the client's time to think, and have no upper bound.
        """
        above: Booleans = self.data & (self.highest_us != UNBOUNDED_US)
        if not self.scenario.quickack and self.scenario.traffic.server_writes:
            above &= self.sides == Side.CLIENT
        return above

    @property
    def virtual(self) -> bool:
        """Whether time counted the guest's instructions, so that no noise of the machine is in the samples."""
        return self.recording.clock == "virtual"

    @property
    def preemptible(self) -> bool:
        """Whether the kernel says that it is PREEMPT_RT (``uname -v``)."""
        return "PREEMPT_RT" in str(self.recording.machine.get("kernel_version", ""))

    @property
    def capture_points(self) -> dict[str, dict[str, Any]]:
        """What each capture took and dropped, by its point's name; empty when nothing was captured."""
        return dict(self.recording.wire_facts.get("points", {}))

    @property
    def clock_step_ns(self) -> int:
        """How far the wall clock, which packets are stamped with, was set during the run; 0 when it was not."""
        step_ns = int(self.recording.wire_facts.get("clock_step_ns", 0))
        return step_ns if abs(step_ns) > CLOCK_STEP_NS else 0

    @property
    def lost(self) -> int:
        """Events that the probe could not hand over."""
        return self.recording.lost


def _most_us(control: Observation) -> Microseconds:
    """Return the most that each event of the control run counts for, by its packets; `UNBOUNDED_US` without any."""
    most = np.full(len(control.events), UNBOUNDED_US, dtype=np.int64)
    account = control.wire_times.exact[0]
    most[account.event] = (account.wire_ns + 2 * MOST_NS) // MICROSECOND_NS
    return most


def _link_us(recording: Recording) -> int:
    """Return what both directions of the link may add beyond the engine's model, where timers were measured."""
    if not len(recording.timers):
        return 0
    return sum(Overhead.of(recording, way).single_ns for way in WAYS) // MICROSECOND_NS


def _in_force(
    recording: Recording, events: np.ndarray, bounds: tuple[RoundTrip, ...]
) -> tuple[Microseconds, Microseconds]:
    """The bounds of the link as it was while each sample was under way; those of both links across a step."""
    changes = np.array([step.at_ns for step in recording.steps], dtype=np.int64)
    acked_ns = events["timestamp_ns"].astype(np.int64)
    sent_ns = acked_ns - np.maximum(values_us(events), 0) * 1_000
    links = (0, *(step.index + 1 for step in recording.steps))
    first = np.searchsorted(changes, sent_ns, side="right")
    last = np.searchsorted(changes, acked_ns, side="right")
    lowest = np.full(len(events), UNBOUNDED_US, dtype=np.int64)
    highest = np.zeros(len(events), dtype=np.int64)
    for place, link in enumerate(links):
        here = (first <= place) & (place <= last)
        lowest[here] = np.minimum(lowest[here], bounds[link].lowest_us)
        most = bounds[link].highest_us
        highest[here] = np.maximum(highest[here], UNBOUNDED_US if most is None else most)
    return lowest, highest
