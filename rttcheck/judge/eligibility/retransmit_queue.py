"""A sender's retransmit queue, replayed from the packets: sent, retransmitted, SACKed, acknowledged.

It finds which segments give a sample when an ACK is processed, by the rules of ``tcp_sacktag_write_queue()`` and
``tcp_clean_rtx_queue()`` in net/ipv4/tcp_input.c, the same from 5.10 to 7.3. Which ACKs TCP processes is left to
`Replay`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from rttcheck.judge.eligibility.part import Part

Block = tuple[int, int]

_RETRANSMITTED, _SACKED = 1, 2
_COMPACT_AFTER = 4_096
"""Acknowledged segments are deleted when there are this many."""


@dataclass(frozen=True, slots=True)
class AckEffect:
    """The effect of one ACK on the queue."""

    acknowledged: bool
    """``FLAG_ACKED``: whether the queue lost at least one whole segment; a packet may hold several."""
    parts: int
    """The expected ones of `Part.FIRST`, `Part.SACK` and `Part.LAST`."""
    karn: int
    """The parts that only Karn's rule excludes (RFC 6298, section 3)."""


class RetransmitQueue:
    """Segments in order of their offsets, split and collapsed as in the kernel."""

    def __init__(self, mss: int) -> None:
        """``mss`` is the most payload of a segment in bytes; a larger packet holds several segments."""
        self._mss = mss
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._marks: list[int] = []
        self._sent_ns: list[int] = []
        self._head = 0
        self.una = 0
        """``snd_una``: end of the acknowledged data."""
        self.next = 0
        """``snd_nxt``: end of the sent data."""

    def send(self, start: int, end: int, sent_ns: int) -> None:
        """Add a segment that leaves, for the first time or retransmitted (``__tcp_retransmit_skb()``)."""
        if start < self.next:
            self._retransmit(start, min(end, self.next))
            start = self.next
        if start < end:
            self._starts.append(start)
            self._ends.append(end)
            self._marks.append(0)
            self._sent_ns.append(sent_ns)
            self.next = end

    def sack(self, blocks: Sequence[Block]) -> tuple[bool, bool]:
        """Mark the data in ``blocks``; return whether any newly SACKed segment was sent once, and any retransmitted."""
        once = again = False
        for block in sorted(blocks):
            for at in self._newly_covered(block):
                once |= not self._marks[at] & _RETRANSMITTED
                again |= bool(self._marks[at] & _RETRANSMITTED)
                self._marks[at] |= _SACKED
        return once, again

    def covers_new(self, blocks: Sequence[Block]) -> bool:
        """Return whether ``blocks`` cover a segment that was not SACKed before."""
        return any(self._newly_covered(block) for block in blocks)

    def process_ack(self, ack: int, blocks: Sequence[Block]) -> AckEffect:
        """Process an ACK number that is not below `una`, as ``tcp_ack()`` does."""
        self.una = max(self.una, ack)
        sacked, sacked_again = self.sack(blocks) if blocks else (False, False)
        first, again, left = self._acknowledge()
        parts = karn = 0
        if first and not again:
            parts |= Part.FIRST | Part.LAST
        elif again:
            karn |= Part.FIRST
        if sacked:
            parts |= Part.SACK | Part.LAST
        elif sacked_again:
            karn |= Part.SACK
        return AckEffect(left, parts, karn)

    def would_acknowledge(self, ack: int) -> tuple[int, int | None]:
        """Return how many segments ``ack`` would acknowledge, and when the first that may give a sample left."""
        at, count, sent_ns = self._head, 0, None
        while at < len(self._ends) and self._ends[at] <= ack:
            if not self._marks[at] and sent_ns is None:
                sent_ns = self._sent_ns[at]
            count += 1
            at += 1
        return count, sent_ns

    def _acknowledge(self) -> tuple[bool, bool, bool]:
        """Remove the acknowledged segments as ``tcp_clean_rtx_queue()`` does.

        Returns whether any was sent once and never SACKed, whether any was retransmitted, and whether there was any.
        """
        first = again = left = False
        while self._head < len(self._starts) and self._starts[self._head] < self.una:
            at = self._head
            whole = self._ends[at] <= self.una
            if not whole and not self._trim(at):
                break
            left = True
            if self._marks[at] & _RETRANSMITTED:
                again = True
            elif not self._marks[at] & _SACKED:
                first = True
            if not whole:
                break
            self._head += 1
        if self._head > _COMPACT_AFTER:
            for column in (self._starts, self._ends, self._marks, self._sent_ns):
                del column[: self._head]
            self._head = 0
        return first, again, left

    def _trim(self, at: int) -> bool:
        """Trim a partly acknowledged packet (``tcp_tso_acked()``); return whether a whole segment was acknowledged."""
        length = self._ends[at] - self._starts[at]
        self._starts[at] = self.una
        return -(-length // self._mss) > -(-(self._ends[at] - self.una) // self._mss)

    def _retransmit(self, start: int, end: int) -> None:
        self._cut(start)
        self._cut(end)
        # Acknowledged data is removed before a segment is retransmitted (tcp_trim_head()).
        while self._head < len(self._ends) and self._ends[self._head] <= self.una:
            self._head += 1
        low = bisect_left(self._starts, start, self._head)
        high = bisect_right(self._ends, end, low)
        if low == high:
            return
        if any(mark & _SACKED for mark in self._marks[low:high]):
            # The receiver reneged: all SACK marks are dropped (tcp_timeout_mark_lost()).
            self._marks[self._head :] = [mark & ~_SACKED for mark in self._marks[self._head :]]
        # Small segments are collapsed into one when they are retransmitted (tcp_retrans_try_collapse()).
        self._ends[low] = self._ends[high - 1]
        self._marks[low] |= _RETRANSMITTED
        for column in (self._starts, self._ends, self._marks, self._sent_ns):
            del column[low + 1 : high]

    def _newly_covered(self, block: Block) -> list[int]:
        """Return the segments not SACKed before that a block covers completely (``tcp_match_skb_to_sack()``)."""
        found: list[int] = []
        left, right = block
        # tcp_is_sackblock_valid(): a block that begins below snd_una is a duplicate SACK (RFC 2883).
        if not self.una < left < right <= self.next:
            return found
        at = max(bisect_right(self._starts, left, self._head) - 1, self._head)
        while at < len(self._starts) and self._starts[at] < right:
            start, end = self._starts[at], self._ends[at]
            whole = left <= start and end <= right
            if not whole and end > left and end - start > self._mss:
                whole = self._split(at, left, right)
            if whole and not self._marks[at] & _SACKED:
                found.append(at)
            at += 1
        return found

    def _split(self, at: int, left: int, right: int) -> bool:
        """Split a packet of several segments at a block's edge; return whether the block covers its first piece."""
        start, end = self._starts[at], self._ends[at]
        inside = left <= start
        length = (right if inside else left) - start
        if inside and length < self._mss:
            return False
        length = max(length, self._mss)
        # Whole segments only: round the SACKed part down at a block's end, the rest up at its beginning.
        length = length // self._mss * self._mss if inside else -(-length // self._mss) * self._mss
        if start + length >= end:
            return False
        self._cut(start + length)
        return inside

    def _cut(self, edge: int) -> None:
        at = bisect_right(self._starts, edge, self._head) - 1
        if at < self._head or not self._starts[at] < edge < self._ends[at]:
            return
        for column, value in (
            (self._starts, edge),
            (self._ends, self._ends[at]),
            (self._marks, self._marks[at]),
            (self._sent_ns, self._sent_ns[at]),
        ):
            column.insert(at + 1, value)
        self._ends[at] = edge
