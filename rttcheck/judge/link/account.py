"""The relay's own account of each packet: was it held for as long as was asked for, and which packet is which.

It owns the match of the relay's records with the captures, and the check of the relay's arithmetic, which is exact: no
noise is in what a packet was due at, as the relay says it. That is worked out from when the kernel received the packet,
and from numbers of a seed that the recording holds. How late it was let go then is judged with the captures, by
`check_noisy`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rttcheck.record.recording import Recording
from rttcheck_netns.relay.line import Fate

Integers = npt.NDArray[np.int64]

DIRECTIONS = {"out": 0, "back": 1}

_SAME_NS = 200_000
"""A packet's capture and the relay's record of it bear one stamp of the kernel's, but for reading the wall clock twice
(``CLOCK_REALTIME`` less ``CLOCK_MONOTONIC``): some microseconds."""


def account_of(recording: Recording, name: str, entered_ns: Integers, left_ns: Integers) -> Integers:
    """When each packet of a direction was due by the relay's account; 0 where no record is surely the packet's.

    The record is the one that was taken when the packet came in, the nearest of all, and let go before it left.
    """
    due_ns = np.zeros(len(entered_ns), dtype=np.int64)
    held = held_packets(recording, name)
    if not len(held) or not len(entered_ns):
        return due_ns
    held = held[np.argsort(held["taken_ns"], kind="stable")]
    taken_ns = held["taken_ns"]
    after = np.minimum(np.searchsorted(taken_ns, entered_ns), len(held) - 1)
    before = np.maximum(after - 1, 0)
    nearer = np.abs(taken_ns[before] - entered_ns) < np.abs(taken_ns[after] - entered_ns)
    place = np.where(nearer, before, after)
    once = np.bincount(place, minlength=len(held))[place] == 1
    sure = once & (np.abs(taken_ns[place] - entered_ns) <= _SAME_NS) & (held["released_ns"][place] <= left_ns)
    due_ns[sure] = held["due_ns"][place[sure]]
    return due_ns


def held_packets(recording: Recording, name: str) -> np.ndarray:
    """The records of packets of a direction that were held and let go, in the order in which they were taken."""
    packets = recording.relay
    kept = (packets["direction"] == DIRECTIONS[name]) & (packets["released_ns"] > 0)
    held: np.ndarray = packets[kept & np.isin(packets["fate"], (Fate.PASSED, Fate.REORDERED))]
    return held
