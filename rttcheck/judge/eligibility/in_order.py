"""Fast path: in-order connections without SACK or retransmission, checked as arrays.

Conditions: each segment left once and in order, each incoming packet passes TCP's checks, and none SACKs. Then every
ACK that advances ``snd_una`` gives a sample of its first segment, and no other ACK gives one. Lives that do not meet
the conditions, or whose events differ from this, are replayed packet by packet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rttcheck.judge.eligibility.part import ANY_VALUE, EXPECTATION, NEW_DATA, Part
from rttcheck.judge.eligibility.portion import Portion
from rttcheck.judge.pairing.ends import Booleans, Places, Rows, keys
from rttcheck.judge.pairing.sockets import Integers
from rttcheck.record.event import FLAG_ACK_MAYBE_DELAYED, Owned
from rttcheck.record.packet import FIN, SYN

_ECN = 0xC0
"""ECE and CWR."""


@dataclass(frozen=True, slots=True, eq=False)
class InOrder:
    """The lives that the fast path covers."""

    lives: Booleans
    """Which lives of a portion are in order, with events that match the packets."""
    rows: np.ndarray
    """Their rows, dtype `EXPECTATION`."""

    @classmethod
    def of(cls, events: np.ndarray, portion: Portion) -> InOrder:
        """Check the lives of a portion against ``events``."""
        sent, came, calls, opened = portion.sent, portion.came, portion.calls, portion.opened
        in_order = _in_order(portion)
        before = np.empty_like(came.ack)
        before[1:] = np.maximum.accumulate(came.ack)[:-1]
        before[:1] = -1
        # In a life without its SYN the first byte sent is offset 1: ACKs below it give no sample.
        np.maximum(before, keys(came.life, np.where(opened[came.life], 0, 1)), out=before)
        new = np.flatnonzero((came.ack > before) & in_order[came.life])
        in_order[came.life[new[~_among(came.ack[new], sent.end)]]] = False
        reporting = np.flatnonzero(((calls.reported & ANY_VALUE) != 0) & in_order[calls.life])
        una, life = calls.una[reporting], calls.life[reporting]
        good = (calls.reported[reporting] & ~np.uint8(Part.HANDSHAKE)) == NEW_DATA
        handshake = (calls.reported[reporting] & Part.HANDSHAKE) != 0
        good &= (handshake == (una == keys(life, 1))) | ~opened[life]
        good[1:] &= una[1:] > una[:-1]
        numbers = came.ack[new]
        at = np.searchsorted(numbers, una)
        good &= at < len(new)
        at[~good] = 0
        if len(new):
            good &= numbers[at] == una
            good &= calls.now_ns[reporting] + 1_000 > came.time_ns[new[at]]
        in_order[life[~good]] = False
        at, reporting = at[good], reporting[good]
        unmatched = np.ones(len(new), dtype=np.bool_)
        unmatched[at] = False
        if unmatched.any():
            _exclude_unmerged(events, portion, in_order, new, unmatched, reporting, before[new])
        keep = in_order[calls.life[reporting]]
        at, reporting = at[keep], reporting[keep]
        life = calls.life[reporting]
        rows = np.zeros(len(reporting), dtype=EXPECTATION)
        rows["ack"], rows["event"] = came.row[new[at]], calls.event[reporting]
        rows["socket"] = portion.ends.socket[portion.first + life]
        rows["expected"] = rows["reported"] = np.where(opened[life], calls.reported[reporting], np.uint8(NEW_DATA))
        return cls(in_order, rows)


def merges_of(wire: np.ndarray, row: Rows, life: Rows) -> Booleans:
    """Return which arrivals may be merged with the next one in the backlog (``tcp_add_backlog()``).

    Neither has a SYN, the next one's data begins where this one's ends, and their options are equal byte for byte.
    """
    merges = np.zeros(len(row), dtype=np.bool_)
    if len(row) < 2:
        return merges
    flags, seq = wire["flags"][row], wire["seq"][row]
    same = (life[1:] == life[:-1]) & (seq[1:] == (seq + _length(wire, row, flags))[:-1])
    same &= ((flags[1:] | flags[:-1]) & SYN) == 0
    same &= ((flags[1:] ^ flags[:-1]) & _ECN) == 0
    for name in ("has_ts", "tsval", "tsecr", "sack_blocks"):
        value = wire[name][row]
        same &= value[1:] == value[:-1]
    near = np.flatnonzero(same)
    near = near[wire["sack_blocks"][row[near]] > 0]
    same[near] = (wire["sack"][row[near]] == wire["sack"][row[near + 1]]).all(axis=(1, 2))
    merges[:-1] = same
    return merges


def _in_order(portion: Portion) -> Booleans:
    """Return the lives without reordering, in either direction, and without SACK blocks."""
    sent, came, wire = portion.sent, portion.came, portion.ends.wire
    in_order = np.ones(portion.lives, dtype=np.bool_)
    again = (sent.life[1:] == sent.life[:-1]) & (sent.start[1:] != sent.end[:-1])
    in_order[sent.life[1:][again]] = False
    in_order[came.life[came.sacks]] = False
    row = came.row
    if len(row) > 1:
        tsval, seq = wire["tsval"][row], wire["seq"][row]
        odd = (tsval[1:] - tsval[:-1]).view(np.int32) < 0
        odd |= seq[1:] != (seq + _length(wire, row, wire["flags"][row]))[:-1]
        odd &= came.life[1:] == came.life[:-1]
        in_order[came.life[1:][odd]] = False
    return in_order


def _exclude_unmerged(
    events: np.ndarray,
    portion: Portion,
    in_order: Booleans,
    new: Places,
    unmatched: Booleans,
    reporting: Places,
    before: Integers,
) -> None:
    """Clear ``in_order`` for lives with an ACK without an event that was not merged with the next ACK; see `Replay`.

    ``unmatched`` and ``before`` have an entry for each of ``new``; ``reporting`` are the events of the other ones.
    """
    came, calls, wire = portion.came, portion.calls, portion.ends.wire
    in_order[came.life[new[unmatched & (came.ack[new] == keys(came.life[new], 1))]]] = False
    run = np.flatnonzero(unmatched & np.append(True, ~unmatched[:-1]))
    matched = np.flatnonzero(~unmatched)
    # The ACK that ends each run: the next one with an event, in the same life.
    place = np.searchsorted(matched, run)
    ended = place < len(matched)
    ended[ended] = came.life[new[matched[place[ended]]]] == came.life[new[run[ended]]]
    in_order[came.life[new[run[~ended]]]] = False
    run, place = run[ended], place[ended]
    head, call = matched[place], reporting[place]
    event = calls.event[call]
    apart = np.append(0, np.cumsum(~merges_of(wire, came.row, came.life)))
    good = apart[new[head]] == apart[new[run]]
    good &= events["owned"][event] != Owned.NO
    good &= (events["flag"][event] & FLAG_ACK_MAYBE_DELAYED) == 0
    sent = np.searchsorted(portion.sent.end, before[run], side="right")
    sent_us = portion.sent.time_ns[np.minimum(sent, len(portion.sent.time_ns) - 1)] // 1_000
    good &= events["first_rtt_us"][event] >= calls.now_ns[call] // 1_000 - sent_us
    in_order[came.life[new[run[~good]]]] = False


def _among(numbers: Integers, ordered: Integers) -> Booleans:
    """Return which ``numbers`` are in ``ordered``."""
    if not len(ordered):
        return np.zeros(len(numbers), dtype=np.bool_)
    found: Booleans = ordered[np.minimum(np.searchsorted(ordered, numbers), len(ordered) - 1)] == numbers
    return found


def _length(wire: np.ndarray, row: Rows, flags: np.ndarray) -> np.ndarray:
    """Return payload bytes plus one for SYN or FIN, as 32-bit numbers."""
    length: np.ndarray = wire["payload"][row] + ((flags & (SYN | FIN)) != 0)
    return length
