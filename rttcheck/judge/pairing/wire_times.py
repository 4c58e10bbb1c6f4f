"""The wire time of each sample: from its segment's departure to its ACK's arrival, beside the kernel's value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.pairing.ends import Ends
from rttcheck.judge.pairing.pairs import Pairs
from rttcheck.judge.pairing.repaired_times import pair_with_repaired_times
from rttcheck.judge.pairing.scoreboard import NONE
from rttcheck.judge.pairing.sockets import Sockets
from rttcheck.judge.samples import SampleSource, maybe_coarse, sources

MICROSECOND_NS: Final = 1_000
MILLISECOND_NS: Final = 1_000_000

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TimedValues:
    """One kind of value that events report, with the wire time of each."""

    name: str
    event: npt.NDArray[np.intp]
    """The events that report the value and have both packets."""
    segment: npt.NDArray[np.int32]
    """The row of each value's segment as it left, in the table of packets."""
    value_us: Integers
    departed_ns: Integers
    """When the segment passed the sender's own interface, CLOCK_MONOTONIC."""
    arrived_ns: Integers
    """When the ACK passed it."""
    point: npt.NDArray[np.uint8]
    """Which interface that is (`Point`)."""
    unpaired: npt.NDArray[np.intp]
    """The events that report the value and lack a packet."""
    grain_ns: int
    """The unit of the value."""

    @property
    def wire_ns(self) -> Integers:
        """Return the time from the segment's departure to the ACK's arrival."""
        return self.arrived_ns - self.departed_ns

    @property
    def over_ns(self) -> Integers:
        """Return the kernel's value minus the wire time."""
        over: Integers = self.value_us * MICROSECOND_NS - self.wire_ns
        return over

    def same_times(self, other: TimedValues) -> bool:
        """Return whether the other one has the same values of the same events and segments."""
        return self.grain_ns == other.grain_ns and all(
            getattr(self, name) is getattr(other, name) or np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("event", "segment", "value_us")
        )

    def render(self, at: int) -> str:
        """Describe one row."""
        return (
            f"{int(self.value_us[at])} us ({self.name}) where {self.wire_ns[at] / MICROSECOND_NS:.1f} us passed "
            f"on the wire (event {int(self.event[at])})"
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WireTimes:
    """The wire times of a run's values."""

    pairs: Pairs
    events: np.ndarray
    """The events, with the call's time where the kernel's "now" precedes the ACK; see `pair_with_repaired_times`."""
    exact: tuple[TimedValues, ...]
    """Values in microseconds: the estimator's input, first-acked, last-acked, SACKed."""
    coarse: TimedValues
    """Samples from timestamps, against the first segment that carried the echoed one: the longest possible time."""

    @classmethod
    def of(cls, events: np.ndarray, wire: np.ndarray, flows: Sequence[Mapping[str, Any]]) -> WireTimes:
        """Pair events and packets; see `pair` for the arguments."""
        return cls.at(events, Ends.of(wire, Sockets(flows)))

    @classmethod
    def at(cls, events: np.ndarray, ends: Ends) -> WireTimes:
        """Pair events with the packets at the ends."""
        wire = ends.wire
        pairs, repaired = pair_with_repaired_times(events, ends)
        source = sources(events)
        # Where the probe does not report the source, the packets give it: the first-acked segment if there is one.
        unknown = (source == SampleSource.UNKNOWN) & (events["sample_us"] >= 0)
        fed = np.where((source == SampleSource.FIRST) | (unknown & (pairs.first != NONE)), pairs.first, pairs.sack)
        fed[(source == SampleSource.NONE) | (source == SampleSource.TSECR)] = NONE
        coarse = (source == SampleSource.TSECR) | (unknown & (fed == NONE) & maybe_coarse(events))
        exact = [
            (
                "sample",
                "sample_us",
                ((source == SampleSource.FIRST) | (source == SampleSource.SACK) | unknown) & ~coarse,
                fed,
            ),
            ("rtt", "first_rtt_us", events["first_rtt_us"] >= 0, pairs.first),
            ("rtt_min", "last_rtt_us", events["last_rtt_us"] >= 0, pairs.last),
            ("SACK time", "sack_rtt_us", events["sack_rtt_us"] >= 0, pairs.sack),
        ]
        found: list[TimedValues] = []
        for name, field, chosen, row in exact:
            found.append(_timed_values(name, field, events, wire, chosen, pairs.ack, row, MICROSECOND_NS, found))
        return cls(
            pairs=pairs,
            events=repaired,
            exact=tuple(found),
            coarse=_timed_values(
                "timestamp sample", "sample_us", events, wire, coarse, pairs.ack, pairs.echoed, MILLISECOND_NS
            ),
        )

    @property
    def unpaired(self) -> npt.NDArray[np.intp]:
        """Return the events with a value whose segment or ACK was not captured."""
        return np.unique(np.concatenate([timed.unpaired for timed in (*self.exact, self.coarse)]))

    @property
    def over_ns(self) -> Integers:
        """Return the kernel's value minus the wire time of each sample in microseconds."""
        return self.exact[0].over_ns


def _timed_values(
    name: str,
    field: str,
    events: np.ndarray,
    wire: np.ndarray,
    chosen: Booleans,
    ack: npt.NDArray[np.int32],
    segment: npt.NDArray[np.int32],
    grain_ns: int,
    others: Sequence[TimedValues] = (),
) -> TimedValues:
    """Return the ``chosen`` values; what equals that of one of the ``others`` is not held twice."""
    whole = chosen & (ack != NONE) & (segment != NONE)
    unpaired = np.flatnonzero(chosen & ~whole)
    event = np.flatnonzero(whole)
    rows = segment[event]
    value_us = events[field][event].astype(np.int64, copy=False)
    for other in others:
        if np.array_equal(other.event, event) and np.array_equal(other.segment, rows):
            same = np.array_equal(other.value_us, value_us)
            value_us = other.value_us if same else value_us
            return replace(other, name=name, value_us=value_us, unpaired=unpaired, grain_ns=grain_ns)
    return TimedValues(
        name=name,
        event=event,
        segment=rows,
        value_us=value_us,
        departed_ns=wire["time_ns"][rows],
        arrived_ns=wire["time_ns"][ack[event]],
        point=wire["point"][ack[event]],
        unpaired=unpaired,
        grain_ns=grain_ns,
    )


def spread_us(over_ns: Integers) -> str:
    """Render nanoseconds as a range in microseconds, with median and 99th percentile."""
    if not len(over_ns):
        return "no sample"
    low, middle, most, highest = (float(value) / MICROSECOND_NS for value in np.percentile(over_ns, (0, 50, 99, 100)))
    return f"{low:.1f} to {highest:.1f} us, median {middle:.1f} us, 99 % up to {most:.1f} us"
