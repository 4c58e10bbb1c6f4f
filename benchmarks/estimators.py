"""The estimators of planted events: srtt, mdev, rttvar, the windowed minimum and the timeout after each sample.

It owns the way from samples to the state that follows from them, by the judge's own formulas, one event after the
other. An exchange that is repeated leaves the same state each time, but for sequence numbers and the clock.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from rttcheck.judge.arithmetic import estimator, windowed_minimum
from rttcheck.judge.arithmetic.estimator import FIELDS, Sample, State
from rttcheck.judge.arithmetic.rto import Bounds, timeout_jiffies
from rttcheck.judge.arithmetic.windowed_minimum import NOTHING_US, WINDOW_S, Candidates, Feed

_SETTLING = 3
"""Repetitions after which the state must be that of the one before."""
_U32 = 0xFFFF_FFFF


def relive(events: np.ndarray, opening: int, period: int, sysctls: Mapping[str, str]) -> np.ndarray:
    """Return the events of one socket with the state after each call.

    ``period`` is how many events each repetition has, after ``opening`` ones. Raises ValueError when repetitions do not
    settle.
    """
    made = events.copy()
    begun = min(len(events), opening + _SETTLING * period)
    _step_by_step(made[:begun], sysctls)
    again = made[begun - period : begun]
    if begun < len(events):
        before = made[begun - 2 * period : begun - period]
        if any((_relative(again)[name] != _relative(before)[name]).any() for name in _relative(again)):
            raise ValueError(f"the estimators have not settled after {_SETTLING} repetitions")
        times = -(-(len(events) - begun) // period)
        rest = made[begun:]
        for name, column in _relative(again).items():
            column = np.tile(column, (times, 1) if column.ndim > 1 else times)[: len(rest)]
            if name == "rtt_seq":
                rest[name] = (column + rest["snd_una"]) & _U32
            elif name == "t":
                rest["min_rtt"]["t"] = (rest["jiffies"][:, None] - column) & _U32
            elif name == "v":
                rest["min_rtt"]["v"] = column
            else:
                rest[name] = column
    return made


def _relative(events: np.ndarray) -> dict[str, npt.NDArray[np.int64]]:
    """Return the state after each event as it is the same in every repetition."""
    columns = {name: events[name].astype(np.int64) for name in (*FIELDS, "rto_jiffies")}
    columns["rtt_seq"] = (columns["rtt_seq"] - events["snd_una"]) & _U32
    columns["t"] = (events["jiffies"].astype(np.int64)[:, None] - events["min_rtt"]["t"]) & _U32
    columns["v"] = events["min_rtt"]["v"].astype(np.int64)
    return columns


def _step_by_step(events: np.ndarray, sysctls: Mapping[str, str]) -> None:
    """Write the state after each of ``events``, which begin with the handshake, into them."""
    bounds = Bounds.of(sysctls, events["hz"].astype(np.int64))
    window = WINDOW_S * events["hz"].astype(np.int64)
    feed, samples, now = Feed.of(events), Sample.of(events), events["jiffies"].astype(np.int64)
    state, held = State.of(events[:1]), Candidates.of(events[:1])
    held.us[:] = NOTHING_US
    for row in range(len(events)):
        here = np.array([row])
        if events["taken"][row]:
            state = estimator.after_sample(state, samples.at(here), bounds.least_us[here], estimator.Formula())
            held = windowed_minimum.after_sample(held, feed.at(here), now[here], window[here])
        for name in FIELDS:
            events[name][row] = getattr(state, name)[0]
        events["min_rtt"]["t"][row], events["min_rtt"]["v"][row] = held.t[0], held.us[0]
    events["rto_jiffies"] = timeout_jiffies(
        events["srtt_us"].astype(np.int64), events["rttvar_us"].astype(np.int64), events["hz"].astype(np.int64),
        bounds.most_jiffies,
    )  # fmt: skip
