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

from rttcheck.judge.pairing import Pairs, pair
from rttcheck.judge.samples import Source, sources
from rttcheck.judge.scoreboard import NONE

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
    value_us: Integers
    wire_ns: Integers
    """From the segment's departure to the ACK's arrival, at the sender's own interface."""
    alone: npt.NDArray[np.intp]
    """The events that report the value and have no such packets."""
    grain_ns: int
    """The value counts whole ones of these."""

    @property
    def over_ns(self) -> Integers:
        """Kernel minus wire."""
        over: Integers = self.value_us * MICROSECOND_NS - self.wire_ns
        return over


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Witness:
    """All accounts of a run."""

    pairs: Pairs
    exact: tuple[Account, ...]
    """Values in microseconds: what the estimator was fed, first-acked, last-acked, SACKed."""
    coarse_low: Account
    """Samples from timestamps, against the first segment that carried the echoed one: the longest it may be."""
    coarse_high: Account
    """The same against the last such segment: the shortest it may be."""

    @classmethod
    def of(cls, events: np.ndarray, wire: np.ndarray, flows: Sequence[Mapping[str, Any]]) -> Witness:
        """Pair and subtract; see `pair` for the arguments."""
        pairs = pair(events, wire, flows)
        source = sources(events)
        fed = np.where(source == Source.FIRST, pairs.first, pairs.sack)
        fed[(source == Source.NONE) | (source == Source.TSECR)] = NONE
        exact = [
            ("sample", "sample_us", (source == Source.FIRST) | (source == Source.SACK), fed),
            ("rtt", "first_rtt_us", events["first_rtt_us"] >= 0, pairs.first),
            ("rtt_min", "last_rtt_us", events["last_rtt_us"] >= 0, pairs.last),
            ("SACK time", "sack_rtt_us", events["sack_rtt_us"] >= 0, pairs.sack),
        ]
        coarse = source == Source.TSECR
        low, high = (
            _account("timestamp sample", "sample_us", events, wire, coarse, pairs.ack, row, MILLISECOND_NS)
            for row in (pairs.echoed_first, pairs.echoed_last)
        )
        return cls(
            pairs=pairs,
            exact=tuple(
                _account(name, field, events, wire, chosen, pairs.ack, row, MICROSECOND_NS)
                for name, field, chosen, row in exact
            ),
            coarse_low=low,
            coarse_high=high,
        )

    @property
    def alone(self) -> npt.NDArray[np.intp]:
        """Events with a value for which the wire holds no segment and ACK."""
        return np.unique(np.concatenate([account.alone for account in (*self.exact, self.coarse_low)]))

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
        value_us=events[field][whole].astype(np.int64),
        wire_ns=wire["time_ns"][ack[whole]] - wire["time_ns"][segment[whole]],
        alone=np.flatnonzero(chosen & ~whole),
        grain_ns=grain_ns,
    )
