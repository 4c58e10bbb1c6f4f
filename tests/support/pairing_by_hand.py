"""A reference implementation of pairing: one life, one event, one packet at a time. Slow and simple.

The judge's pairing is compared with it; the two share constants only.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rttcheck.judge.address import address_bytes
from rttcheck.record.event import FLAG_SYN_ACKED
from rttcheck.record.packet import ACK, FIN, RST, SYN, Point

NONE = -1
_NEVER = 1 << 62

Socket = tuple[bytes, int, bytes, int]


@dataclass(slots=True)
class Board:
    """One sender's segments by offset, split by retransmissions and SACK blocks."""

    mss: int
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    again_ns: list[int] = field(default_factory=list)
    sent_ns: list[int] = field(default_factory=list)
    sacked: list[bool] = field(default_factory=list)
    acked: int = 0
    merged: list[tuple[int, int, int]] = field(default_factory=list)
    """Start, end and time of segments that were collapsed from several."""

    def send(self, start: int, end: int, time_ns: int, row: int) -> None:
        newest = self.ends[-1] if self.ends else start
        if start < newest:
            self.cut(start)
            self.cut(min(end, newest))
            for at in range(len(self.starts)):
                if self.starts[at] >= start and self.ends[at] <= end:
                    self.again_ns[at] = min(self.again_ns[at], time_ns)
            end_again = min(end, newest)
            rows = {row for row, at in zip(self.rows, self.starts, strict=True) if start <= at < end_again}
            if len(rows) > 1 and end_again - start <= self.mss:
                self.merged.append((start, end_again, time_ns))
        if end > newest:
            self.starts.append(max(start, newest))
            self.ends.append(end)
            self.rows.append(row)
            self.again_ns.append(_NEVER)
            self.sent_ns.append(time_ns)
            self.sacked.append(False)

    def cut(self, edge: int) -> None:
        at = bisect_right(self.starts, edge) - 1
        if at < 0 or not self.starts[at] < edge < self.ends[at]:
            return
        self.starts.insert(at + 1, edge)
        self.ends.insert(at, edge)
        self.sacked.insert(at, self.sacked[at])
        for column in (self.rows, self.again_ns, self.sent_ns):
            column.insert(at, column[at])

    def cut_to_segments(self, edges: set[int]) -> None:
        for edge in sorted(edges):
            at = bisect_right(self.starts, edge) - 1
            if at >= 0 and self.ends[at] - self.starts[at] > self.mss:
                self.cut(edge)

    def arrive(self, ack: int, blocks: list[tuple[int, int]], time_ns: int) -> tuple[int, int]:
        first = last = NONE
        self.acked = max(self.acked, ack)
        for left, right in sorted(blocks):
            for at in range(bisect_left(self.starts, max(left, self.acked)), len(self.starts)):
                if self.ends[at] > right or self.sent_ns[at] > time_ns:
                    break
                if not self.sacked[at] and self.again_ns[at] > time_ns:
                    first = self.rows[at] if first == NONE else first
                    last = self.rows[at]
                self.sacked[at] = True
        return first, last

    def acknowledged(self, before: int, una: int, now_ns: int) -> tuple[int, int]:
        first = last = NONE
        if una <= before:
            return first, last
        half = [start for start, end, time_ns in self.merged if start < una < end and time_ns <= now_ns]
        una = min([una, *half])
        for at in range(bisect_right(self.ends, before), len(self.starts)):
            if self.starts[at] >= una or (self.ends[at] > una and self.ends[at] - self.starts[at] <= self.mss):
                break
            if self.again_ns[at] <= now_ns:
                return NONE, NONE
            if not self.sacked[at]:
                first = self.rows[at] if first == NONE else first
                last = self.rows[at]
        return first, last


def pair_by_hand(events: np.ndarray, wire: np.ndarray, flows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return lists under the field names of `Pairs`."""
    known = {socket for flow in flows for socket in _both(flow["client"], flow["server"])}
    names = ("ack", "first", "last", "sack", "echoed")
    found: dict[str, Any] = {name: [NONE] * len(events) for name in names}
    found["known"], found["unreported"] = [False] * len(events), []
    packets: dict[Socket, list[int]] = {}
    for row in np.argsort(wire["time_ns"], kind="stable").tolist():
        if wire["point"][row] in (Point.CLIENT, Point.SERVER):
            socket = _socket(wire[row], "src", "dst", "sport", "dport")
            socket = socket if wire["outgoing"][row] else (*socket[2:], *socket[:2])
            if socket in known:
                packets.setdefault(socket, []).append(row)
    calls: dict[Socket, list[int]] = {}
    for event in np.argsort(events["timestamp_ns"], kind="stable").tolist():
        calls.setdefault(_socket(events[event], "saddr", "daddr", "sport", "dport"), []).append(event)
    for socket in packets:
        lives = _lives(wire, packets[socket])
        begun = [int(wire["time_ns"][life[0]]) for life in lives]
        for number, life in enumerate(lives):
            mine = [
                event
                for event in calls.get(socket, [])
                if bisect_right(begun, int(events["timestamp_ns"][event])) - 1 == number
            ]
            for event in mine:
                found["known"][event] = True
            _life(events, wire, life, mine, found)
    if not any(found["known"]):
        found["unreported"] = []
    found["unreported"].sort()
    return found


def _both(client: Any, server: Any) -> tuple[Socket, Socket]:
    one, other = ((address_bytes(str(host)), int(port)) for host, port in (client, server))
    return (*one, *other), (*other, *one)


def _socket(row: np.void, own: str, peer: str, own_port: str, peer_port: str) -> Socket:
    return row[own].tobytes(), int(row[own_port]), row[peer].tobytes(), int(row[peer_port])


def _lives(wire: np.ndarray, rows: list[int]) -> list[list[int]]:
    lives: list[list[int]] = [[]]
    number: int | None = None
    for row in rows:
        if wire["flags"][row] & (SYN | ACK) == SYN:
            if number is not None and number != int(wire["seq"][row]):
                lives.append([])
            number = int(wire["seq"][row])
        lives[-1].append(row)
    return lives


def _life(events: np.ndarray, wire: np.ndarray, rows: list[int], mine: list[int], found: dict[str, Any]) -> None:
    initial = _initial(wire, rows)
    left = [row for row in rows if wire["outgoing"][row]]
    came = [row for row in rows if not wire["outgoing"][row]]
    came = [row for row in came if wire["flags"][row] & (ACK | RST) == ACK]
    start = _offsets([int(wire["seq"][row]) for row in left], initial)
    acked = _offsets([int(wire["ack"][row]) for row in came], initial)
    una = _offsets([int(events["snd_una"][event]) for event in mine], initial)
    now = [_now(events[event]) for event in mine]
    times = [int(wire["time_ns"][row]) for row in came]
    at = []
    for number, now_ns in zip(una, now, strict=True):
        same = [place for place, ack in enumerate(acked) if ack == number and times[place] <= now_ns]
        at.append(same[-1] if same else NONE)
    _one_each(at, una, acked)
    board = Board(max((int(events["mss_cache"][event]) for event in mine), default=1 << 40))
    for row, offset in zip(left, start, strict=True):
        length = int(wire["payload"][row]) + bool(wire["flags"][row] & (SYN | FIN))
        if length:
            board.send(offset, offset + length, int(wire["time_ns"][row]), row)
    blocks = [_blocks(wire[row], ack) for row, ack in zip(came, acked, strict=True)]
    _drop_old(wire, came, acked, blocks)
    board.cut_to_segments({edge for several in blocks for block in several for edge in block})
    done = 0
    for place, event in enumerate(mine):
        sacked = (NONE, NONE)
        while done <= at[place]:
            newly = board.arrive(acked[done], blocks[done], times[done])
            sacked = newly if done == at[place] else (NONE, NONE)
            done += 1
        opening = 0 if events["flag"][event] & FLAG_SYN_ACKED else 1
        first, last = board.acknowledged(una[place - 1] if place else opening, una[place], now[place])
        if at[place] == NONE:
            continue
        found["ack"][event] = came[at[place]]
        found["first"][event], found["sack"][event] = first, sacked[0]
        found["last"][event] = last if sacked[1] == NONE else sacked[1]
        _echo(events[event], event, wire, left, came[at[place]], found)
    highest = 0
    for place, ack in enumerate(acked):
        if place and ack > highest and ack not in {acked[one] for one in at if one != NONE}:
            found["unreported"].append(came[place])
        highest = max(highest, ack)


def _echo(event: np.void, place: int, wire: np.ndarray, left: list[int], ack: int, found: dict[str, Any]) -> None:
    if event["taken"] and event["first_rtt_us"] < 0 and event["sack_rtt_us"] < 0:
        carried = [row for row in left if wire["has_ts"][row] and wire["tsval"][row] == wire["tsecr"][ack]]
        if carried:
            found["echoed"][place] = carried[0]


def _one_each(at: list[int], una: list[int], acked: list[int]) -> None:
    """Assign backwards: each event has the last arrival of its number before the next event's, one each per number.

    Events without one left keep theirs, and count as having the first of their number.
    """
    had = at.copy()
    rank = limit = 0
    for event in range(len(at) - 1, -1, -1):
        if had[event] == NONE:
            continue
        same = [place for place, ack in enumerate(acked) if ack == una[event]]
        last = event + 1 == len(at) or had[event + 1] == NONE
        if not last and una[event] == una[event + 1]:
            rank = min(rank - 1, same.index(had[event]))
        elif last or had[event] < limit:
            rank = same.index(had[event])
        else:
            rank = sum(one < limit for one in same) - 1
        limit = same[max(rank, 0)]
        if rank >= 0:
            at[event] = same[rank]


def _initial(wire: np.ndarray, rows: list[int]) -> int:
    left = [row for row in rows if wire["outgoing"][row]]
    for row in left:
        if wire["flags"][row] & SYN:
            return int(wire["seq"][row])
    if left:
        return int(wire["seq"][left[0]]) - 1
    acks = [row for row in rows if wire["flags"][row] & ACK]
    return int(wire["ack"][acks[0]]) - 1 if acks else 0


def _offsets(numbers: list[int], initial: int) -> list[int]:
    offsets: list[int] = []
    for number in numbers:
        before = offsets[-1] if offsets else 0
        offsets.append(before + _signed(number - initial - before))
    return offsets


def _drop_old(wire: np.ndarray, came: list[int], acked: list[int], blocks: list[list[tuple[int, int]]]) -> None:
    """Drop old ACKs with an old timestamp (``tcp_paws_discard()``), with their SACK blocks."""
    newest, highest = 0, 0
    for place, row in enumerate(came):
        since = _signed(int(wire["tsval"][row]) - int(wire["tsval"][came[0]]))
        newest, highest = max(newest, since), max(highest, acked[place])
        if wire["has_ts"][row] and since + 1 < newest and acked[place] < highest:
            blocks[place] = []


def _signed(number: int) -> int:
    return (number + 2**31) % 2**32 - 2**31


def _now(event: np.void) -> int:
    done = int(event["timestamp_ns"])
    return min(int(event["tcp_mstamp_us"]) * 1_000 + 999, done) if event["tcp_mstamp_us"] else done


def _blocks(packet: np.void, acked: int) -> list[tuple[int, int]]:
    edges = [
        (acked + _signed(int(left) - int(packet["ack"])), acked + _signed(int(right) - int(packet["ack"])))
        for left, right in packet["sack"][: int(packet["sack_blocks"])].tolist()
    ]
    return [(left, right) for left, right in edges if left < right]
