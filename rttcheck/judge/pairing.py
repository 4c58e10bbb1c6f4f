"""Each event of the probe with the packets behind it: the ACK that caused it and the segments that this ACK answers.

It owns who belongs to whom, by socket and sequence number, at the end whose socket it is. It compares no times of the
kernel's with the wire's; what finds no partner is said, never dropped.

Whole arrays at a time; only connections with retransmissions or SACK blocks are walked through, packet by packet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rttcheck.collect.probe.layout import FLAG_SYN_ACKED, Hook
from rttcheck.collect.wire import layout
from rttcheck.collect.wire.layout import Point
from rttcheck.judge.advance import OFFSET_BITS, advance
from rttcheck.judge.scoreboard import NONE, Arrival, Scoreboard, Segment
from rttcheck.judge.sockets import NOBODY, Integers, Sockets, unwrapped

Booleans = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """One entry an event; rows of the wire table, `NONE` (-1) where there is none."""

    ack: Rows
    """The ACK behind the event: the last that came in before it with its ``snd_una`` and is no later event's."""
    first: Rows
    """Departure of the first newly acknowledged segment that may give a sample."""
    last: Rows
    """Departure of the last such segment, or of the last newly SACKed one where there is one."""
    sack: Rows
    """Departure of the first newly SACKed segment that may give a sample."""
    echoed_first: Rows
    """For samples from timestamps: first departure that carried the timestamp which the ACK echoes."""
    echoed_last: Rows
    orphans: Rows
    """ACKs of new data that no event belongs to."""
    known: Booleans
    """Whether the event's socket is one of the recording's connections, with packets on the wire."""


@dataclass(slots=True)
class _Half:
    """Packets of one direction at the ends, by life of a socket, then by time."""

    row: Rows
    life: Rows
    time_ns: Integers
    begins: Booleans


def pair(events: np.ndarray, wire: np.ndarray, flows: Sequence[Mapping[str, Any]]) -> Pairs:
    """Pair ``events`` (dtype ``EVENT``) with ``wire`` (dtype ``WIRE``); ``flows`` are the recording's connections."""
    none = [np.full(len(events), NONE, dtype=np.int32) for _ in range(6)]
    ack, first, last, sack, echoed_first, echoed_last = none
    known = np.zeros(len(events), dtype=np.bool_)
    pairs = Pairs(
        ack=ack, first=first, last=last, sack=sack, echoed_first=echoed_first, echoed_last=echoed_last,
        orphans=np.zeros(0, dtype=np.int32), known=known,
    )  # fmt: skip
    sockets = Sockets(flows)
    ends = _ends(wire, sockets)
    if not len(ends.row) or not len(events):
        return pairs
    initial = _initial_sequence(wire, ends)
    out, back = _halves(wire, ends)
    life, order = _lives_of(events, sockets, ends)
    known[:] = life != NOBODY
    order = order[known[order]]
    if not len(order):
        return pairs
    life_e = life[order]
    begins = np.append(True, life_e[1:] != life_e[:-1])
    una = unwrapped(events["snd_una"][order], begins, initial[life_e])
    acked = unwrapped(wire["ack"][back.row], back.begins, initial[back.life])
    now_ns = _now_ns(events)[order]
    at = _latest(life_e, una, now_ns, back, acked)
    if (events["hook"] == Hook.SOCKOPS).any() and len(back.row):  # not an event each ACK
        at, before = advance(life_e, una, at, back.life, acked, wire["sack_blocks"][back.row])
    else:
        at = _one_each(at, life_e, una, back, acked)
        before = _before(una, begins, (events["flag"][order] & FLAG_SYN_ACKED) != 0)
    found = at != NONE
    ack[order[found]] = back.row[at[found]]
    start = unwrapped(wire["seq"][out.row], out.begins, initial[out.life])
    length = wire["payload"][out.row] + ((wire["flags"][out.row] & (layout.SYN | layout.FIN)) != 0)
    sends = length > 0
    segments = _Half(out.row[sends], out.life[sends], out.time_ns[sends], out.begins[sends])
    start = start[sends]
    end = start + length[sends]
    troubled = _troubled(wire, len(initial), segments, start, end, back)
    calm = ~troubled[life_e]
    _in_order(pairs, order[calm], life_e[calm], before[calm], una[calm], events, segments, start, end)
    _walk(
        pairs,
        troubled,
        order,
        life_e,
        before,
        una,
        at,
        now_ns,
        events,
        wire,
        segments,
        start,
        end,
        back,
        acked,
    )
    first[ack == NONE] = last[ack == NONE] = NONE
    _echoes(pairs, events, wire, order, life_e, out)
    return Pairs(
        ack=ack, first=first, last=last, sack=sack, echoed_first=echoed_first, echoed_last=echoed_last,
        orphans=_orphans(back, acked, at), known=known,
    )  # fmt: skip


@dataclass(slots=True)
class _Ends:
    """Packets at the ends, by socket, then by time, with the life of the socket that each belongs to."""

    row: Rows
    socket: Rows
    life: Rows
    begun_socket: Rows
    begun_ns: Integers


def _ends(wire: np.ndarray, sockets: Sockets) -> _Ends:
    """A socket's addresses may be used again: a SYN with another number begins another life."""
    row = np.flatnonzero((wire["point"] == Point.CLIENT) | (wire["point"] == Point.SERVER)).astype(np.int32)
    mine = wire["outgoing"][row] != 0
    socket = np.full(len(row), NOBODY, dtype=np.int32)
    for chosen, own, peer, own_port, peer_port in (
        (mine, "src", "dst", "sport", "dport"),
        (~mine, "dst", "src", "dport", "sport"),
    ):
        at = row[chosen]
        socket[chosen] = sockets.of(wire[own][at], wire[peer][at], wire[own_port][at], wire[peer_port][at])
    row, socket = row[socket != NOBODY], socket[socket != NOBODY]
    order = _by_group_and_time(socket, wire["time_ns"][row])
    row, socket = row[order], socket[order]
    begins = np.append(True, socket[1:] != socket[:-1])[: len(row)]
    opening = np.flatnonzero((wire["flags"][row] & (layout.SYN | layout.ACK)) == layout.SYN)
    number = wire["seq"][row[opening]]
    other = (socket[opening[1:]] == socket[opening[:-1]]) & (number[1:] != number[:-1])
    begins[opening[1:][other]] = True
    life = (np.cumsum(begins) - 1).astype(np.int32)
    return _Ends(row, socket, life, socket[begins], wire["time_ns"][row[begins]])


def _initial_sequence(wire: np.ndarray, ends: _Ends) -> npt.NDArray[np.uint32]:
    """Each life's own initial sequence number: of its SYN, else what its first packets imply."""
    lives = len(ends.begun_socket)
    initial = np.zeros(lives, dtype=np.uint32)
    out = wire["outgoing"][ends.row] != 0
    flags = wire["flags"][ends.row]
    syn = (flags & layout.SYN) != 0
    acks = ~out & ((flags & layout.ACK) != 0)
    # From the weakest witness to the strongest; of each the first, hence backwards.
    for chosen, name, more in ((acks, "ack", 1), (out, "seq", 1), (out & syn, "seq", 0)):
        at = np.flatnonzero(chosen)[::-1]
        initial[ends.life[at]] = wire[name][ends.row[at]] - np.uint32(more)
    return initial


def _halves(wire: np.ndarray, ends: _Ends) -> tuple[_Half, _Half]:
    out = wire["outgoing"][ends.row] != 0
    acks = ~out & ((wire["flags"][ends.row] & (layout.ACK | layout.RST)) == layout.ACK)
    halves = []
    for chosen in (out, acks):
        row, life = ends.row[chosen], ends.life[chosen]
        begins = np.append(True, life[1:] != life[:-1])[: len(row)]
        halves.append(_Half(row, life, wire["time_ns"][row], begins))
    return halves[0], halves[1]


def _lives_of(events: np.ndarray, sockets: Sockets, ends: _Ends) -> tuple[Rows, npt.NDArray[np.intp]]:
    """The life that each event belongs to, `NOBODY` for none, and the events by life, then by time."""
    socket = sockets.of(events["saddr"], events["daddr"], events["sport"], events["dport"])
    time_ns = events["timestamp_ns"].astype(np.int64)
    moments = np.sort(ends.begun_ns)
    rank = len(moments) + 1
    key = ends.begun_socket.astype(np.int64) * rank + np.searchsorted(moments, ends.begun_ns)
    at = np.searchsorted(key, socket.astype(np.int64) * rank + np.searchsorted(moments, time_ns, side="right")) - 1
    life = np.where((at >= 0) & (ends.begun_socket[at] == socket) & (socket != NOBODY), at, NOBODY).astype(np.int32)
    return life, _by_group_and_time(life, time_ns)


def _by_group_and_time(group: Rows, time_ns: Integers) -> npt.NDArray[np.intp]:
    """The order by group, then by time; in linear time where each group's rows are in the order of time already."""
    least = int(group.min()) if len(group) else 0
    small = len(group) > 0 and int(group.max()) - least < 2**16
    # NumPy sorts 16-bit numbers by counting.
    order = np.argsort((group - least).astype(np.uint16) if small else group, kind="stable")
    later = time_ns[order]
    same = group[order]
    if ((later[1:] < later[:-1]) & (same[1:] == same[:-1])).any():
        return np.lexsort((time_ns, group))
    return order


def _now_ns(events: np.ndarray) -> Integers:
    """When the kernel looked at the ACK: ``tcp_mstamp``, at which later ones had not come; else when it was done."""
    done = events["timestamp_ns"].astype(np.int64)
    stamp = events["tcp_mstamp_us"].astype(np.int64) * 1_000 + 999
    return np.where(events["tcp_mstamp_us"] == 0, done, np.minimum(stamp, done))


def _latest(life: Rows, una: Integers, now_ns: Integers, back: _Half, acked: Integers) -> Integers:
    """Position in ``back`` of the last ACK of ``una`` that came in by ``now_ns``."""
    if not len(back.row):
        return np.full(len(life), NONE, dtype=np.int64)
    moments = np.sort(back.time_ns)
    rank = len(moments) + 1
    key = back.life.astype(np.int64) * rank + np.searchsorted(moments, back.time_ns)
    at = np.searchsorted(key, life.astype(np.int64) * rank + np.searchsorted(moments, now_ns, side="right")) - 1
    hit = (at >= 0) & (back.life[at] == life) & (acked[at] == una)
    # Another ACK came in between (they overtook each other, or waited for a busy socket): look by number as well.
    open_ = np.flatnonzero(~hit)
    at[open_] = NONE
    if len(open_):
        near = np.flatnonzero(np.isin(back.life, life[open_]))
        lives = np.concatenate((back.life[near], life[open_]))
        numbers = np.concatenate((acked[near], una[open_]))
        times = np.concatenate((back.time_ns[near], now_ns[open_]))
        is_event = np.arange(len(lives)) >= len(near)
        order = np.lexsort((is_event, times, numbers, lives))
        last = np.maximum.accumulate(np.where(is_event[order], -1, np.arange(len(order))))
        mine = is_event[order] & (last >= 0)
        event, packet = order[mine], order[last[mine]]
        same = (lives[event] == lives[packet]) & (numbers[event] == numbers[packet])
        at[open_[event[same] - len(near)]] = near[packet[same]]
    return at


def _one_each(at: Integers, life: Rows, una: Integers, back: _Half, acked: Integers) -> Integers:
    """Several ACKs of one number that waited in the backlog together: the last is the last event's, and so backwards.

    A socket takes its backlog in the order in which it came (``__release_sock()``), one event an ACK.
    """
    again = np.flatnonzero((at[1:] <= at[:-1]) & (life[1:] == life[:-1]) & (at[1:] != NONE))
    # From the last to the first: what an event gives up, the one before it may have to give up, too.
    pending = again.tolist()
    while pending:
        event = pending.pop()
        packet = int(at[event + 1]) - 1
        while packet >= 0 and back.life[packet] == life[event] and acked[packet] != una[event]:
            packet -= 1
        if packet < 0 or back.life[packet] != life[event]:
            continue
        at[event] = packet
        if event and life[event - 1] == life[event] and at[event - 1] >= packet and event - 1 not in pending[-1:]:
            pending.append(event - 1)
    return at


def _before(una: Integers, begins: Booleans, handshake: Booleans) -> Integers:
    """``snd_una`` before each event: the one of the event before it; a SYN is the first byte of its connection."""
    before = np.empty_like(una)
    before[1:] = una[:-1]
    before[begins] = 1
    before[begins & handshake] = 0
    return before


def _troubled(wire: np.ndarray, lives: int, segments: _Half, start: Integers, end: Integers, back: _Half) -> Booleans:
    """Lives in which something was sent twice, or SACKed."""
    troubled = np.zeros(lives, dtype=np.bool_)
    troubled[back.life[wire["sack_blocks"][back.row] > 0]] = True
    base = segments.life.astype(np.int64) << OFFSET_BITS
    highest = np.maximum.accumulate(base + end)
    troubled[segments.life[1:][(base + start)[1:] < highest[:-1]]] = True
    return troubled


def _in_order(
    pairs: Pairs,
    event: npt.NDArray[np.intp],
    life: Rows,
    before: Integers,
    una: Integers,
    events: np.ndarray,
    segments: _Half,
    start: Integers,
    end: Integers,
) -> None:
    """Where every segment was sent once and in order, sequence numbers are all there is to it."""
    if not len(segments.row) or not len(event):
        return
    base = life.astype(np.int64) << OFFSET_BITS
    ends = (segments.life.astype(np.int64) << OFFSET_BITS) + end
    first = np.searchsorted(ends, base + before, side="right")
    last = np.searchsorted(ends, base + una, side="right") - 1
    # A packet of several segments counts as soon as one of them is acknowledged (tcp_tso_acked()).
    next_ = np.minimum(last + 1, len(ends) - 1)
    partly = (segments.life[next_] == life) & (start[next_] < una) & (end[next_] > una)
    partly &= end[next_] - start[next_] > events["mss_cache"][event]
    last += partly
    new = (una > before) & (first <= last)
    first = np.minimum(first, len(ends) - 1)
    new &= segments.life[first] == life
    pairs.first[event[new]] = segments.row[first[new]]
    pairs.last[event[new]] = segments.row[last[new]]


def _walk(
    pairs: Pairs,
    troubled: Booleans,
    order: npt.NDArray[np.intp],
    life: Rows,
    before: Integers,
    una: Integers,
    at: Integers,
    now_ns: Integers,
    events: np.ndarray,
    wire: np.ndarray,
    segments: _Half,
    start: Integers,
    end: Integers,
    back: _Half,
    acked: Integers,
) -> None:
    """Lives with retransmissions or SACK blocks, ACK by ACK."""
    for one in np.flatnonzero(troubled).tolist():
        mine, sent, came = (
            slice(*np.searchsorted(lives, (one, one + 1))) for lives in (life, segments.life, back.life)
        )
        if mine.start == mine.stop:
            continue
        arrivals = _arrivals(wire[back.row[came]], acked[came])
        sends = zip(
            start[sent].tolist(), end[sent].tolist(), segments.time_ns[sent].tolist(), segments.row[sent].tolist(),
            strict=True,
        )  # fmt: skip
        mss = int(events["mss_cache"][order[mine]].max())
        board = Scoreboard.of((Segment(*send) for send in sends), arrivals, mss)
        done = 0
        for event, low, high, packet, now in zip(
            order[mine].tolist(), before[mine].tolist(), una[mine].tolist(), at[mine].tolist(), now_ns[mine].tolist(),
            strict=True,
        ):  # fmt: skip
            sacked = (NONE, NONE)
            if packet != NONE:
                packet -= came.start
                while done <= packet:
                    newly = board.arrive(arrivals[done])
                    sacked = newly if done == packet else sacked
                    done += 1
            first, last = board.acknowledged(low, high, now)
            pairs.first[event] = first
            pairs.sack[event] = sacked[0]
            pairs.last[event] = last if sacked[1] == NONE else sacked[1]


def _arrivals(rows: np.ndarray, acked: Integers) -> list[Arrival]:
    """SACK edges lie within 2^31 of the ACK number that they come with."""
    edges = (rows["sack"] - rows["ack"][:, None, None]).view(np.int32) + acked[:, None, None]
    return [
        Arrival(ack, tuple((left, right) for left, right in blocks[:count] if left < right), time_ns)
        for ack, blocks, count, time_ns in zip(
            acked.tolist(), edges.tolist(), rows["sack_blocks"].tolist(), rows["time_ns"].tolist(), strict=True
        )
    ]


def _echoes(
    pairs: Pairs, events: np.ndarray, wire: np.ndarray, order: npt.NDArray[np.intp], life: Rows, out: _Half
) -> None:
    """Samples from timestamps: the departures that carried what the ACK echoes."""
    coarse = (events["taken"] != 0) & (events["first_rtt_us"] < 0) & (events["sack_rtt_us"] < 0)
    coarse = (coarse & (pairs.ack != NONE))[order]
    if not coarse.any():
        return
    event = order[coarse]
    wanted = life[coarse].astype(np.int64) << 32 | wire["tsecr"][pairs.ack[event]]
    near = np.flatnonzero(np.isin(out.life, life[coarse]) & (wire["has_ts"][out.row] != 0))
    key = out.life[near].astype(np.int64) << 32 | wire["tsval"][out.row[near]]
    by_key = np.argsort(key, kind="stable")
    key, row = key[by_key], out.row[near][by_key]
    low, high = np.searchsorted(key, wanted), np.searchsorted(key, wanted, side="right") - 1
    hit = low <= high
    pairs.echoed_first[event[hit]] = row[low[hit]]
    pairs.echoed_last[event[hit]] = row[high[hit]]


def _orphans(back: _Half, acked: Integers, at: Integers) -> Rows:
    """ACKs that are the first of their number, beyond the SYN, and that no event names."""
    key = (back.life.astype(np.int64) << OFFSET_BITS) + np.maximum(acked, 0)
    highest = np.maximum.accumulate(key)
    new = np.append(False, key[1:] > highest[:-1]) & ~back.begins
    named = np.zeros(len(key), dtype=np.bool_)
    named[at[at != NONE]] = True
    # A later ACK of the same number may be the one that was named.
    open_ = np.flatnonzero(new & ~named)
    return back.row[open_[~np.isin(key[open_], key[named])]] if len(open_) else np.zeros(0, dtype=np.int32)
