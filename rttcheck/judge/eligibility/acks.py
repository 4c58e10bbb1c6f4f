"""The incoming ACKs of some lives as columns: what each may do to the sender, and which event is of it.

An ACK has an event (``tcp_ack_update_rtt()`` is called) if it is not old and data is outstanding (``tcp_ack()``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from rttcheck.judge.eligibility.portion import Portion, ReportedCalls
from rttcheck.judge.pairing.ends import Arrivals, Booleans, Departures, Places, Rows, keys, sequence_keys
from rttcheck.judge.pairing.scoreboard import NONE
from rttcheck.judge.pairing.sockets import Integers
from rttcheck.record.packet import FIN, SYN

_MICROSECOND_NS: Final = 1_000
_MOST_KEY: Final = 1 << 62


@dataclass(frozen=True, slots=True, eq=False)
class Clock:
    """Life and time as one number, in the order of both."""

    base_ns: int
    span_ns: int

    @classmethod
    def of(cls, lives: int, *times_ns: Integers) -> Clock | None:
        """Return the clock for all of ``times_ns``; None where lives and times do not fit into 63 bits."""
        known = [times for times in times_ns if len(times)]
        base = min((int(times.min()) for times in known), default=0)
        span = max((int(times.max()) for times in known), default=0) - base + 2 * _MICROSECOND_NS
        return cls(base, span) if span * (lives + 1) < _MOST_KEY else None

    def key(self, life: Rows, time_ns: Integers) -> Integers:
        """Return the number of a time in a life."""
        number: Integers = life.astype(np.int64)
        number *= self.span_ns
        number += time_ns
        number -= self.base_ns
        return number

    def time_ns(self, life: Rows, number: Integers) -> Integers:
        """Return the time of a number."""
        time_ns: Integers = number - life.astype(np.int64) * self.span_ns + self.base_ns
        return time_ns


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """What had been sent by when."""

    clock: Clock
    _key: Integers
    _life: Rows
    _highest: Integers

    @classmethod
    def of(cls, sent: Departures, clock: Clock) -> Sent:
        """Accumulate the departures."""
        return cls(clock, clock.key(sent.life, sent.time_ns), sent.life, np.maximum.accumulate(sent.end))

    def next_by(self, life: Rows, time_ns: Integers) -> Integers:
        """Return ``snd_nxt`` (`keys`) of each life at a time; what left at that time counts."""
        place = np.searchsorted(self._key, self.clock.key(life, time_ns), side="right") - 1
        known = place >= 0
        known[known] = self._life[place[known]] == life[known]
        return np.where(known, self._highest[np.maximum(place, 0)], keys(life, 0))


@dataclass(frozen=True, slots=True, eq=False)
class Acks:
    """One row per arrival, by life and then by time."""

    came: Arrivals
    begins: Booleans
    """The first of each life."""
    before: Integers
    """`keys` of ``snd_una`` before the ACK, and after it."""
    una: Integers
    moves: Booleans
    """Whether it moves ``snd_una``."""
    eventful: Booleans
    """Whether it has an event: it is not old, and data is outstanding when it comes in."""

    @classmethod
    def of(cls, came: Arrivals, sent: Sent) -> Acks:
        """Follow ``snd_una``, as if every ACK were accepted."""
        begins = np.append(True, came.life[1:] != came.life[:-1])[: len(came.life)]
        una = np.maximum(came.ack, keys(came.life, 0))
        np.maximum.accumulate(una, out=una)
        before = np.empty_like(una)
        before[1:] = una[:-1]
        before[begins] = keys(came.life[begins], 0)
        eventful = came.ack >= before
        eventful &= sent.next_by(came.life, came.time_ns) > before
        return cls(came, begins, before, una, came.ack > before, eventful)

    def own_calls(self, calls: ReportedCalls) -> tuple[Places, Booleans]:
        """Return each arrival's event, `NONE` without one, and which events have no arrival of their own.

        Of several with one number, the first event is of the first arrival.
        """
        places = np.flatnonzero(self.eventful)
        numbers = self.una[places]
        count = np.arange(len(calls.una))
        fresh = np.append(True, calls.una[1:] != calls.una[:-1])[: len(count)]
        at = np.searchsorted(numbers, calls.una) + count - np.maximum.accumulate(np.where(fresh, count, 0))
        alone = at >= len(places)
        at[alone] = 0
        if len(places):
            alone |= numbers[at] != calls.una
            alone |= calls.now_ns + _MICROSECOND_NS <= self.came.time_ns[places[at]]
        alone[1:] |= (calls.una[1:] < calls.una[:-1]) & (calls.life[1:] == calls.life[:-1])
        own = np.full(len(self.una), NONE, dtype=np.intp)
        own[places[at[~alone]]] = count[~alone]
        return own, alone


def timestamp_is_new(wire: np.ndarray, came: Arrivals, begins: Booleans) -> Booleans:
    """Return which arrivals surely pass the check of timestamps: at most one tick behind the newest (PAWS)."""
    stamp = wire["tsval"][came.row]
    since = stamp - stamp[np.flatnonzero(begins)][np.cumsum(begins) - 1]
    # Lives are offset by more than any difference of two timestamps.
    order = since.view(np.int32) + (came.life.astype(np.int64) << 33)
    new: Booleans = np.maximum.accumulate(order) - order <= 1
    return new


def sequence_is_new(wire: np.ndarray, came: Arrivals, begins: Booleans) -> Booleans:
    """Return which arrivals surely pass ``tcp_sequence()``: their data ends where the data before ended, or later."""
    flags = wire["flags"][came.row]
    seq = wire["seq"][came.row]
    initial = np.zeros(int(came.life[-1]) + 1 if len(came.life) else 0, dtype=np.uint32)
    initial[came.life[begins]] = seq[begins]
    end = sequence_keys(seq, came.life, initial)
    end += wire["payload"][came.row]
    end += (flags & (SYN | FIN)) != 0
    new: Booleans = end >= np.maximum.accumulate(end)
    return new


def of_lives(portion: Portion, lives: Booleans) -> tuple[Departures, Arrivals, ReportedCalls]:
    """Return the packets and events of some lives of a portion."""
    sent, came, calls = portion.sent, portion.came, portion.calls
    if lives.all():
        return sent, came, calls
    out, here, mine = lives[sent.life], lives[came.life], lives[calls.life]
    sacks = np.zeros(len(came.row), dtype=np.bool_)
    sacks[came.sacks] = True
    return (
        Departures(
            row=sent.row[out], life=sent.life[out], time_ns=sent.time_ns[out], start=sent.start[out], end=sent.end[out]
        ),
        replace(
            came, row=came.row[here], life=came.life[here], time_ns=came.time_ns[here], ack=came.ack[here],
            sacks=np.flatnonzero(sacks[here]),
        ),
        ReportedCalls(calls.event[mine], calls.life[mine], calls.una[mine], calls.now_ns[mine], calls.reported[mine]),
    )  # fmt: skip
