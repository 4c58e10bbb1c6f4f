"""A sender's memory of one connection, redone from its wire: which segments were sent again, SACKed, acknowledged.

It owns the rules by which the kernel picks the segments that give a sample, where retransmissions and SACK blocks make
them more than arithmetic. It sees offsets and rows, no times of the kernel's and no samples.

Sources: net/ipv4/tcp_input.c, ``tcp_clean_rtx_queue()``, ``tcp_sacktag_one()``, ``tcp_match_skb_to_sack()`` (the same
rules from 5.10 to 7.3).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

NONE = -1
_NEVER = 1 << 62


@dataclass(frozen=True, slots=True)
class Segment:
    """One departure: offsets [start, end) at a time; ``row`` names it to the caller."""

    start: int
    end: int
    time_ns: int
    row: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """One ACK that came in, with its SACK blocks as offsets."""

    ack: int
    blocks: tuple[tuple[int, int], ...]
    time_ns: int


@dataclass(slots=True)
class Scoreboard:
    """Segments by offset, in as many pieces as retransmissions and SACK blocks cut them into."""

    mss: int
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    again_ns: list[int] = field(default_factory=list)
    """When first sent again."""
    sent_ns: list[int] = field(default_factory=list)
    _next: list[int] = field(default_factory=list)
    """The piece itself or, once SACKed, one after it: what is skipped over is never looked at again."""
    _acked: int = 0

    @classmethod
    def of(cls, segments: Iterable[Segment], arrivals: Sequence[Arrival], mss: int) -> Scoreboard:
        """From all departures, in order; ``mss`` is how long a segment may be without being several in one."""
        board = cls(mss)
        for segment in segments:
            board._send(segment)
        for edge in sorted({edge for arrival in arrivals for block in arrival.blocks for edge in block}):
            at = bisect_right(board.starts, edge) - 1
            # Only a packet of several segments is SACKed in part.
            if at >= 0 and board.ends[at] - board.starts[at] > mss:
                board._cut(edge)
        board._next = list(range(len(board.starts) + 1))
        return board

    def arrive(self, arrival: Arrival) -> tuple[int, int]:
        """Mark what the ACK's blocks cover; rows of the first and last newly SACKed segment never sent again."""
        first = last = NONE
        self._acked = max(self._acked, arrival.ack)
        for left, right in sorted(arrival.blocks):
            # Below is what a duplicate SACK (RFC 2883) says again: the segment is acknowledged already.
            at = self._unsacked(bisect_left(self.starts, max(left, self._acked)))
            # What has not left yet cannot have come (tcp_is_sackblock_valid()).
            while at < len(self.starts) and self.ends[at] <= right and self.sent_ns[at] <= arrival.time_ns:
                if self.again_ns[at] > arrival.time_ns:
                    first = self.rows[at] if first == NONE else first
                    last = self.rows[at]
                self._next[at] = at + 1
                at = self._unsacked(at + 1)
        return first, last

    def acknowledged(self, before: int, una: int, now_ns: int) -> tuple[int, int]:
        """Rows of the first and last segment that give a sample when ``snd_una`` goes from ``before`` to ``una``.

        Both `NONE` by Karn's rule if any of them was sent again by ``now_ns``; SACKed ones give none.
        """
        first = last = NONE
        at = bisect_right(self.ends, before)
        while at < len(self.starts) and self.starts[at] < una:
            several = self.ends[at] - self.starts[at] > self.mss
            if self.ends[at] > una and not several:
                break
            if self.again_ns[at] <= now_ns:
                return NONE, NONE
            if self._next[at] == at:
                first = self.rows[at] if first == NONE else first
                last = self.rows[at]
            at += 1
        return first, last

    def _unsacked(self, at: int) -> int:
        """The first piece from ``at`` on that is not SACKed, with the way there made short."""
        end = at
        while self._next[end] != end:
            end = self._next[end]
        while self._next[at] != end and at != end:
            self._next[at], at = end, self._next[at]
        return end

    def _send(self, segment: Segment) -> None:
        newest = self.ends[-1] if self.ends else segment.start
        if segment.start < newest:
            self._cut(segment.start)
            self._cut(min(segment.end, newest))
            at = bisect_left(self.starts, segment.start)
            while at < len(self.starts) and self.ends[at] <= segment.end:
                self.again_ns[at] = min(self.again_ns[at], segment.time_ns)
                at += 1
        if segment.end > newest:
            self.starts.append(max(segment.start, newest))
            self.ends.append(segment.end)
            self.rows.append(segment.row)
            self.again_ns.append(_NEVER)
            self.sent_ns.append(segment.time_ns)

    def _cut(self, edge: int) -> None:
        """Make ``edge`` a border between two pieces of one departure."""
        at = bisect_right(self.starts, edge) - 1
        if at < 0 or not self.starts[at] < edge < self.ends[at]:
            return
        self.starts.insert(at + 1, edge)
        self.ends.insert(at, edge)
        self.rows.insert(at, self.rows[at])
        self.again_ns.insert(at, self.again_ns[at])
        self.sent_ns.insert(at, self.sent_ns[at])
