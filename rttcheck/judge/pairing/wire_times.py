"""What the wire says of each sample: the time that really passed, and how far the kernel's value lies from it.

It owns the pairing's outcome in figures: one row a value that the kernel reported, with its partner's time. It holds no
opinion on how far is too far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.pairing.pairs import Pairs
from rttcheck.judge.pairing.present import paired_at_present
from rttcheck.judge.pairing.scoreboard import NONE
from rttcheck.judge.samples import Source, maybe_coarse, sources

MICROSECOND_NS: Final = 1_000
MILLISECOND_NS: Final = 1_000_000

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Account:
    """One of the values that an event reports, wherever it does, and the wire's version of it."""

    name: str
    event: npt.NDArray[np.intp]
    """The events that report the value and have both packets."""
    segment: npt.NDArray[np.int32]
    """The row of each value's segment as it left, in the table of packets."""
    value_us: Integers
    departed_ns: Integers
    """When the segment passed the sender's own interface, CLOCK_MONOTONIC."""
    arrived_ns: Integers
    """When the ACK did."""
    point: npt.NDArray[np.uint8]
    """Which interface that is (`Point`)."""
    alone: npt.NDArray[np.intp]
    """The events that report the value and have no such packets."""
    grain_ns: int
    """The value counts whole ones of these."""

    @property
    def wire_ns(self) -> Integers:
        """From the segment's departure to the ACK's arrival."""
        return self.arrived_ns - self.departed_ns

    @property
    def over_ns(self) -> Integers:
        """Kernel minus wire."""
        over: Integers = self.value_us * MICROSECOND_NS - self.wire_ns
        return over

    def render(self, at: int) -> str:
        """One row in words."""
        return (
            f"{int(self.value_us[at])} us ({self.name}) where {self.wire_ns[at] / MICROSECOND_NS:.1f} us passed "
            f"on the wire (event {int(self.event[at])})"
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WireTimes:
    """All accounts of a run."""

    pairs: Pairs
    timed: np.ndarray
    """The events for whoever else seeks their packets; see `paired_at_present`."""
    exact: tuple[Account, ...]
    """Values in microseconds: what the estimator was fed, first-acked, last-acked, SACKed."""
    coarse: Account
    """Samples from timestamps, against the first segment that carried the echoed one: the longest it may be."""

    @classmethod
    def of(cls, events: np.ndarray, wire: np.ndarray, flows: Sequence[Mapping[str, Any]]) -> WireTimes:
        """Pair and subtract; see `pair` for the arguments."""
        pairs, timed = paired_at_present(events, wire, flows)
        source = sources(events)
        # Where the probe does not tell which, the wire does: the first, unless it gives none.
        untold = (source == Source.UNTOLD) & (events["sample_us"] >= 0)
        fed = np.where((source == Source.FIRST) | (untold & (pairs.first != NONE)), pairs.first, pairs.sack)
        fed[(source == Source.NONE) | (source == Source.TSECR)] = NONE
        coarse = (source == Source.TSECR) | (untold & (fed == NONE) & maybe_coarse(events))
        exact = [
            ("sample", "sample_us", ((source == Source.FIRST) | (source == Source.SACK) | untold) & ~coarse, fed),
            ("rtt", "first_rtt_us", events["first_rtt_us"] >= 0, pairs.first),
            ("rtt_min", "last_rtt_us", events["last_rtt_us"] >= 0, pairs.last),
            ("SACK time", "sack_rtt_us", events["sack_rtt_us"] >= 0, pairs.sack),
        ]
        return cls(
            pairs=pairs,
            timed=timed,
            exact=tuple(
                _account(name, field, events, wire, chosen, pairs.ack, row, MICROSECOND_NS)
                for name, field, chosen, row in exact
            ),
            coarse=_account(
                "timestamp sample", "sample_us", events, wire, coarse, pairs.ack, pairs.echoed, MILLISECOND_NS
            ),
        )

    @property
    def alone(self) -> npt.NDArray[np.intp]:
        """Events with a value for which the wire holds no segment and ACK."""
        return np.unique(np.concatenate([account.alone for account in (*self.exact, self.coarse)]))

    @property
    def over_ns(self) -> Integers:
        """Kernel minus wire of each sample that counts microseconds."""
        return self.exact[0].over_ns


def _account(
    name: str,
    field: str,
    events: np.ndarray,
    wire: np.ndarray,
    chosen: Booleans,
    ack: npt.NDArray[np.int32],
    segment: npt.NDArray[np.int32],
    grain_ns: int,
) -> Account:
    whole = chosen & (ack != NONE) & (segment != NONE)
    return Account(
        name=name,
        event=np.flatnonzero(whole),
        segment=segment[whole],
        value_us=events[field][whole].astype(np.int64),
        departed_ns=wire["time_ns"][segment[whole]],
        arrived_ns=wire["time_ns"][ack[whole]],
        point=wire["point"][ack[whole]],
        alone=np.flatnonzero(chosen & ~whole),
        grain_ns=grain_ns,
    )


def spread_us(over_ns: Integers) -> str:
    """Nanoseconds as a range in microseconds, with median and 99th percentile."""
    if not len(over_ns):
        return "no sample"
    low, middle, most, highest = (float(value) / MICROSECOND_NS for value in np.percentile(over_ns, (0, 50, 99, 100)))
    return f"{low:.1f} to {highest:.1f} us, median {middle:.1f} us, 99 % up to {most:.1f} us"
