"""The events and packets of some lives of sockets, as columns; a run is processed a portion at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rttcheck.judge.eligibility.part import ANY_VALUE, Parts, reported_by
from rttcheck.judge.pairing.ends import (
    Arrivals,
    Booleans,
    Departures,
    Ends,
    Places,
    Rows,
    sequence_keys,
)
from rttcheck.judge.pairing.lives import portions
from rttcheck.judge.pairing.sockets import Integers
from rttcheck.record import packet

_BLOCK = 1 << 15
"""Rows at a time: three megabytes of the table."""


@dataclass(frozen=True, slots=True, eq=False)
class ReportedCalls:
    """The events of some lives with the values that they report, by life, then by time."""

    event: Places
    life: Rows
    una: Integers
    """`keys` of ``snd_una``."""
    now_ns: Integers
    """When the kernel processed the ACK: ``tcp_mstamp`` where it is known, rounded down to microseconds."""
    reported: Parts


@dataclass(frozen=True, slots=True, eq=False)
class Portion:
    """Some lives with their packets and events; lives count from 0 within the portion."""

    ends: Ends
    first: int
    """The first life's number in `ends`."""
    sent: Departures
    came: Arrivals
    calls: ReportedCalls
    opened: Booleans
    """Whether a life's own SYN or SYN-ACK was captured; otherwise the capture began later."""

    @property
    def lives(self) -> int:
        """Return the number of lives."""
        return len(self.opened)

    def rows(self, life: int) -> Rows:
        """Return the packets of one life, by time."""
        start, stop = self.ends.bounds[self.first + life], self.ends.bounds[self.first + life + 1]
        rows: Rows = self.ends.row[start:stop]
        return rows


def portions_of(events: np.ndarray, ends: Ends, life: Rows, order: Places) -> Iterator[Portion]:
    """Yield all lives of ``ends`` in portions; ``life`` and ``order`` are from `lives_of`."""
    for start, stop in portions(ends):
        mine = slice(*np.searchsorted(life, (start, stop)))
        sent, came = ends.directions(start, stop)
        calls = _calls(events, order[mine], life[mine] - np.int32(start), ends.initial[start:])
        yield Portion(ends, start, sent, came, calls, _opened(ends, start, stop))


def with_values(events: np.ndarray, chosen: Places) -> Places:
    """Return those of ``chosen`` that report any value."""
    found: Places = chosen[(reported_by(events, chosen) & ANY_VALUE) != 0]
    return found


def _calls(events: np.ndarray, event: Places, life: Rows, initial: np.ndarray) -> ReportedCalls:
    done_ns = events["timestamp_ns"][event].astype(np.int64)
    stamp_ns = events["tcp_mstamp_us"][event].astype(np.int64) * 1_000
    now_ns = np.where(stamp_ns == 0, done_ns, np.minimum(stamp_ns, done_ns))
    una = sequence_keys(events["snd_una"][event], life, initial)
    return ReportedCalls(event, life, una, now_ns, reported_by(events, event))


def _opened(ends: Ends, start: int, stop: int) -> Booleans:
    """Return the lives with a SYN of their own."""
    opened = np.zeros(stop - start, dtype=np.bool_)
    flags, outgoing = ends.wire["flags"], ends.wire["outgoing"]
    low, high = int(ends.bounds[start]), int(ends.bounds[stop])
    for at in range(low, high, _BLOCK):
        row = ends.row[at : min(at + _BLOCK, high)]
        syn = np.flatnonzero((flags[row] & packet.SYN) != 0)
        syn = syn[outgoing[row[syn]] != 0]
        opened[np.searchsorted(ends.bounds, syn + at, side="right") - 1 - start] = True
    return opened
