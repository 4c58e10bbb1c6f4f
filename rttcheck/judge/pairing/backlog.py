"""ACKs that became one while they waited for the thread that owned their socket.

A packet that joins the backlog of a socket is merged into the last one there if both have the same options and its data
follow on: the kernel then processes one ACK, which has the later number (net/ipv4/tcp_ipv4.c, ``tcp_add_backlog()``,
since 4.20). Whoever counts ACKs has to know, as the options may be SACK blocks that were new with the first of them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from rttcheck.judge.pairing.calls import Calls
from rttcheck.judge.pairing.ends import Arrivals, Booleans, Places, packets_of
from rttcheck.judge.pairing.sockets import Integers
from rttcheck.record.event import Owned
from rttcheck.record.packet import FIN, RST, SYN

_URG, _ECE, _CWR = 0x20, 0x40, 0x80
_OPTIONS = ("has_ts", "tsval", "tsecr", "sack_blocks")


def without_merged(wire: np.ndarray, came: Arrivals, calls: Calls, owned: npt.NDArray[np.uint8]) -> Arrivals:
    """Return the arrivals without those that were merged into the next one; ``owned`` is the column of the calls."""
    if len(came.row) < 2 or not (owned == Owned.YES).any():
        return came
    merged = _merged(wire, came, calls, owned)
    if not merged.any():
        return came
    kept = ~merged
    place = np.cumsum(kept) - 1
    return replace(
        came,
        row=came.row[kept],
        life=came.life[kept],
        time_ns=came.time_ns[kept],
        ack=came.ack[kept],
        sacks=place[came.sacks[kept[came.sacks]]],
    )


def _merged(wire: np.ndarray, came: Arrivals, calls: Calls, owned: npt.NDArray[np.uint8]) -> Booleans:
    """Return which arrivals were merged into the next one."""
    merged = np.zeros(len(came.row), dtype=np.bool_)
    # Both waited at the same time: nothing was processed in between, and what was processed next had waited.
    passed = _passed(calls, came)
    following = np.minimum(passed[1:], len(owned) - 1)
    waited = (passed[1:] == passed[:-1]) & (passed[1:] < len(owned)) & (owned[following] == Owned.YES)
    waited &= (came.life[1:] == came.life[:-1]) & (calls.life[following] == came.life[1:])
    first = np.flatnonzero(waited)
    first = first[_alike(wire, came, first)]
    if len(first):
        merged[first] = True
        # One that has an event of its own was not merged.
        merged[first[_with_event(came, calls, first)]] = False
    return merged


def _alike(wire: np.ndarray, came: Arrivals, first: Places) -> Booleans:
    """Return for each of ``first`` whether the kernel merges the next arrival into it while both wait."""
    one, two = packets_of(wire, came.row[first]), packets_of(wire, came.row[first + 1])
    flags, others = one["flags"], two["flags"]
    alike: Booleans = ((flags | others) & (SYN | RST | _URG) == 0) & ((flags ^ others) & (_ECE | _CWR) == 0)
    alike &= one["seq"] + one["payload"] + ((flags & FIN) != 0).astype(np.uint32) == two["seq"]
    for name in _OPTIONS:
        alike &= one[name] == two[name]
    unused = np.arange(one["sack"].shape[1]) >= one["sack_blocks"][:, None]
    alike &= ((one["sack"] == two["sack"]).all(axis=2) | unused).all(axis=1)
    return alike


def _with_event(came: Arrivals, calls: Calls, first: Places) -> Booleans:
    """Return which of ``first`` have an event: of the last arrivals with a number as many as there are events too many.

    The number of a merged ACK has fewer events than arrivals.
    """
    number = came.ack[first]
    arrivals = _count(np.sort(came.ack, kind="stable"), number)
    events = _count(np.sort(calls.una, kind="stable"), number)
    same = np.append(True, number[1:] != number[:-1])
    begins = np.flatnonzero(same)
    count = np.diff(np.append(begins, len(number)))
    rank_from_end = np.repeat(begins + count, count) - 1 - np.arange(len(number))
    had: Booleans = rank_from_end >= arrivals - events
    return had


def _count(ascending: Integers, number: Integers) -> Integers:
    count: Integers = np.searchsorted(ascending, number, side="right") - np.searchsorted(ascending, number)
    return count


def _passed(calls: Calls, came: Arrivals) -> Places:
    """Return how many calls, of all lives up to each arrival's own, were processed before it came in."""
    life = np.concatenate((calls.life, came.life))
    time_ns = np.concatenate((calls.now_ns, came.time_ns))
    is_arrival = np.arange(len(life)) >= len(calls.life)
    order = np.lexsort((is_arrival, time_ns, life))
    before = np.cumsum(~is_arrival[order])
    passed = np.empty(len(came.row), dtype=np.intp)
    passed[order[is_arrival[order]] - len(calls.life)] = before[is_arrival[order]]
    return passed
