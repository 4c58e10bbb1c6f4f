"""Prepare a recording for judging: the kind of each sample, and its bounds.

The arrays that all checks share are computed here once: kinds, sources, sides, and the bounds in force when each sample
was taken. There are no checks here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from rttcheck.judge.arithmetic.steps import Steps
from rttcheck.judge.check import CALLS
from rttcheck.judge.eligibility.expectations import expectations_at
from rttcheck.judge.eligibility.part import EXPECTATION
from rttcheck.judge.link.bounds import RoundTrip, scenario_bounds, union
from rttcheck.judge.link.overhead import LinkOverhead
from rttcheck.judge.link.refused import without_refused
from rttcheck.judge.machine.hop import MOST_NS
from rttcheck.judge.machine.noise import MachineNoise
from rttcheck.judge.machine.slack import Slack
from rttcheck.judge.observation import Observation, addresses
from rttcheck.judge.pairing.held import held_ns
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
)
from rttcheck.judge.table import EVENT_COLUMNS, WIRE_COLUMNS, Table
from rttcheck.record.histogram import Unit
from rttcheck.record.recording import Recording
from rttcheck.scenario.model import Scenario

TSECR_GRAIN_US = 1_000
"""A sample from the echoed timestamp is in milliseconds (TCP_TS_HZ), both ends truncated: up to 1 ms too short."""

CLOCK_STEP_NS: Final = 100_000
"""A wall clock that moved by more than this against the monotonic one was set; less is reading precision."""

_PREEMPTIBLE: Final = frozenset({"full", "lazy"})
"""Preemption models in which a thread may be preempted in the kernel (kernel/sched/core.c)."""

_SIDES: Final = len(Side)

UNBOUNDED_US = np.iinfo(np.int64).max
"""Means "no upper bound" in arrays."""

Booleans = npt.NDArray[np.bool_]
Microseconds = npt.NDArray[np.int64]
Column = TypeVar("Column", bound=npt.NDArray[Any])


_HEADERS: Final = {4: 40, 6: 60}
"""Bytes of the IP and TCP headers without options, by family."""


# No slots: `cached_property` keeps its value in the instance's dictionary.
@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """Arrays with one row per event; ``lowest_us`` and ``highest_us`` are the link's own bounds, without slack."""

    recording: Recording
    scenario: Scenario
    events: np.ndarray
    """The run's events, as a `Table`."""
    wire: np.ndarray
    """The run's packets, as a `Table`; those that were sent are in the `observation`."""
    kinds: npt.NDArray[np.uint8]
    sources: npt.NDArray[np.uint8]
    connections: npt.NDArray[np.intp]
    sides: npt.NDArray[np.uint8]
    lowest_us: Microseconds
    highest_us: Microseconds
    """`UNBOUNDED_US` where the link's model has no upper bound."""
    held_us: Microseconds
    """How long the receiver delayed the ACK of each sample, where ``highest_us`` includes it; else 0."""
    refused: int
    """Packets that a full queue on their sender's own interface refused."""
    bounds: tuple[RoundTrip, ...]
    """At the start and after each step."""
    overheads: Mapping[str, LinkOverhead]
    """What the machine adds to the delay of each direction of the link."""
    slack: Slack
    noise: MachineNoise | None
    """How late the machine's timers and the relay were; None in virtual time, where there is no noise."""
    observation: Observation | None
    """The run's events paired with their packets; None where nothing was captured."""
    control: Observation | None
    """The same for its control run; None where there is none, or nothing of it was captured."""

    @classmethod
    def of(cls, recording: Recording) -> Evidence:
        """Compute the arrays of ``recording``. Raises ScenarioError when this version does not know its scenario."""
        scenario = Scenario.make(**recording.scenario)
        events = Table.of(recording.events, EVENT_COLUMNS)
        wire = Table.of(recording.wire, WIRE_COLUMNS)
        flows = addresses(recording.flows)
        connections, sides = connections_of(events, flows)
        found = sources(events)
        bounds = scenario_bounds(scenario)
        lowest, highest = _in_force(recording, events, bounds)
        control = Observation.of_control(recording) if len(recording.control_wire) else None
        overheads = LinkOverhead.of(recording, wire)
        slack = Slack.of(
            scenario,
            recording.control,
            clients={client[0] for client, _ in flows},
            runs=recording.control_runs,
            most_us=_most_us(control) if control is not None else None,
            link_us=_link_us(recording, overheads) if recording.clock == "virtual" else 0,
        )
        sent = _sent(recording, wire, scenario)
        observation = Observation.of_run(recording, sides, sent, events) if recording.wire_facts else None
        held = np.zeros(len(events), dtype=np.int64)
        if observation is not None and not scenario.quickack and not scenario.traffic.server_writes:
            held = _held_us(observation)
            highest[highest != UNBOUNDED_US] += held[highest != UNBOUNDED_US]
        coarse = maybe_coarse(events)
        lowest[coarse] -= TSECR_GRAIN_US
        highest[coarse & (highest != UNBOUNDED_US)] += TSECR_GRAIN_US
        return cls(
            recording=recording,
            scenario=scenario,
            events=events,
            wire=wire,
            kinds=classify(events),
            sources=found,
            connections=connections,
            sides=sides,
            lowest_us=lowest,
            highest_us=highest,
            bounds=bounds,
            overheads=overheads,
            held_us=held,
            refused=len(recording.wire) - len(sent[0]),
            observation=observation,
            control=control,
            slack=slack,
            noise=MachineNoise.of(recording, slack) if recording.clock != "virtual" else None,
        )

    @property
    def wire_times(self) -> WireTimes | None:
        """The wire time of each sample; None where nothing was captured."""
        return self.observation.wire_times if self.observation is not None else None

    @property
    def sent(self) -> np.ndarray:
        """The packets whose rows pairs and expectations name: ``wire`` without what a sender's own queue refused."""
        assert self.observation is not None, "there are pairs only where packets were captured"
        return self.observation.wire

    @cached_property
    def expectations(self) -> np.ndarray | None:
        """Return the samples that the packets imply beside those that events report (dtype `EXPECTATION`).

        None where nothing was captured, empty where the probe does not see what is compared. Computed once, as it takes
        a large part of the time of a verdict.
        """
        if self.observation is None:
            return None
        if CALLS.unmet(self.recording.view, self.recording.absent):
            # The checks that compare them with events are not run: most expensive where each event differs.
            return np.zeros(0, dtype=EXPECTATION)
        segment_bytes = self.scenario.mtu - _HEADERS[self.scenario.family]
        events, ends = self.observation.wire_times.events, self.observation.ends
        return expectations_at(events, ends, segment_bytes=segment_bytes)

    def events_of(self, connection: int, side: Side) -> npt.NDArray[np.intp]:
        """Return the rows of one socket's events, in their order."""
        order, keys = self._by_socket
        first, past = np.searchsorted(keys, (connection * _SIDES + side, connection * _SIDES + side + 1))
        return order[first:past]

    @cached_property
    def _by_socket(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """The events by connection and side, and both as one number."""
        keys = self.connections * _SIDES + self.sides
        order = np.argsort(keys, kind="stable")
        return order, keys[order]

    @cached_property
    def steps(self) -> Steps:
        """The previous event of each event's socket, where the probe sees every sample."""
        return Steps.of(self.events)

    @property
    def unit(self) -> Unit:
        """The unit of the histogram whose buckets are asserted."""
        return Unit(self.scenario.unit)

    @property
    def whole(self) -> RoundTrip:
        """The bounds of the whole run, its steps included."""
        return union(self.bounds)

    @cached_property
    def data(self) -> Booleans:
        """Samples of data segments, from any source."""
        return _fixed(self.kinds == Kind.DATA)

    @cached_property
    def shown(self) -> Booleans:
        """Data samples that nettrace displays: those with a first-acked segment."""
        return _fixed(self.data & (self.shown_us >= 0))

    @cached_property
    def values_us(self) -> Microseconds:
        """The time that each event reports; -1 for none."""
        return _fixed(values_us(self.events))

    @cached_property
    def shown_us(self) -> Microseconds:
        """The value of each event that a histogram counts; -1 for none."""
        return _fixed(shown_us(self.events))

    @cached_property
    def coarse(self) -> Booleans:
        """Samples that are from the echoed timestamp, or may be."""
        return _fixed(maybe_coarse(self.events))

    @cached_property
    def bounded_above(self) -> Booleans:
        """Data samples that have an upper bound.

        Where ACKs may be delayed, a server's samples also contain the client's think time, and have no upper bound.
        """
        above: Booleans = self.data & (self.highest_us != UNBOUNDED_US)
        if not self.scenario.quickack and self.scenario.traffic.server_writes:
            above &= self.sides == Side.CLIENT
        return _fixed(above)

    @property
    def virtual(self) -> bool:
        """Whether the clock counted the guest's instructions, so that samples contain no noise of the host."""
        return self.recording.clock == "virtual"

    @property
    def softirq_preemption(self) -> str:
        """What preempts a packet's way through softirqs: PREEMPT_RT (``uname -v``); empty for nothing."""
        return "PREEMPT_RT preemption" if "PREEMPT_RT" in str(self.recording.machine.get("kernel_version", "")) else ""

    @property
    def thread_preemption(self) -> str:
        """What preempts a thread while it sends or takes ACKs: PREEMPT_RT, or a preemptible kernel; empty for nothing.

        Debian's 7.3 is preemptible (``lazy``), its 6.12 and older are not.
        """
        model = str(self.recording.machine.get("preemption", ""))
        return self.softirq_preemption or (f"preemption ({model})" if model in _PREEMPTIBLE else "")

    @property
    def capture_points(self) -> dict[str, dict[str, Any]]:
        """Packets captured and dropped at each capture point, by name; empty when nothing was captured."""
        return dict(self.recording.wire_facts.get("points", {}))

    @property
    def own_queues(self) -> bool:
        """Whether netem is on the ends' own interfaces, and packets were not seen before it: in older recordings."""
        return self.scenario.topology == "direct" and "link_near" not in self.capture_points

    @property
    def clock_step_ns(self) -> int:
        """By how much the wall clock, which stamps packets, was set during the run; 0 when it was not."""
        step_ns = int(self.recording.wire_facts.get("clock_step_ns", 0))
        return step_ns if abs(step_ns) > CLOCK_STEP_NS else 0

    @property
    def lost(self) -> int:
        """Events that the probe lost."""
        return self.recording.lost


def _fixed(column: Column) -> Column:
    """Return an array that several checks read, so that none may write to it."""
    column.setflags(write=False)
    return column


def _most_us(control: Observation) -> Microseconds:
    """Return the cap of each control run event: its wire time and the work at both ends; `UNBOUNDED_US` if unknown."""
    most = np.full(len(control.events), UNBOUNDED_US, dtype=np.int64)
    account = control.wire_times.exact[0]
    most[account.event] = (account.wire_ns + 2 * MOST_NS) // MICROSECOND_NS
    return most


def _sent(recording: Recording, wire: np.ndarray, scenario: Scenario) -> tuple[np.ndarray, np.ndarray]:
    """Return the packets and their stamps, at the ends without those that TCP takes as not sent."""
    if scenario.topology != "direct" or "link_near" not in recording.wire_facts.get("points", {}):
        return wire, recording.stamps
    limits = [min(link[way].limit for link in scenario.links) for way in (0, 1)]
    sent, stamps = without_refused(wire, recording.stamps, limits)
    return sent if sent is wire else Table.of(sent, WIRE_COLUMNS), stamps


def _held_us(observation: Observation) -> Microseconds:
    """Return how long the receiver delayed the ACK of each event's sample, by the packets."""
    held = np.zeros(len(observation.events), dtype=np.int64)
    timed, events = observation.wire_times.exact[0], observation.events
    if len(timed.event):
        tick_ns = 1_000_000_000 // max(int(events["hz"].min()), 1)
        ack = observation.wire_times.pairs.ack[timed.event]
        held[timed.event] = held_ns(observation.wire, timed.segment, ack, tick_ns=tick_ns) // MICROSECOND_NS
    return held


def _link_us(recording: Recording, overheads: Mapping[str, LinkOverhead]) -> int:
    """Return what both directions of the link may add to the engine's model; 0 where timers were not measured."""
    if not len(recording.timers):
        return 0
    return sum(overhead.single_ns for overhead in overheads.values()) // MICROSECOND_NS


def _in_force(
    recording: Recording, events: np.ndarray, bounds: tuple[RoundTrip, ...]
) -> tuple[Microseconds, Microseconds]:
    """Return the link's bounds while each sample was in flight; across a step, those of both settings together."""
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
