"""Match the relay's own records with the captured packets.

A record's due time has no noise in it: the relay computes it from when the kernel received the packet and from the
random numbers of a recorded seed. `account_check` checks that arithmetic; how late the relay released packets is
judged with the captures, by `check_noisy`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rttcheck.record.recording import Recording
from rttcheck_netns.relay.line import Fate

Integers = npt.NDArray[np.int64]

DIRECTIONS = {"out": 0, "back": 1}

_SAME_NS = 200_000
"""A packet's capture and the relay's record have the same stamp of the kernel's, except for two readings of the wall
clock's offset (``CLOCK_REALTIME`` less ``CLOCK_MONOTONIC``): some microseconds."""


def relay_due_of(recording: Recording, name: str, entered_ns: Integers, left_ns: Integers) -> Integers:
    """Return when each packet of a direction was due by the relay's records; 0 where no record surely matches.

    The matching record is the one received nearest to when the packet came in, and released before it left.
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
    """Return the records of a direction's packets that were held and released, in the order of reception."""
    packets = recording.relay
    kept = (packets["direction"] == DIRECTIONS[name]) & (packets["released_ns"] > 0)
    held: np.ndarray = packets[kept & np.isin(packets["fate"], (Fate.PASSED, Fate.REORDERED))]
    return held
