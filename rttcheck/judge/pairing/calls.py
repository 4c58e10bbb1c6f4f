"""Assign an incoming ACK to each event: by number, by time, and one ACK per event."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rttcheck.judge.pairing.ends import Arrivals, Places, Rows
from rttcheck.judge.pairing.scoreboard import NONE
from rttcheck.judge.pairing.sockets import Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calls:
    """Events of some lives, by life, then by time."""

    event: Places
    life: Rows
    """Counts from 0, as in `Arrivals`."""
    una: Integers
    """`keys` of ``snd_una``; ``before`` is its value at the previous event."""
    before: Integers
    now_ns: Integers
    """When the kernel processed the ACK."""


@dataclass(frozen=True, slots=True, eq=False)
class _Numbers:
    """Arrivals by ACK number, then by time."""

    order: Places
    number: Integers
    place: Integers
    """A key that ascends with number, then with position."""
    first: Places
    """For each event: the place of the first arrival with its number, or with a greater one."""
    group: Integers
    """For each event: the rank of its number."""

    @classmethod
    def of(cls, calls: Calls, came: Arrivals) -> _Numbers:
        ascending = bool((came.ack[1:] >= came.ack[:-1]).all())
        order = np.arange(len(came.ack)) if ascending else np.argsort(came.ack, kind="stable")
        number = came.ack[order]
        group = np.cumsum(np.append(False, number[1:] != number[:-1]))
        first = np.searchsorted(number, calls.una)
        mine = group[np.minimum(first, len(number) - 1)]
        return cls(order, number, group * (len(order) + 1) + order, first, mine)

    def before(self, events: Places, position: Places) -> Places:
        """Return the place of the last arrival with each event's number and a position below ``position``."""
        at = np.searchsorted(self.place, self.group[events] * (len(self.order) + 1) + position) - 1
        return np.where(at >= self.first[events], at, NONE)


def acks_of(calls: Calls, came: Arrivals) -> Places:
    """Return each event's ACK: the last arrival with its ``snd_una`` before it that is not a later event's."""
    at = np.full(len(calls.event), NONE, dtype=np.intp)
    if not len(came.row) or not len(at):
        return at
    passed = _passed(calls, came)
    newest = np.maximum(passed - 1, 0)
    hit = (passed > 0) & (came.ack[newest] == calls.una)
    at[hit] = newest[hit]
    numbers: _Numbers | None = None
    if not hit.all():
        # Another ACK came in between (reordering, or a wait for a busy socket): search by number as well.
        numbers = _Numbers.of(calls, came)
        open_ = np.flatnonzero(~hit)
        open_ = open_[numbers.first[open_] < len(numbers.number)]
        open_ = open_[numbers.number[numbers.first[open_]] == calls.una[open_]]
        found = numbers.before(open_, passed[open_])
        at[open_] = np.where(found == NONE, NONE, numbers.order[found])
    together = (at[1:] <= at[:-1]) & (calls.life[1:] == calls.life[:-1]) & (at[1:] != NONE)
    if together.any():
        _one_each(at, calls, _Numbers.of(calls, came) if numbers is None else numbers)
    return at


def _one_each(at: Places, calls: Calls, numbers: _Numbers) -> None:
    """Assign ACKs of one number that waited in the backlog together one by one, backwards from the last event.

    A socket processes its backlog in order of arrival (``__release_sock()``), one event per ACK. Events without an ACK
    left keep theirs.
    """
    known = at != NONE
    place = np.empty(len(numbers.order), dtype=np.intp)
    place[numbers.order] = np.arange(len(place))
    mine = np.where(known, place[at], 0)
    count = np.arange(len(at))
    follows = known[1:] & known[:-1] & (calls.life[1:] == calls.life[:-1])
    joined = follows & (calls.una[1:] == calls.una[:-1])
    # Runs of events with one number, offset by more than any place: runs do not overlap.
    run = np.cumsum(np.append(False, ~joined)) * (len(place) + len(at) + 1)
    behind = np.flatnonzero(follows & ~joined)
    while True:
        # Each has at most the place below that of the next event.
        least = np.minimum.accumulate((mine - count + run)[::-1])[::-1] - run + count
        bound = numbers.order[np.where(known, np.maximum(least, numbers.first), 0)]
        late = behind[(bound[behind] >= bound[behind + 1]) & (least[behind] >= numbers.first[behind])]
        if not len(late):
            break
        found = numbers.before(late, bound[late + 1])
        mine[late] = np.where(found == NONE, numbers.first[late] - 1, found)
    left = known & (least >= numbers.first)
    at[left] = bound[left]


def _passed(calls: Calls, came: Arrivals) -> Places:
    """Return how many arrivals, of all lives up to each event's own, came in before the kernel processed its ACK."""
    least = min(int(came.time_ns.min()), int(calls.now_ns.min()))
    most = max(int(came.time_ns.max()), int(calls.now_ns.max()))
    lives = max(int(came.life[-1]), int(calls.life[-1])) + 1
    if (most - least + 1) * lives < 2**62:
        span, came_at, asked = most - least + 1, came.time_ns - least, calls.now_ns - least
    else:
        # Life and time do not fit into one number: use the ranks of the times.
        moments = np.sort(came.time_ns)
        span, came_at = len(moments) + 1, np.searchsorted(moments, came.time_ns, side="right")
        asked = np.searchsorted(moments, calls.now_ns, side="right")
    came_at += came.life * np.int64(span)
    asked += calls.life * np.int64(span)
    passed: Places = np.searchsorted(came_at, asked, side="right")
    return passed
