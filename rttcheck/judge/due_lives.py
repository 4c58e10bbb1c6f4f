"""Packets at the ends and events of the probe, sorted to the socket's life that they belong to, numbers unwrapped.

It owns the order in which one socket saw things. It does not know what any of it means for a sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rttcheck.collect.wire import layout
from rttcheck.collect.wire.layout import Point
from rttcheck.judge.due_part import VALUES, Parts, shown_by
from rttcheck.judge.sockets import NOBODY, Integers, Sockets, unwrapped

Booleans = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int32]
Order = npt.NDArray[np.intp]

NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """Packets of one direction, by life, then by time."""

    row: Rows
    life: Rows
    begins: Booleans
    """Marks the first of each life."""
    time_ns: Integers
    flags: npt.NDArray[np.uint8]
    length: Integers
    """Payload, SYN and FIN."""
    offset: Integers
    """Of the own direction: where a departure begins, or what an arrival acknowledges; the SYN is offset 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Calls:
    """Events, by life, then by time; those of no life at all are left out."""

    event: Order
    life: Rows
    una: Integers
    now_ns: Integers
    """When the kernel looked at the ACK, ``tcp_mstamp`` where it is there: cut to microseconds."""
    shown: Parts


@dataclass(frozen=True, slots=True, eq=False)
class Lives:
    """One life is one connection as one of its two sockets saw it; addresses may be used again."""

    socket: Rows
    """Of each life."""
    opened: Booleans
    """Whether a life's own SYN or SYN-ACK is on the wire: without it the capture began later."""
    sent: Way
    came: Way
    """Those with an ACK number and no RST."""
    reset_ns: Integers
    """When each life's first RST came by, `NEVER` without one."""
    calls: Calls
    strangers: Order
    """Events that show something and belong to no life."""

    @classmethod
    def of(cls, events: np.ndarray, wire: np.ndarray, sockets: Sockets) -> Lives:
        """Sort ``events`` (dtype ``EVENT``) and ``wire`` (dtype ``WIRE``)."""
        row, socket, life, begins = _rows(wire, sockets)
        flags, time_ns = wire["flags"][row], wire["time_ns"][row]
        out = wire["outgoing"][row] != 0
        lives = int(begins.sum())
        syn = (flags & layout.SYN) != 0
        acks = ~out & ((flags & (layout.ACK | layout.RST)) == layout.ACK)
        seq, ack = wire["seq"][row], wire["ack"][row]
        initial = np.zeros(lives, dtype=np.uint32)
        # From the weakest witness to the strongest; of each the first, hence backwards.
        for chosen, numbers, more in ((acks, ack, 1), (out, seq, 1), (out & syn, seq, 0)):
            at = np.flatnonzero(chosen)[::-1]
            initial[life[at]] = numbers[at] - np.uint32(more)
        length = wire["payload"][row].astype(np.int64) + ((flags & (layout.SYN | layout.FIN)) != 0)
        opened = np.zeros(lives, dtype=np.bool_)
        opened[life[out & syn]] = True
        reset_ns = np.full(lives, NEVER, dtype=np.int64)
        resets = np.flatnonzero(flags & layout.RST)[::-1]
        reset_ns[life[resets]] = time_ns[resets]
        ways = []
        for chosen, numbers in ((out, seq), (acks, ack)):
            mine = life[chosen]
            first = np.append(True, mine[1:] != mine[:-1])[: len(mine)]
            offset = unwrapped(numbers[chosen], first, initial[mine])
            ways.append(Way(row[chosen], mine, first, time_ns[chosen], flags[chosen], length[chosen], offset))
        calls, strangers = _calls(events, sockets, socket[begins], time_ns[begins], initial)
        return cls(socket[begins], opened, ways[0], ways[1], reset_ns, calls, strangers)


def _rows(wire: np.ndarray, sockets: Sockets) -> tuple[Rows, Rows, Rows, Booleans]:
    """Rows at the ends with their sockets and lives; a SYN with another number begins another life."""
    point = wire["point"]
    row = np.flatnonzero((point == Point.CLIENT) | (point == Point.SERVER)).astype(np.int32)
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
    return row, socket, (np.cumsum(begins) - 1).astype(np.int32), begins


def _calls(
    events: np.ndarray, sockets: Sockets, begun: Rows, begun_ns: Integers, initial: npt.NDArray[np.uint32]
) -> tuple[Calls, Order]:
    """``begun`` and ``begun_ns`` are the socket of each life, in order, and when its first packet came by."""
    socket = sockets.of(events["saddr"], events["daddr"], events["sport"], events["dport"])
    done_ns = events["timestamp_ns"].astype(np.int64)
    moments = np.sort(begun_ns)
    rank = len(moments) + 1
    key = begun.astype(np.int64) * rank + np.searchsorted(moments, begun_ns)
    at = np.searchsorted(key, socket.astype(np.int64) * rank + np.searchsorted(moments, done_ns, side="right")) - 1
    hit = (at >= 0) & (socket != NOBODY)
    hit[hit] = begun[at[hit]] == socket[hit]
    life = np.where(hit, at, NOBODY).astype(np.int32)
    order = _by_group_and_time(life, done_ns)
    shown = shown_by(events)
    strangers = order[(life[order] == NOBODY) & ((shown[order] & VALUES) != 0)]
    order = order[life[order] != NOBODY]
    life = life[order]
    stamp_ns = events["tcp_mstamp_us"][order].astype(np.int64) * 1_000
    now_ns = np.where(stamp_ns == 0, done_ns[order], np.minimum(stamp_ns, done_ns[order]))
    begins = np.append(True, life[1:] != life[:-1])[: len(life)]
    una = unwrapped(events["snd_una"][order], begins, initial[life])
    return Calls(order, life, una, now_ns, shown[order]), strangers


def _by_group_and_time(group: Rows, time_ns: Integers) -> Order:
    """The order by group, then by time; in linear time where each group's rows are in the order of time already."""
    least = int(group.min()) if len(group) else 0
    small = len(group) > 0 and int(group.max()) - least < 2**16
    # NumPy sorts 16-bit numbers by counting.
    order = np.argsort((group - least).astype(np.uint16) if small else group, kind="stable")
    later, same = time_ns[order], group[order]
    if ((later[1:] < later[:-1]) & (same[1:] == same[:-1])).any():
        return np.lexsort((time_ns, group))
    return order
