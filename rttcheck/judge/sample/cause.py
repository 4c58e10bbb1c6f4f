"""What made TCP send each segment: the latest event that must precede the segment's stamp.

None of these times is one that TCP wrote into a segment. `check_causes` compares them with the stamps.

TCP stamps and sends a new segment in one step, with the socket locked (``tcp_write_xmit()`` reads the clock first,
``tcp_mstamp_refresh()``). So a stamp is not before

- the application's system call that gave TCP the segment's last byte;
- the SYN's arrival, where the segment answers it;
- the last ACK that the same socket processed before the segment left: the probe ran with the lock held, and the clock
  is read again afterwards;
- the departure of the same socket's previous segment, if that has another stamp.

The last two do not hold where a queueing discipline on the end's own interface delays packets. Retransmitted segments
are left out: they are stamped without reading the clock again, and give no sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.observation import Observation
from rttcheck.judge.pairing.ends import Departures, Ends, keys
from rttcheck.judge.pairing.lives import NO_LIFE, lives_of
from rttcheck.judge.pairing.stamps import UNKNOWN
from rttcheck.judge.pairing.wire_times import Booleans, Integers
from rttcheck.record.packet import ACK, SYN

NEVER: Final = 0
"""Means "no such cause": before every stamp."""

CLOCKS_NS: Final = 1_000
"""The probe reads the same clock with ``ktime_get_mono_fast_ns()``, which a clock update may set back by up to this."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Causes:
    """New segments with a stamp, one row each, by life and then by time. Times are CLOCK_MONOTONIC ns."""

    row: npt.NDArray[np.int32]
    """Rows of the run's packets."""
    stamp_ns: Integers
    departed_ns: Integers
    written_ns: Integers
    """When the application's system call for its last byte began, or when the SYN came; `NEVER` if not recorded."""
    acked_ns: Integers
    """When the probe saw the last ACK before the departure; `NEVER` where there was none."""
    before_ns: Integers
    """When the last segment with another stamp left; `NEVER` where there was none."""

    @classmethod
    def of(cls, observation: Observation, *, queued: bool) -> Causes:
        """Find the causes of a run; ``queued``: a queueing discipline delays packets at the ends."""
        ends = observation.ends
        if not ends.lives:
            nothing = np.zeros(0, dtype=np.int64)
            return cls(
                row=nothing.astype(np.int32), stamp_ns=nothing, departed_ns=nothing, written_ns=nothing,
                acked_ns=nothing, before_ns=nothing,
            )  # fmt: skip
        sent, _ = ends.directions(0, ends.lives)
        stamp_ns = observation.stamp_ns[sent.row]
        never = np.full(len(sent.row), NEVER, dtype=np.int64)
        chosen = _fresh(sent) & (stamp_ns != UNKNOWN)
        return cls(
            row=sent.row[chosen],
            stamp_ns=stamp_ns[chosen],
            departed_ns=sent.time_ns[chosen],
            written_ns=_written_ns(observation, ends, sent)[chosen],
            acked_ns=(never if queued else _acked_ns(observation, ends, sent))[chosen],
            before_ns=(never if queued else _before_ns(sent, stamp_ns))[chosen],
        )


def _fresh(sent: Departures) -> Booleans:
    """Return which departures hold only new data."""
    reached = np.maximum.accumulate(sent.end)
    fresh: Booleans = np.append(True, sent.start[1:] >= reached[:-1])[: len(sent.start)]
    return fresh


def _written_ns(observation: Observation, ends: Ends, sent: Departures) -> Integers:
    found = np.full(len(sent.row), NEVER, dtype=np.int64)
    writes = observation.writes
    if len(writes):
        life = _lives_of_writes(writes, ends)
        known = np.flatnonzero(life != NO_LIFE)
        key = keys(life[known], writes["end"][known])
        order = np.argsort(key, kind="stable")
        key, begin_ns = key[order], writes["begin_ns"][known][order]
        lives = life[known][order]
        place = np.minimum(np.searchsorted(key, sent.end), max(len(key) - 1, 0))
        if len(key):
            hit = (key[place] >= sent.end) & (lives[place] == sent.life)
            found[hit] = begin_ns[place[hit]]
    answers = (observation.wire["flags"][sent.row] & (SYN | ACK)) == (SYN | ACK)
    found[answers] = ends.begun_ns[sent.life[answers]]
    return found


def _lives_of_writes(writes: np.ndarray, ends: Ends) -> npt.NDArray[np.int64]:
    """Return each write's life; `NO_LIFE` where its socket has several lives."""
    socket = writes["connection"].astype(np.int64) * 2 + writes["server"]
    found = np.full(len(writes), NO_LIFE, dtype=np.int64)
    by_socket = np.flatnonzero(np.diff(ends.socket, prepend=-1, append=-1) != 0)
    alone = {
        int(ends.socket[first]): int(first)
        for first, last in zip(by_socket[:-1].tolist(), by_socket[1:].tolist(), strict=True)
        if last - first == 1
    }
    for number in np.unique(socket).tolist():
        # Where addresses were used twice, a connection's life is not certain: left out.
        if number in alone:
            found[socket == number] = alone[number]
    return found


def _acked_ns(observation: Observation, ends: Ends, sent: Departures) -> Integers:
    life, event, _ = lives_of(observation.events, ends)
    called_ns = observation.events["timestamp_ns"][event].astype(np.int64)
    return _latest(life.astype(np.int64), called_ns, sent.life.astype(np.int64), sent.time_ns)


def _latest(group: Integers, time_ns: Integers, wanted: Integers, until_ns: Integers) -> Integers:
    """Return the last ``time_ns`` of the wanted group that is not after ``until_ns``; `NEVER` if there is none.

    Rows are sorted by group, then by time.
    """
    found = np.full(len(wanted), NEVER, dtype=np.int64)
    if not len(group):
        return found
    base = min(int(time_ns.min()), int(until_ns.min(initial=int(time_ns.min()))))
    span = max(int(time_ns.max()), int(until_ns.max(initial=0))) - base + 1
    place = np.searchsorted(group * span + (time_ns - base), wanted * span + (until_ns - base), side="right") - 1
    hit = (place >= 0) & (group[np.maximum(place, 0)] == wanted)
    found[hit] = time_ns[place[hit]]
    return found


def _before_ns(sent: Departures, stamp_ns: Integers) -> Integers:
    """Return when the previous segment left, where it has another stamp."""
    found = np.full(len(sent.row), NEVER, dtype=np.int64)
    if len(found) > 1:
        other = (sent.life[1:] == sent.life[:-1]) & (stamp_ns[1:] != stamp_ns[:-1]) & (stamp_ns[:-1] != UNKNOWN)
        found[1:][other] = sent.time_ns[:-1][other]
    return found
