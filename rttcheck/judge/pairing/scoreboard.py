"""Senders' SACK scoreboards, recomputed from the packets: what was retransmitted, SACKed and acknowledged, and when.

The rules by which the kernel picks the segments that give a sample are applied to all segments at once: the state of a
segment follows from the first ACK and the first retransmission that cover it.

Sources: net/ipv4/tcp_input.c, ``tcp_clean_rtx_queue()``, ``tcp_sacktag_one()``, ``tcp_match_skb_to_sack()`` (the same
rules from 5.10 to 7.3); net/ipv4/tcp_output.c, ``tcp_retrans_try_collapse()``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rttcheck.judge.pairing.cover import cut_at, earliest_cover, segment_edges
from rttcheck.judge.pairing.ends import Arrivals, Booleans, Departures, Places, Rows, keys
from rttcheck.judge.pairing.sack_blocks import Blocks
from rttcheck.judge.pairing.sockets import Integers

NONE = -1
_NEVER_NS = np.iinfo(np.int64).max
_AT_ONCE = 1 << 19
"""Retransmitted or SACKed pieces processed at a time."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Marks:
    """The state of each piece, and the effect of each arrival."""

    again_ns: Integers
    """When the piece was first retransmitted; `_NEVER_NS` if it was not."""
    sacked: Rows
    """Position of the arrival that first SACKed it; beyond all positions if none did."""
    touched: Rows
    """How many of the pieces before each, and in all, were retransmitted or SACKed."""
    sack_first: Rows
    """Row of the first and the last piece that each arrival SACKed before any retransmission of it, or `NONE`."""
    sack_last: Rows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Merged:
    """Small segments collapsed into one by a retransmission: from then on they are acknowledged only together.

    Source: net/ipv4/tcp_output.c, ``tcp_retrans_try_collapse()``: the result is never longer than a segment may be.
    """

    start: Integers
    end: Integers
    time_ns: Integers
    piece: Places
    """The first piece of each."""

    def stop(self, stop: Places, before: Integers, una: Integers, now_ns: Integers) -> Places:
        """Return ``stop`` without the pieces of a collapsed segment whose end ``una`` does not reach."""
        rising = np.flatnonzero(una > before)
        reached = una[rising]
        low, high = np.searchsorted(reached, self.start, side="right"), np.searchsorted(reached, self.end)
        count = np.maximum(high - low, 0)
        which = np.repeat(np.arange(len(count)), count)
        call = rising[np.arange(len(which)) + np.repeat(low - np.cumsum(count) + count, count)]
        sent = self.time_ns[which] <= now_ns[call]
        less = stop.copy()
        np.minimum.at(less, call[sent], self.piece[which[sent]])
        return less


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scoreboard:
    """Pieces of the sent data, as retransmissions and SACK blocks split it, in the order of lives and offsets.

    Numbers are `keys`. A piece belongs to the departure that sent it first.
    """

    start: Integers
    end: Integers
    row: Rows
    segment_bytes: Integers
    """For each life: the most bytes of a segment; a longer packet holds several."""
    marks: Marks | None
    """None where nothing was retransmitted or SACKed."""
    merged: Merged | None
    """None where no segments were collapsed."""

    @classmethod
    def of(cls, wire: np.ndarray, sent: Departures, came: Arrivals, segment_bytes: Integers) -> Scoreboard:
        """Build it from all departures and arrivals of some lives; SACK blocks are read from ``wire``."""
        newest = np.empty_like(sent.end)
        newest[:1] = sent.start[:1]
        np.maximum.accumulate(sent.end[:-1], out=newest[1:])
        again = np.flatnonzero(sent.start < newest)
        if not len(again) and not len(came.sacks):
            return cls(
                start=sent.start, end=sent.end, row=sent.row, segment_bytes=segment_bytes, marks=None, merged=None
            )
        first = np.flatnonzero(sent.end > newest)
        again_start, again_end = sent.start[again], np.minimum(sent.end[again], newest[again])
        start, end = np.maximum(sent.start[first], newest[first]), sent.end[first]
        del newest
        start, end, first = cut_at(np.concatenate((again_start, again_end)), start, end, first)
        blocks = Blocks.of(wire, came, repeated=False)
        # Only a packet of several segments is SACKed in part.
        edges = segment_edges(np.concatenate((blocks.left, blocks.right)), start, end, segment_bytes[sent.life[first]])
        start, end, first = cut_at(edges, start, end, first)
        sacked, early = _sacked(blocks, sent, came, start, end, first)
        if early:
            # A block may cover data that left later; its repetitions then count.
            sacked, _ = _sacked(Blocks.of(wire, came, repeated=True), sent, came, start, end, first)
        low, high = np.searchsorted(start, again_start), np.searchsorted(end, again_end, side="right")
        by = earliest_cover(low, high, np.arange(len(again), dtype=np.int32), len(start))
        again_ns = np.full(len(start), _NEVER_NS, dtype=np.int64)
        resent = np.flatnonzero(by < len(again))
        again_ns[resent] = sent.time_ns[again[by[resent]]]
        row = sent.row[first]
        one = again_end - again_start <= segment_bytes[sent.life[again]]
        one &= first[np.minimum(low, len(first) - 1)] != first[high - 1]
        merged = None
        if one.any():
            merged = Merged(
                start=again_start[one], end=again_end[one], time_ns=sent.time_ns[again[one]], piece=low[one]
            )
        marks = _marks(sacked, again_ns, row, came)
        return cls(start=start, end=end, row=row, segment_bytes=segment_bytes, marks=marks, merged=merged)

    def acknowledged(
        self, life: Rows, before: Integers, una: Integers, now_ns: Integers, newest: Integers
    ) -> tuple[Rows, Rows]:
        """Return the first and last segment that give a sample when ``snd_una`` moves from ``before`` to ``una``.

        ``newest`` is the last arrival processed by ``now_ns``. Both are `NONE` by Karn's rule if any segment was
        retransmitted by then; SACKed segments give no sample.
        """
        if not len(self.start):
            return np.full(len(una), NONE, dtype=np.int32), np.full(len(una), NONE, dtype=np.int32)
        most = len(self.start) - 1
        start, stop, new = self.pieces(life, before, una, now_ns)
        first = np.where(new, self.row[np.minimum(start, most)], np.int32(NONE))
        last = np.where(new, self.row[stop - 1], np.int32(NONE))
        if self.marks is not None:
            touched = np.flatnonzero(new & (self.marks.touched[start] < self.marks.touched[stop]))
            for some in _portions(touched, (stop - start)[touched]):
                first[some], last[some] = self._among(self.marks, start[some], stop[some], now_ns[some], newest[some])
        return first, last

    def pieces(self, life: Rows, before: Integers, una: Integers, now_ns: Integers) -> tuple[Places, Places, Booleans]:
        """Return the pieces, from start to stop - 1, that ``snd_una`` passes, and whether there is any.

        There must be pieces at all. Arguments are those of `acknowledged`.
        """
        most = len(self.start) - 1
        stop = np.searchsorted(self.end, una, side="right")
        start = np.empty_like(stop)
        start[1:] = stop[:-1]
        other = np.flatnonzero(np.append(True, before[1:] != una[:-1]))
        start[other] = np.searchsorted(self.end, before[other], side="right")
        # A packet of several segments counts as soon as one of them is acknowledged (tcp_tso_acked()).
        part = np.minimum(stop, most)
        partly = (self.start[part] < una) & (self.end[part] > una)
        at = np.flatnonzero(partly)
        partly[at] = self.end[part[at]] - self.start[part[at]] > self.segment_bytes[life[at]]
        stop += partly
        if self.merged is not None:
            stop = self.merged.stop(stop, before, una, now_ns)
        new = (una > before) & (start < stop)
        return start, stop, new

    def effects(
        self, life: Rows, before: Integers, una: Integers, now_ns: Integers, newest: Places
    ) -> tuple[Booleans, Booleans, Booleans]:
        """Return whether ``snd_una`` passes any segment, any that was sent once and never SACKed, any sent again.

        Arguments are those of `acknowledged`.
        """
        if not len(self.start):
            nothing = np.zeros(len(una), dtype=np.bool_)
            return nothing, nothing, nothing
        start, stop, new = self.pieces(life, before, una, now_ns)
        fresh, again = new.copy(), np.zeros(len(una), dtype=np.bool_)
        if self.marks is not None:
            touched = np.flatnonzero(new & (self.marks.touched[start] < self.marks.touched[stop]))
            for some in _portions(touched, (stop - start)[touched]):
                piece, begin, count = _ranges(start[some], stop[some])
                resent = self.marks.again_ns[piece] <= np.repeat(now_ns[some], count)
                once = ~resent & (self.marks.sacked[piece] > np.repeat(newest[some], count))
                again[some] = np.logical_or.reduceat(resent, begin)
                fresh[some] = np.logical_or.reduceat(once, begin)
        return new, fresh, again

    def _among(
        self, marks: Marks, start: Places, stop: Places, now_ns: Integers, newest: Integers
    ) -> tuple[Rows, Rows]:
        """Return the same where pieces ``start`` to ``stop`` - 1 were retransmitted or SACKed: check each piece."""
        piece, begin, count = _ranges(start, stop)
        karn = np.minimum.reduceat(marks.again_ns[piece], begin) <= now_ns
        still = marks.sacked[piece] > np.repeat(newest, count)
        first = np.minimum.reduceat(np.where(still, piece, len(self.row)), begin)
        last = np.maximum.reduceat(np.where(still, piece, NONE), begin)
        none = karn | (last == NONE)
        first[none] = last[none] = 0
        return np.where(none, np.int32(NONE), self.row[first]), np.where(none, np.int32(NONE), self.row[last])


def _sacked(
    blocks: Blocks, sent: Departures, came: Arrivals, start: Integers, end: Integers, first: Places
) -> tuple[Rows, bool]:
    """Return the arrival that first SACKed each piece, and whether a block covers data that had not left yet."""
    acked = np.maximum.accumulate(np.maximum(came.ack, keys(came.life, 0)))
    # A duplicate SACK (RFC 2883) lies below: the segment is already acknowledged.
    low = np.searchsorted(start, np.maximum(blocks.left, acked[blocks.arrival]))
    high = np.searchsorted(end, blocks.right, side="right")
    some = np.flatnonzero(low < high)
    early = some[sent.time_ns[first[high[some] - 1]] > came.time_ns[blocks.arrival[some]]]
    if len(early):
        # Data that has not left yet cannot be SACKed (tcp_is_sackblock_valid()).
        at = blocks.arrival[early]
        high[early] = np.minimum(high[early], _left_by(sent, first, came.life[at], came.time_ns[at]))
    return earliest_cover(low, high, blocks.arrival.astype(np.int32), len(start)), len(early) > 0


def _left_by(sent: Departures, first: Places, life: Rows, time_ns: Integers) -> Places:
    """Return how many pieces, of all lives up to each of ``life``, had left by ``time_ns``."""
    pieces = len(first)
    lives = np.concatenate((sent.life[first], life))
    times = np.concatenate((sent.time_ns[first], time_ns))
    asked = np.arange(len(lives)) >= pieces
    order = np.lexsort((asked, times, lives))
    passed = np.cumsum(~asked[order])
    count = np.empty(len(life), dtype=np.intp)
    count[order[asked[order]] - pieces] = passed[asked[order]]
    return count


def _marks(sacked: Rows, again_ns: Integers, row: Rows, came: Arrivals) -> Marks:
    known = sacked < len(came.row)
    touched = np.zeros(len(row) + 1, dtype=np.int32)
    np.cumsum(known | (again_ns != _NEVER_NS), out=touched[1:])
    sack_first = np.full(len(came.row), NONE, dtype=np.int32)
    sack_last = np.full(len(came.row), NONE, dtype=np.int32)
    piece = np.flatnonzero(known)
    piece = piece[again_ns[piece] > came.time_ns[sacked[piece]]]
    # NumPy keeps the last of several assignments to one place.
    sack_last[sacked[piece]] = row[piece]
    sack_first[sacked[piece[::-1]]] = row[piece[::-1]]
    return Marks(again_ns=again_ns, sacked=sacked, touched=touched, sack_first=sack_first, sack_last=sack_last)


def _ranges(start: Places, stop: Places) -> tuple[Places, Places, Places]:
    """Return all places of the ranges [start, stop) in a row, where each range begins among them, and its length."""
    count = stop - start
    begin = np.cumsum(count) - count
    return np.arange(int(count.sum())) + np.repeat(start - begin, count), begin, count


def _portions(which: Places, count: npt.NDArray[np.intp]) -> list[Places]:
    """Split ``which`` into portions whose ``count`` add up to at most `_AT_ONCE`, or of a single one."""
    if not len(which):
        return []
    portion = (np.cumsum(count) - count) // _AT_ONCE
    return np.split(which, np.flatnonzero(np.diff(portion)) + 1)
