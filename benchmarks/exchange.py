"""One connection over a link that loses, delays, doubles and reorders, with both ends working as the kernel does.

It owns what leaves and arrives when, and which departures give each ACK its samples, by the kernel's own way of finding
them: a queue of segments with marks on them (``tcp_clean_rtx_queue()``, ``tcp_sacktag_write_queue()``). It does not
know how a judge finds the same, nor what packets look like in a capture.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from random import Random

from rttcheck.record.event import FLAG_DATA_ACKED, FLAG_RETRANS_DATA_ACKED

NONE = -1
NEWS_NS = 3_000
"""From an ACK's arrival to the kernel's looking at it."""
ANSWER_NS = 6_000
"""From a packet's arrival to what leaves because of it."""
APART_NS = 500
_DELAYED_ACK_NS = 40_000_000
_REORDERING = 3
"""Segments that must have come beyond one before it is sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the two ends do and what the link does to them. Times in microseconds."""

    writes: int
    """Writes of the client."""
    write: int = 1
    """Bytes a write."""
    answer: int = 0
    """Bytes that the server writes for each write that came whole; the client waits for them."""
    window: int = 1
    """Writes on their way at once."""
    every: int = 1
    """Packets that one ACK answers."""
    mss: int = 1_448
    split: bool = False
    """Whether the link cuts packets of several segments into their segments."""
    delay_us: int = 5_000
    jitter_us: int = 0
    loss: float = 0.0
    double: float = 0.0
    busy: float = 0.0
    """How often an ACK finds that a thread owns the socket, so that it and those after it wait in the backlog."""
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet at the interface of one side (0 the client's, 1 the server's). Offsets count from 1 a direction."""

    side: int
    outgoing: bool
    time_ns: int
    seq: int
    payload: int
    ack: int
    blocks: tuple[tuple[int, int], ...]
    tsval: int
    tsecr: int
    due_ns: int
    """When it would have come without a packet before it: it waits for those. When it left, if it is outgoing."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One call of ``tcp_ack_update_rtt()`` with the places of its packets, `NONE` for none; microseconds."""

    side: int
    now_ns: int
    una: int
    flag: int
    ack: int
    first: int
    last: int
    sack: int
    first_us: int
    last_us: int
    sack_us: int
    coarse_us: int
    next: int
    """``snd_nxt``."""
    delivered: int
    """Segments acknowledged or SACKed up to now."""


@dataclass(slots=True)
class _Queued:
    """A segment, or several in one, that is not acknowledged yet."""

    start: int
    end: int
    sent_ns: int
    place: int
    again: bool = False
    sacked: bool = False
    lost: bool = False


@dataclass(slots=True)
class _Flying:
    start: int
    end: int
    ack: int
    blocks: tuple[tuple[int, int], ...]
    tsval: int
    tsecr: int
    due_ns: int


@dataclass(slots=True)
class _End:
    side: int
    una: int = 1
    next: int = 1
    queue: list[_Queued] = field(default_factory=list)
    free_ns: int = 0
    progress_ns: int = 0
    received: int = 1
    early: list[tuple[int, int]] = field(default_factory=list)
    """What came beyond a hole, the latest first."""
    unanswered: int = 0
    unanswered_since: int = 0
    echo: int = 0
    newest: int = 0
    """The largest timestamp that came."""
    backlog: list[tuple[int, _Flying]] = field(default_factory=list)
    owned_ns: int = 0
    """Until then a thread owns the socket."""
    delivered: int = 0


class Exchange:
    """Runs one connection from its first write until all is acknowledged and nothing is on its way."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.packets: list[Packet] = []
        self.seen: list[Seen] = []
        self._random = Random(traffic.seed)
        self._ends = (_End(0), _End(1))
        self._order = count()
        self._due: list[tuple[int, int, int, _Flying | None]] = []
        self._written = self._answered = 0
        self._timeout_ns = 4 * (traffic.delay_us + traffic.jitter_us) * 1_000 + 2 * _DELAYED_ACK_NS

    def run(self) -> Exchange:
        """Let it happen."""
        self._write(1_000_000)
        while self._due:
            time_ns, order, side, flying = heapq.heappop(self._due)
            end = self._ends[side]
            if flying is None:
                self._alarm(end, time_ns)
            elif time_ns < end.free_ns:
                heapq.heappush(self._due, (end.free_ns, order, side, flying))
            else:
                self._arrive(end, time_ns, flying)
        return self

    @property
    def lasted_ns(self) -> int:
        """From 0 to the last thing that happened."""
        return max(end.free_ns for end in self._ends)

    @property
    def sent(self) -> tuple[int, int]:
        """Bytes that went each way."""
        return self._ends[0].una - 1, self._ends[1].una - 1

    @property
    def delivered(self) -> tuple[int, int]:
        """Segments that went each way."""
        return self._ends[0].delivered, self._ends[1].delivered

    def _push(self, time_ns: int, side: int, flying: _Flying | None) -> None:
        heapq.heappush(self._due, (time_ns, next(self._order), side, flying))

    def _write(self, now_ns: int) -> None:
        """The client writes while its window has room and it waits for no answer."""
        traffic, end = self.traffic, self._ends[0]
        while self._written < traffic.writes:
            if end.next - end.una >= traffic.window * traffic.write:
                break
            if traffic.answer and self._ends[0].received < 1 + self._written * traffic.answer:
                break
            self._written += 1
            now_ns = self._send_new(end, now_ns, traffic.write)

    def _send_new(self, end: _End, now_ns: int, length: int) -> int:
        queued = _Queued(end.next, end.next + length, 0, 0)
        end.next += length
        if not end.queue:
            end.progress_ns = now_ns
        end.queue.append(queued)
        queued.sent_ns, queued.place = self._leave(end, now_ns, queued.start, queued.end)
        self._push(queued.sent_ns + self._timeout_ns, end.side, None)
        return queued.sent_ns + APART_NS

    def _leave(self, end: _End, now_ns: int, start: int, stop: int, *first: tuple[int, int]) -> tuple[int, int]:
        """One packet leaves with all that is to be said; ``first`` is what came twice. When and at which place."""
        now_ns = max(now_ns, end.free_ns)
        blocks = (*first, *end.early)[:3]
        stamp = now_ns // 1_000_000
        self.packets.append(
            Packet(end.side, True, now_ns, start, stop - start, end.received, blocks, stamp, end.echo, now_ns)
        )
        end.free_ns, end.unanswered = now_ns + APART_NS, 0
        traffic, random = self.traffic, self._random
        step = traffic.mss if traffic.split and stop > start else max(stop - start, 1)
        for at in range(start, max(stop, start + 1), step):
            for _ in range(2 if random.random() < traffic.double else 1):
                if random.random() >= traffic.loss:
                    late = random.randrange(2 * traffic.jitter_us * 1_000) if traffic.jitter_us else 0
                    due_ns = now_ns + traffic.delay_us * 1_000 + late
                    piece = _Flying(at, min(at + step, stop), end.received, blocks, stamp, end.echo, due_ns)
                    self._push(due_ns, 1 - end.side, piece)
        return now_ns, len(self.packets) - 1

    def _arrive(self, end: _End, now_ns: int, flying: _Flying) -> None:
        self.packets.append(
            Packet(
                end.side, False, now_ns, flying.start, flying.end - flying.start, flying.ack, flying.blocks,
                flying.tsval, flying.tsecr, flying.due_ns,
            )
        )  # fmt: skip
        end.free_ns = now_ns + ANSWER_NS
        if self.traffic.busy and not end.backlog and self._random.random() < self.traffic.busy:
            end.owned_ns = now_ns + self._random.randrange(40 * self.traffic.delay_us)
            self._push(end.owned_ns, end.side, None)
        if end.owned_ns > now_ns:
            end.backlog.append((len(self.packets) - 1, flying))
        else:
            self._take(end, now_ns, len(self.packets) - 1, flying)

    def _take(self, end: _End, now_ns: int, place: int, flying: _Flying) -> None:
        """``tcp_v4_do_rcv()``: of a packet that came just now, or that waited."""
        end.free_ns = max(end.free_ns, now_ns + ANSWER_NS)
        if flying.ack < end.una and flying.tsval + 1 < end.newest:
            return  # of the past (tcp_paws_discard())
        end.newest = max(end.newest, flying.tsval)
        if flying.start <= end.received:
            end.echo = flying.tsval
        self._acknowledge(end, now_ns, flying, place)
        if flying.end > flying.start:
            self._receive(end, now_ns + ANSWER_NS, flying)
        for queued in self._lost(end):
            self._again(end, now_ns + ANSWER_NS, queued)
        self._write(max(now_ns + ANSWER_NS, self._ends[0].free_ns))

    def _acknowledge(self, end: _End, now_ns: int, flying: _Flying, place: int) -> None:
        """``tcp_ack()``: marks what is SACKed, takes away what is acknowledged, and looks at the clock."""
        outstanding, una = bool(end.queue), end.una
        if una <= flying.ack <= end.next:
            end.una = flying.ack
        newly = [queued for queued in self._newly_sacked(end, flying.blocks) if not queued.again]
        if not outstanding or flying.ack < una:
            return
        samples, karn, any_ = self._cleaned(end)
        if karn:
            samples = []
        if any_ or newly:
            end.progress_ns = now_ns
        looked_us = (now_ns + NEWS_NS) // 1_000
        first, last, sack = (_us(looked_us, found) for found in (samples[:1], newly[-1:] or samples[-1:], newly[:1]))
        coarse = max(now_ns // 1_000_000 - flying.tsecr, 1) * 1_000 if first < 0 and sack < 0 and any_ else -1
        flag = FLAG_DATA_ACKED * any_ | FLAG_RETRANS_DATA_ACKED * karn
        places = (_place(samples[:1]), _place(newly[-1:] or samples[-1:]), _place(newly[:1]))
        self.seen.append(
            Seen(
                end.side, now_ns + NEWS_NS, end.una, flag, place, *places, first, last, sack, coarse, end.next,
                end.delivered,
            )
        )  # fmt: skip

    def _newly_sacked(self, end: _End, blocks: tuple[tuple[int, int], ...]) -> Iterator[_Queued]:
        for left, right in sorted(blocks):
            if left <= end.una:
                continue
            for edge in (left, right):
                self._cut(end, edge)
            for queued in end.queue:
                if queued.start >= left and queued.end <= right and not queued.sacked:
                    queued.sacked, queued.lost = True, False
                    end.delivered += 1
                    yield queued

    def _cut(self, end: _End, edge: int) -> None:
        """``tcp_fragment()``: a packet of several segments becomes two, both with its stamp."""
        for at, queued in enumerate(end.queue):
            if queued.start < edge < queued.end and queued.end - queued.start > self.traffic.mss:
                rest = _Queued(edge, queued.end, queued.sent_ns, queued.place, queued.again, queued.sacked)
                queued.end = edge
                end.queue.insert(at + 1, rest)
                return

    def _cleaned(self, end: _End) -> tuple[list[_Queued], bool, bool]:
        """``tcp_clean_rtx_queue()``: those that give a sample, whether one was sent again, whether there was any."""
        samples, karn, done = [], False, 0
        any_ = False
        for queued in end.queue:
            if queued.start >= end.una:
                break
            if queued.end > end.una and queued.end - queued.start <= self.traffic.mss:
                break
            any_ = True
            end.delivered += not queued.sacked
            karn |= queued.again
            if not queued.again and not queued.sacked:
                samples.append(queued)
            if queued.end > end.una:
                rest = _Queued(end.una, queued.end, queued.sent_ns, queued.place, queued.again, queued.sacked)
                end.queue[done] = rest
                break
            done += 1
        del end.queue[:done]
        return samples, karn, any_

    def _lost(self, end: _End) -> list[_Queued]:
        """Segments with enough beyond them that came, each once."""
        beyond, lost = 0, []
        for queued in reversed(end.queue):
            if queued.sacked:
                beyond += 1
            elif beyond >= _REORDERING and not queued.lost:
                lost.append(queued)
        return lost[::-1]

    def _again(self, end: _End, now_ns: int, queued: _Queued) -> None:
        """``tcp_retransmit_skb()``: of several segments in one packet the first alone."""
        if queued.end - queued.start > self.traffic.mss:
            self._cut(end, queued.start + self.traffic.mss)
        queued.lost = queued.again = True
        sent_ns, _ = self._leave(end, now_ns, queued.start, queued.end)
        self._push(sent_ns + self._timeout_ns, end.side, None)

    def _alarm(self, end: _End, now_ns: int) -> None:
        """Timers are not taken away when they are no longer needed: those that find nothing to do are nothing."""
        if end.owned_ns > now_ns:
            self._push(end.owned_ns, end.side, None)
            return
        backlog, end.backlog = end.backlog, []
        for place, flying in backlog:
            now_ns = max(now_ns, end.free_ns)
            self._take(end, now_ns, place, flying)
        if end.queue and now_ns - end.progress_ns >= self._timeout_ns:
            end.progress_ns = now_ns
            for queued in end.queue:
                queued.lost = False
            self._again(end, now_ns, next(queued for queued in end.queue if not queued.sacked))
        elif end.queue:
            self._push(end.progress_ns + self._timeout_ns, end.side, None)
        if end.unanswered and now_ns - end.unanswered_since >= _DELAYED_ACK_NS:
            self._leave(end, now_ns, end.next, end.next)

    def _receive(self, end: _End, now_ns: int, flying: _Flying) -> None:
        if flying.end <= end.received or any(left <= flying.start and flying.end <= right for left, right in end.early):
            self._leave(end, now_ns, end.next, end.next, (flying.start, flying.end))
            return
        holes = bool(end.early)
        start, stop = max(flying.start, end.received), flying.end
        for block in [block for block in end.early if block[0] <= stop and start <= block[1]]:
            end.early.remove(block)
            start, stop = min(start, block[0]), max(stop, block[1])
        if start == end.received:
            end.received = stop
        else:
            end.early.insert(0, (start, stop))
        if end.side and self.traffic.answer:
            whole = (end.received - 1) // self.traffic.write
            for _ in range(whole - self._answered):
                now_ns = self._send_new(end, now_ns, self.traffic.answer)
            if whole > self._answered:
                self._answered = whole
                return
        elif self.traffic.answer and not holes and not end.early and self._written < self.traffic.writes:
            return  # The next write carries the ACK.
        if not end.unanswered:
            end.unanswered_since = now_ns
            self._push(now_ns + _DELAYED_ACK_NS, end.side, None)
        end.unanswered += 1
        if holes or end.early or end.unanswered >= self.traffic.every:
            self._leave(end, now_ns, end.next, end.next)


def _us(looked_us: int, found: list[_Queued]) -> int:
    """Both stamps are cut to microseconds; a segment is stamped just before it passes the interface."""
    return looked_us - (found[0].sent_ns - APART_NS) // 1_000 if found else -1


def _place(found: list[_Queued]) -> int:
    return found[0].place if found else NONE
