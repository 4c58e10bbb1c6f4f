"""Fast path: in-order connections without SACK or retransmission, checked as arrays.

A life of a socket takes it when each segment left once and in order, each packet that came in passes TCP's checks, and
none SACKs. Then every ACK that advances ``snd_una`` is due a sample of its first segment, and no other ACK is due one.
Whatever is not sure is left to the replay, packet by packet; nothing is called wrong here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rttcheck.judge.eligibility.part import DUE, PLAIN, VALUES, Part
from rttcheck.judge.eligibility.portion import Portion
from rttcheck.judge.pairing.ends import Booleans, Places, Rows, keys
from rttcheck.judge.pairing.sockets import Integers
from rttcheck.record.event import FLAG_ACK_MAYBE_DELAYED, Owned
from rttcheck.record.packet import FIN, SYN

_ECN = 0xC0
"""ECE and CWR."""


@dataclass(frozen=True, slots=True, eq=False)
class Calm:
    """What the quick look came to."""

    lives: Booleans
    """Of a portion: those for which wire and events agree."""
    rows: np.ndarray
    """Theirs, dtype `DUE`."""

    @classmethod
    def of(cls, events: np.ndarray, portion: Portion) -> Calm:
        """Look at a portion of a run with ``events``."""
        sent, came, calls, opened = portion.sent, portion.came, portion.calls, portion.opened
        quiet = _quiet(portion)
        before = np.empty_like(came.ack)
        before[1:] = np.maximum.accumulate(came.ack)[:-1]
        before[:1] = -1
        # In a life without its SYN the first byte that left is offset 1, and nothing below it expects anything.
        np.maximum(before, keys(came.life, np.where(opened[came.life], 0, 1)), out=before)
        new = np.flatnonzero((came.ack > before) & quiet[came.life])
        quiet[came.life[new[~_among(came.ack[new], sent.end)]]] = False
        says = np.flatnonzero(((calls.reported & VALUES) != 0) & quiet[calls.life])
        una, life = calls.una[says], calls.life[says]
        good = (calls.reported[says] & ~np.uint8(Part.HANDSHAKE)) == PLAIN
        handshake = (calls.reported[says] & Part.HANDSHAKE) != 0
        good &= (handshake == (una == keys(life, 1))) | ~opened[life]
        good[1:] &= una[1:] > una[:-1]
        numbers = came.ack[new]
        at = np.searchsorted(numbers, una)
        good &= at < len(new)
        at[~good] = 0
        if len(new):
            good &= numbers[at] == una
            good &= calls.now_ns[says] + 1_000 > came.time_ns[new[at]]
        quiet[life[~good]] = False
        at, says = at[good], says[good]
        unnamed = np.ones(len(new), dtype=np.bool_)
        unnamed[at] = False
        if unnamed.any():
            _doubt_missing(events, portion, quiet, new, unnamed, says, before[new])
        keep = quiet[calls.life[says]]
        at, says = at[keep], says[keep]
        life = calls.life[says]
        rows = np.zeros(len(says), dtype=DUE)
        rows["ack"], rows["event"] = came.row[new[at]], calls.event[says]
        rows["socket"] = portion.ends.socket[portion.first + life]
        rows["expected"] = rows["reported"] = np.where(opened[life], calls.reported[says], np.uint8(PLAIN))
        return cls(quiet, rows)


def merges_of(wire: np.ndarray, row: Rows, life: Rows) -> Booleans:
    """Whether each arrival may become one with the next while both wait in the backlog (``tcp_add_backlog()``).

    Neither has a SYN, the next one's data begins where this one's ends, and they have the same options to the byte.
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


def _quiet(portion: Portion) -> Booleans:
    """Lives in which nothing went out of order, in neither direction, and nothing was SACKed."""
    sent, came, wire = portion.sent, portion.came, portion.ends.wire
    quiet = np.ones(portion.lives, dtype=np.bool_)
    again = (sent.life[1:] == sent.life[:-1]) & (sent.start[1:] != sent.end[:-1])
    quiet[sent.life[1:][again]] = False
    quiet[came.life[came.sacks]] = False
    row = came.row
    if len(row) > 1:
        tsval, seq = wire["tsval"][row], wire["seq"][row]
        odd = (tsval[1:] - tsval[:-1]).view(np.int32) < 0
        odd |= seq[1:] != (seq + _length(wire, row, wire["flags"][row]))[:-1]
        odd &= came.life[1:] == came.life[:-1]
        quiet[came.life[1:][odd]] = False
    return quiet


def _doubt_missing(
    events: np.ndarray,
    portion: Portion,
    quiet: Booleans,
    new: Places,
    unnamed: Booleans,
    says: Places,
    before: Integers,
) -> None:
    """ACKs that no event names: each must have become one with the next; see `Walk` for what proves it.

    ``unnamed`` and ``before`` are of the ``new`` ones, ``says`` the events that name the others.
    """
    came, calls, wire = portion.came, portion.calls, portion.ends.wire
    quiet[came.life[new[unnamed & (came.ack[new] == keys(came.life[new], 1))]]] = False
    run = np.flatnonzero(unnamed & np.append(True, ~unnamed[:-1]))
    named = np.flatnonzero(~unnamed)
    # What each run ends in: the next that is named, in the same life.
    place = np.searchsorted(named, run)
    ended = place < len(named)
    ended[ended] = came.life[new[named[place[ended]]]] == came.life[new[run[ended]]]
    quiet[came.life[new[run[~ended]]]] = False
    run, place = run[ended], place[ended]
    head, call = named[place], says[place]
    event = calls.event[call]
    apart = np.append(0, np.cumsum(~merges_of(wire, came.row, came.life)))
    good = apart[new[head]] == apart[new[run]]
    good &= events["owned"][event] != Owned.NO
    good &= (events["flag"][event] & FLAG_ACK_MAYBE_DELAYED) == 0
    sent = np.searchsorted(portion.sent.end, before[run], side="right")
    sent_us = portion.sent.time_ns[np.minimum(sent, len(portion.sent.time_ns) - 1)] // 1_000
    good &= events["first_rtt_us"][event] >= calls.now_ns[call] // 1_000 - sent_us
    quiet[came.life[new[run[~good]]]] = False


def _among(numbers: Integers, ordered: Integers) -> Booleans:
    """Whether each of ``numbers`` is in ``ordered``, where lives are quiet."""
    if not len(ordered):
        return np.zeros(len(numbers), dtype=np.bool_)
    found: Booleans = ordered[np.minimum(np.searchsorted(ordered, numbers), len(ordered) - 1)] == numbers
    return found


def _length(wire: np.ndarray, row: Rows, flags: np.ndarray) -> np.ndarray:
    """Payload, SYN and FIN, as 32-bit numbers."""
    length: np.ndarray = wire["payload"][row] + ((flags & (SYN | FIN)) != 0)
    return length
