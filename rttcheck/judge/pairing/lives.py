"""The life of a socket that each event belongs to, and lives in portions of bounded size.

A life is the time between two uses of the same address pair; see `Ends`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from rttcheck.judge.pairing.ends import Ends, Places, Rows, by_group_and_time
from rttcheck.judge.pairing.sockets import UNKNOWN_SOCKET

NO_LIFE: Final = -1

_PORTION: Final = 1 << 20
"""Packets in a portion, unless a single life has more: bounds the memory in use at once."""


def portions(ends: Ends) -> Iterator[tuple[int, int]]:
    """Yield all lives of ``ends`` in portions: the first life, and the one after the last."""
    start = 0
    while start < ends.lives:
        full = np.searchsorted(ends.bounds, ends.bounds[start] + _PORTION, side="right")
        stop = min(max(start + 1, int(full) - 1), ends.lives)
        yield start, stop
        start = stop


def lives_of(events: np.ndarray, ends: Ends) -> tuple[Rows, Places, Places]:
    """Sort the events (dtype ``EVENT``) that have a life by life, then by time.

    Returns their lives, their rows in ``events``, and the rows of the events without a life.
    """
    for asked, found in ends.known_lives:
        if asked is events:
            lives: tuple[Rows, Places, Places] = found
            return lives
    lives = _lives(events, ends)
    ends.known_lives[:] = [(events, lives)]
    return lives


def _lives(events: np.ndarray, ends: Ends) -> tuple[Rows, Places, Places]:
    socket = ends.sockets.of(events["saddr"], events["daddr"], events["sport"], events["dport"])
    moments = np.sort(ends.begun_ns)
    rank = len(moments) + 1
    key = ends.socket.astype(np.int64) * rank + np.searchsorted(moments, ends.begun_ns)
    asked = np.searchsorted(moments, events["timestamp_ns"].astype(np.int64), side="right")
    asked += socket.astype(np.int64) * rank
    at = np.searchsorted(key, asked) - 1
    hit = (at >= 0) & (socket != UNKNOWN_SOCKET)
    hit[hit] = ends.socket[at[hit]] == socket[hit]
    life = np.where(hit, at, NO_LIFE).astype(np.int32)
    order = by_group_and_time(life, events["timestamp_ns"])
    order = np.arange(len(life)) if order is None else order
    life = life[order]
    known = int(np.searchsorted(life, NO_LIFE, side="right"))
    return life[known:], order[known:], order[:known]
