"""Which of the ACKs that came in each event looked at: by number, by time, and one for each.

It owns the order of events and arrivals at one socket. It does not know what was sent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rttcheck.judge.pairing.ends import Arrivals, Places, Rows
from rttcheck.judge.pairing.scoreboard import NONE
from rttcheck.judge.pairing.sockets import Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calls:
    """Events of some lives, by life and then by time."""

    event: Places
    life: Rows
    """Counts from 0, as in `Arrivals`."""
    una: Integers
    """`keys` of ``snd_una``; ``before`` is what it was at the event before."""
    before: Integers
    now_ns: Integers
    """When the kernel looked at the ACK."""


@dataclass(frozen=True, slots=True, eq=False)
class _Numbers:
    """Arrivals by ACK number, then by time."""

    order: Places
    number: Integers
    place: Integers
    """Ascends with number and position; `_key` makes the like."""
    first: Places
    """Of each event: where its number begins, among all; the number's own place or that of a greater one."""
    group: Integers
    """Of each event: the number as one of few."""

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
        """Where among all the last with each event's number is that has a position below ``position``.

        `NONE` for none of those.
        """
        at = np.searchsorted(self.place, self.group[events] * (len(self.order) + 1) + position) - 1
        return np.where(at >= self.first[events], at, NONE)


def acks_of(calls: Calls, came: Arrivals) -> Places:
    """Position of the last arrival with the event's ``snd_una`` that came in before it and is no later event's."""
    at = np.full(len(calls.event), NONE, dtype=np.intp)
    if not len(came.row) or not len(at):
        return at
    passed = _passed(calls, came)
    newest = np.maximum(passed - 1, 0)
    hit = (passed > 0) & (came.ack[newest] == calls.una)
    at[hit] = newest[hit]
    numbers: _Numbers | None = None
    if not hit.all():
        # Another ACK came in between (they overtook each other, or waited for a busy socket): look by number as well.
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
    """Several ACKs of one number that waited in the backlog together: the last is the last event's, and so backwards.

    A socket takes its backlog in the order in which it came (``__release_sock()``), one event an ACK. Events for which
    none is left keep what they had.
    """
    known = at != NONE
    place = np.empty(len(numbers.order), dtype=np.intp)
    place[numbers.order] = np.arange(len(place))
    mine = np.where(known, place[at], 0)
    count = np.arange(len(at))
    follows = known[1:] & known[:-1] & (calls.life[1:] == calls.life[:-1])
    joined = follows & (calls.una[1:] == calls.una[:-1])
    # Runs of events with one number: apart by more than any place, so that none reaches into another.
    run = np.cumsum(np.append(False, ~joined)) * (len(place) + len(at) + 1)
    behind = np.flatnonzero(follows & ~joined)
    while True:
        # Each has at most the place below the one of the event after it.
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
    """How many arrivals, of all lives up to each event's, had come in by the time it was looked at."""
    least = min(int(came.time_ns.min()), int(calls.now_ns.min()))
    most = max(int(came.time_ns.max()), int(calls.now_ns.max()))
    lives = max(int(came.life[-1]), int(calls.life[-1])) + 1
    if (most - least + 1) * lives < 2**62:
        span, came_at, asked = most - least + 1, came.time_ns - least, calls.now_ns - least
    else:
        # Too long for both in one number: the order of times says the same.
        moments = np.sort(came.time_ns)
        span, came_at = len(moments) + 1, np.searchsorted(moments, came.time_ns, side="right")
        asked = np.searchsorted(moments, calls.now_ns, side="right")
    came_at += came.life * np.int64(span)
    asked += calls.life * np.int64(span)
    passed: Places = np.searchsorted(came_at, asked, side="right")
    return passed
