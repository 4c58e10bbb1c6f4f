"""A sender's retransmit queue, redone from what leaves its interface: sent, sent again, SACKed, acknowledged.

It owns which segments give a sample when an ACK is looked at, by the rules of ``tcp_sacktag_write_queue()`` and
``tcp_clean_rtx_queue()`` in net/ipv4/tcp_input.c, the same from 5.10 to 7.3. It sees offsets and times of departure; it
does not know which ACKs TCP looks at, nor what the kernel reported.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from rttcheck.judge.eligibility.part import Part

Block = tuple[int, int]

_AGAIN, _SACKED = 1, 2
_ROOM = 4_096
"""Segments that have left the queue are forgotten by this many at once."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one ACK does to the queue."""

    acknowledged: bool
    """``FLAG_ACKED``: whether at least one segment left the queue or, of several in one packet, a whole one."""
    parts: int
    """`Part.FIRST`, `Part.SACK` and `Part.LAST`, as far as they are due."""
    karn: int
    """What is not due by Karn's rule alone (RFC 6298, section 3)."""


class Queue:
    """Segments in order of their offsets, as the kernel has cut and joined them."""

    def __init__(self, mss: int) -> None:
        """``mss`` is how many bytes one segment may have; a packet of more is several in one."""
        self._mss = mss
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._marks: list[int] = []
        self._sent_ns: list[int] = []
        self._head = 0
        self.una = 0
        """Up to where all is acknowledged."""
        self.next = 0
        """Up to where all was sent."""

    def send(self, start: int, end: int, sent_ns: int) -> None:
        """A segment leaves, for the first time or again (``__tcp_retransmit_skb()``)."""
        if start < self.next:
            self._send_again(start, min(end, self.next))
            start = self.next
        if start < end:
            self._starts.append(start)
            self._ends.append(end)
            self._marks.append(0)
            self._sent_ns.append(sent_ns)
            self.next = end

    def sack(self, blocks: Sequence[Block]) -> tuple[bool, bool]:
        """Mark what ``blocks`` cover; whether any of it is new and was sent once, and whether any was sent again."""
        once = again = False
        for block in sorted(blocks):
            for at in self._news(block):
                once |= not self._marks[at] & _AGAIN
                again |= bool(self._marks[at] & _AGAIN)
                self._marks[at] |= _SACKED
        return once, again

    def has_news(self, blocks: Sequence[Block]) -> bool:
        """Whether ``blocks`` cover anything that was not SACKed yet."""
        return any(self._news(block) for block in blocks)

    def look(self, ack: int, blocks: Sequence[Block]) -> Look:
        """``tcp_ack()`` with an ACK number that is not below `una`."""
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
        return Look(left, parts, karn)

    def until(self, ack: int) -> tuple[int, int | None]:
        """How many segments ``ack`` would acknowledge, and when the first that may give a sample left, if any."""
        at, count, sent_ns = self._head, 0, None
        while at < len(self._ends) and self._ends[at] <= ack:
            if not self._marks[at] and sent_ns is None:
                sent_ns = self._sent_ns[at]
            count += 1
            at += 1
        return count, sent_ns

    def _acknowledge(self) -> tuple[bool, bool, bool]:
        """``tcp_clean_rtx_queue()``: is one sent once and never SACKed among them, one sent again, any at all."""
        first = again = left = False
        while self._head < len(self._starts) and self._starts[self._head] < self.una:
            at = self._head
            whole = self._ends[at] <= self.una
            if not whole and not self._trim(at):
                break
            left = True
            if self._marks[at] & _AGAIN:
                again = True
            elif not self._marks[at] & _SACKED:
                first = True
            if not whole:
                break
            self._head += 1
        if self._head > _ROOM:
            for column in (self._starts, self._ends, self._marks, self._sent_ns):
                del column[: self._head]
            self._head = 0
        return first, again, left

    def _trim(self, at: int) -> bool:
        """``tcp_tso_acked()``: whether at least one of several segments in one packet is acknowledged."""
        length = self._ends[at] - self._starts[at]
        self._starts[at] = self.una
        return -(-length // self._mss) > -(-(self._ends[at] - self.una) // self._mss)

    def _send_again(self, start: int, end: int) -> None:
        self._cut(start)
        self._cut(end)
        # What is acknowledged is cut off before a segment is sent again (tcp_trim_head()).
        while self._head < len(self._ends) and self._ends[self._head] <= self.una:
            self._head += 1
        low = bisect_left(self._starts, start, self._head)
        high = bisect_right(self._ends, end, low)
        if low == high:
            return
        if any(mark & _SACKED for mark in self._marks[low:high]):
            # The receiver broke its promise, so that none of its promises count (tcp_timeout_mark_lost()).
            self._marks[self._head :] = [mark & ~_SACKED for mark in self._marks[self._head :]]
        # Small segments become one when they are sent again (tcp_retrans_try_collapse()).
        self._ends[low] = self._ends[high - 1]
        self._marks[low] |= _AGAIN
        for column in (self._starts, self._ends, self._marks, self._sent_ns):
            del column[low + 1 : high]

    def _news(self, block: Block) -> list[int]:
        """The segments not SACKed yet that a block covers whole (``tcp_match_skb_to_sack()``)."""
        found: list[int] = []
        left, right = block
        # tcp_is_sackblock_valid(): what begins below snd_una says again what is acknowledged (RFC 2883).
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
        """Cut a packet of several segments where a block begins or ends; whether its first piece is covered."""
        start, end = self._starts[at], self._ends[at]
        inside = left <= start
        length = (right if inside else left) - start
        if inside and length < self._mss:
            return False
        length = max(length, self._mss)
        # Whole segments only: less is SACKed at a block's end, more is left out at its beginning.
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
