"""A kernel that relives a recording: the same ACKs, and estimators, timeouts and TCP_INFO made of them once more.

It owns the way from samples to all that follows from them, so that a fault planted in one place has the consequences
that it would have had. As it stands it makes no mistake, and a true recording comes out as it went in; a broken kernel
is a subclass in which one method does something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rttcheck.judge.arithmetic import estimator, windowed_minimum
from rttcheck.judge.arithmetic.estimator import FIELDS, Formula, Sample, State
from rttcheck.judge.arithmetic.rto import Bounds, timeout_jiffies, us_of_jiffies
from rttcheck.judge.arithmetic.steps import Steps
from rttcheck.judge.arithmetic.windowed_minimum import NOTHING_US, WINDOW_S, WINDOW_SYSCTL, Candidates, Feed, Rule
from rttcheck.judge.observation import addresses
from rttcheck.judge.samples import Side, connections_of, visible_to_nettrace
from rttcheck.record.histogram import Histogram, Unit
from rttcheck.record.recording import Recording

Integers = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]

_TICKS = (0, -1, 1)


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A kernel by its formulas; ``relive()`` is the way in. Methods get rows that are each of another socket."""

    formula: Formula = Formula()  # noqa: RUF009 - frozen
    rule: Rule = windowed_minimum.RULE

    def relive(self, recording: Recording, events: np.ndarray | None = None) -> Recording:
        """The recording as this kernel would have made it; ``events`` are what its calls were told, if not the same.

        Of the events only the arguments and what was taken are looked at; the state after each call is made anew.
        """
        events = (recording.events if events is None else events).copy()
        steps = Steps.of(events)
        order = _rank(steps.previous)
        bounds = Bounds.of(recording.sysctls, events["hz"].astype(np.int64))
        window = _window_jiffies(recording, events)
        told = events.copy()
        for rank in range(int(order.max(initial=-1)) + 1):
            rows = np.flatnonzero(order == rank)
            earlier = steps.previous[rows]
            before = _before(events, earlier, steps.opening[rows])
            taken = steps.taken[rows]
            if rank:
                self._carry(events, told, rows[~taken], earlier[~taken])
                self.untaken(events, rows[~taken])
            rows, earlier, before = rows[taken], earlier[taken], before[taken]
            self._update(events, rows, before, bounds, window)
        return replace(
            recording,
            events=events,
            histograms=tables_of(events),
            flows=tuple(self._flow(recording, events, index) for index in range(len(recording.flows))),
        )

    def fed(self, events: np.ndarray) -> Integers:
        """What the estimator is fed."""
        return events["sample_us"].astype(np.int64)

    def fed_to_minimum(self, events: np.ndarray) -> Integers:
        """What the windowed minimum is fed."""
        return events["rs_rtt_us"].astype(np.int64)

    def smoothed(self, before: State, sample: Sample, least_us: Integers) -> State:
        """The estimator after a sample."""
        return estimator.after_sample(before, sample, least_us, self.formula)

    def minimum(self, before: Candidates, feed: Feed, now: Integers, window: Integers) -> Candidates:
        """The windowed minimum after a sample."""
        return windowed_minimum.after_sample(before, feed, now, window, self.rule)

    def timeout(self, state: State, hz: Integers, most_jiffies: Integers) -> Integers:
        """``icsk_rto`` after a sample."""
        return timeout_jiffies(state.srtt_us, state.rttvar_us, hz, most_jiffies)

    def backoff(self, rows: np.ndarray) -> Integers:
        """``icsk_backoff`` after a sample, given the events with what was there before."""
        return np.zeros(len(rows), dtype=np.int64)

    def untaken(self, events: np.ndarray, rows: Rows) -> None:
        """What a call that takes no sample does to the state in ``events[rows]``: nothing."""

    def info(self, state: np.void) -> dict[str, int | None]:
        """TCP_INFO's times after an event: what ``tcp_get_info()`` makes of the socket; None for no minimum yet."""
        least = int(state["min_rtt"]["v"][0])
        return {
            "rtt_us": int(state["srtt_us"]) >> 3,
            "rttvar_us": int(state["mdev_us"]) >> 2,
            "min_rtt_us": None if least == NOTHING_US else least,
            "rto_us": int(us_of_jiffies(int(state["rto_jiffies"]), int(state["hz"]))),
        }

    def _carry(self, events: np.ndarray, told: np.ndarray, rows: Rows, earlier: Rows) -> None:
        """The state of the call before; a timeout that had been doubled since then stays as it was seen."""
        for name in (*FIELDS, "min_rtt"):
            events[name][rows] = events[name][earlier]
        same = told["rto_jiffies"][rows] == told["rto_jiffies"][earlier]
        events["rto_jiffies"][rows[same]] = events["rto_jiffies"][earlier[same]]

    def _update(self, events: np.ndarray, rows: Rows, before: _Before, bounds: Bounds, window: Integers) -> None:
        told = events[rows]
        sample = Sample.of(told)
        sample = replace(sample, us=self.fed(told))
        state = self.smoothed(before.state, sample, bounds.least_us[rows])
        for name in FIELDS:
            events[name][rows] = getattr(state, name)
        feed = replace(Feed.of(told), us=self.fed_to_minimum(told))
        held = self.minimum(before.minimum, feed, told["jiffies"].astype(np.int64), window[rows])
        events["min_rtt"]["t"][rows], events["min_rtt"]["v"][rows] = held.t, held.us
        events["rto_jiffies"][rows] = self.timeout(state, feed.hz, bounds.most_jiffies[rows])
        events["backoff"][rows] = self.backoff(told)

    def _flow(self, recording: Recording, events: np.ndarray, index: int) -> Mapping[str, Any]:
        flow = dict(recording.flows[index])
        connections, sides = connections_of(events, addresses(recording.flows))
        for side, name in ((Side.CLIENT, "client_info"), (Side.SERVER, "server_info")):
            if name not in flow:
                # Nobody asks for TCP_INFO in a control run.
                continue
            info = flow[name]
            own = events[(connections == index) & (sides == side)]
            past = own[own["delivered"].astype(np.int64) <= info["delivered"]]
            shown = self.info(past[-1])
            if info["total_retrans"]:
                # A timeout doubles icsk_rto without a call that the probe sees.
                del shown["rto_us"]
            flow[name] = {**info, **shown}
        return flow


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Before:
    """The state of sockets before a call."""

    state: State
    minimum: Candidates

    def __getitem__(self, chosen: npt.NDArray[np.bool_]) -> _Before:
        where = np.flatnonzero(chosen)
        return _Before(state=self.state.at(where), minimum=self.minimum.at(where))


def _before(events: np.ndarray, earlier: Rows, opening: npt.NDArray[np.bool_]) -> _Before:
    rows = events[np.maximum(earlier, 0)]
    state, minimum = State.of(rows), Candidates.of(rows)
    state.srtt_us[opening] = 0
    minimum.us[opening] = NOTHING_US
    return _Before(state=state, minimum=minimum)


def _rank(previous: Rows) -> Integers:
    """Which event of its socket each one is, from 0."""
    ranks = np.zeros(len(previous), dtype=np.int64)
    for row, earlier in enumerate(previous.tolist()):
        ranks[row] = 0 if earlier < 0 else ranks[earlier] + 1
    return ranks


def _window_jiffies(recording: Recording, events: np.ndarray) -> Integers:
    seconds = int(recording.sysctls.get(WINDOW_SYSCTL, WINDOW_S))
    window: Integers = seconds * events["hz"].astype(np.int64)
    return window


def exact_ticks(recording: Recording) -> Recording:
    """The recording with each event's ``jiffies`` those of its call, of which the probe's may be the neighbour."""
    events = recording.events.copy()
    steps = Steps.of(events)
    before = _before(events, steps.previous, steps.opening)
    held, feed, window = Candidates.of(events), Feed.of(events), _window_jiffies(recording, events)
    now = events["jiffies"].astype(np.int64)
    for tick in reversed(_TICKS):
        due = windowed_minimum.after_sample(before.minimum, feed, now + tick, window)
        right = steps.taken & ~held.differs(due)
        events["jiffies"][right] = (now + tick)[right]
    return replace(recording, events=events)


def tables_of(events: np.ndarray) -> dict[str, np.ndarray]:
    """The kernel-side histograms that go with ``events``."""
    shown = events["first_rtt_us"][visible_to_nettrace(events)]
    return {unit.value: np.array(Histogram.of(shown, unit).counts, dtype=np.uint64) for unit in Unit}
