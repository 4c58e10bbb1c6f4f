"""The packets at the ends, by life of a socket and then by time, in narrow columns.

A *life* is the time between two uses of the same address pair: one connection of a socket whose addresses and ports are
used again. The table of packets is read a block of rows at a time, so that the rows in use fit into the processor's
caches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from rttcheck.judge.pairing.sockets import UNKNOWN_SOCKET, Integers, Sockets
from rttcheck.record.packet import ACK, FIN, RST, SYN, Point

_BLOCK = 1 << 13
"""Rows at a time: less than a megabyte of the table."""

_SENDS, _ACKS, _SACKS = 1, 2, 4
"""Flags of a packet: it leaves and occupies sequence numbers, it is an incoming ACK, it has SACK blocks."""

REACH = 1 << 40
"""Most bytes in either direction that a key has room for; the keys of longer connections are clipped."""
_KEY_BITS = 41

Booleans = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int32]
Places = npt.NDArray[np.intp]


def keys(life: npt.NDArray[np.integer], offset: int | Integers) -> Integers:
    """Return one number for a life and an offset in it, in the order of lives and then of offsets."""
    key: Integers = life.astype(np.int64)
    key <<= _KEY_BITS
    key += offset
    return key


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Departures:
    """Outgoing packets that occupy sequence numbers, by life and then by time."""

    row: Rows
    life: Rows
    """Counts from 0 within the requested lives."""
    time_ns: Integers
    start: Integers
    """`keys` of the first byte and of the one after the last; SYN and FIN count as one."""
    end: Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arrivals:
    """Incoming ACKs, by life and then by time."""

    row: Rows
    life: Rows
    time_ns: Integers
    ack: Integers
    """`keys` of the ACK number."""
    sacks: Places
    """Places of those with SACK blocks."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ends:
    """Rows of packets at the ends, by socket, then by time, and where each life of a socket begins."""

    wire: np.ndarray
    sockets: Sockets
    row: Rows
    kind: npt.NDArray[np.uint8]
    """Of each packet: `_SENDS`, `_ACKS` and `_SACKS`."""
    number: npt.NDArray[np.uint32]
    """Of each packet: the sequence number of an outgoing one, the ACK number of an incoming one."""
    length: npt.NDArray[np.uint32]
    """Of each packet: the sequence numbers that it occupies."""
    bounds: Places
    """Life n is ``row[bounds[n] : bounds[n + 1]]``."""
    socket: Rows
    """Of each life."""
    begun_ns: Integers
    """Time of each life's first packet."""
    initial: npt.NDArray[np.uint32]
    """Each life's own initial sequence number: from its SYN, else implied by its first packets."""
    known_lives: list[tuple[np.ndarray, Any]] = field(default_factory=list)
    """The last events whose lives were asked for, and these (`lives_of`): the same events are asked for several times.
    """

    @classmethod
    def of(cls, wire: np.ndarray, sockets: Sockets) -> Ends:
        """Sort ``wire`` (dtype ``WIRE``). A SYN with another sequence number begins a new life of the same socket."""
        found = _Found.of(wire, sockets)
        row, socket, kind, number, length = found.row, found.socket, found.kind, found.number, found.length
        order = by_group_and_time(socket, wire["time_ns"], row)
        if order is not None:
            row, socket = row[order], socket[order]
            kind, number, length = kind[order], number[order], length[order]
        syn = _positions(found.syn, order, len(row))
        del found, order
        begins = np.flatnonzero(np.append(True, socket[1:] != socket[:-1])[: len(socket)])
        opening = syn[(wire["flags"][row[syn]] & ACK) == 0]
        initial = wire["seq"][row[opening]]
        again = (socket[opening[1:]] == socket[opening[:-1]]) & (initial[1:] != initial[:-1])
        begins = np.union1d(begins, opening[1:][again])
        ends = cls(
            wire=wire,
            sockets=sockets,
            row=row,
            kind=kind,
            number=number,
            length=length,
            bounds=np.append(begins, len(row)),
            socket=socket[begins],
            begun_ns=wire["time_ns"][row[begins]],
            initial=np.zeros(len(begins), dtype=np.uint32),
        )
        ends._begin(syn)
        return ends

    @property
    def lives(self) -> int:
        """Return the number of lives."""
        return len(self.socket)

    def directions(self, first: int, last: int) -> tuple[Departures, Arrivals]:
        """Return the outgoing and the incoming packets of the lives from ``first`` to ``last`` - 1."""
        mine = slice(int(self.bounds[first]), int(self.bounds[last]))
        lives = np.repeat(np.arange(last - first, dtype=np.int32), np.diff(self.bounds[first : last + 1]))
        time_ns, initial, kind = self.wire["time_ns"], self.initial[first:last], self.kind[mine]
        sends, acks = np.flatnonzero(kind & _SENDS), np.flatnonzero(kind & _ACKS)
        row, life = self.row[mine][sends], lives[sends]
        begin = sequence_keys(self.number[mine][sends], life, initial)
        departures = Departures(
            row=row, life=life, time_ns=time_ns[row], start=begin, end=begin + self.length[mine][sends]
        )
        del sends
        row, life = self.row[mine][acks], lives[acks]
        arrivals = Arrivals(
            row=row,
            life=life,
            time_ns=time_ns[row],
            ack=sequence_keys(self.number[mine][acks], life, initial),
            sacks=np.flatnonzero(kind[acks] & _SACKS),
        )
        return departures, arrivals

    def stamps(self, lives: npt.NDArray[np.integer]) -> tuple[Rows, Rows, npt.NDArray[np.uint32]]:
        """Return row, life and timestamp of outgoing packets with one, by life, then by time; ``lives`` ascends."""
        count = self.bounds[lives + 1] - self.bounds[lives]
        place = np.arange(int(count.sum())) + np.repeat(self.bounds[lives] - (np.cumsum(count) - count), count)
        rows, whose, stamps = [self.row[:0]], [self.row[:0]], [np.zeros(0, dtype=np.uint32)]
        life = np.repeat(lives.astype(np.int32), count)
        for at, row, packets in _blocks(self.wire, self.row[place]):
            left = np.flatnonzero((packets["outgoing"] != 0) & (packets["has_ts"] != 0))
            rows.append(row[left])
            whose.append(life[at + left])
            stamps.append(packets["tsval"][left])
        return np.concatenate(rows), np.concatenate(whose), np.concatenate(stamps)

    def _begin(self, syn: Places) -> None:
        """Find the initial sequence numbers: from each life's own SYN where it was captured."""
        life = np.searchsorted(self.bounds, syn, side="right") - 1
        mine = self.wire["outgoing"][self.row[syn]] != 0
        known = np.zeros(self.lives, dtype=np.bool_)
        known[life[mine]] = True
        # Backwards, so that the first of each stays.
        self.initial[life[mine][::-1]] = self.wire["seq"][self.row[syn[mine]]][::-1]
        for one in np.flatnonzero(~known).tolist():
            self.initial[one] = self._implied(int(self.bounds[one]), int(self.bounds[one + 1]))

    def _implied(self, start: int, stop: int) -> int:
        """Return it from the first outgoing packet, else from the first ACK; 0 without either."""
        acked: int | None = None
        for _, _, packets in _blocks(self.wire, self.row[start:stop]):
            out = packets["outgoing"] != 0
            if out.any():
                return (int(packets["seq"][out][0]) - 1) & 0xFFFF_FFFF
            acks = packets["ack"][(packets["flags"] & ACK) != 0]
            if len(acks) and acked is None:
                acked = (int(acks[0]) - 1) & 0xFFFF_FFFF
        return 0 if acked is None else acked


def _blocks(wire: np.ndarray, rows: Rows) -> Iterator[tuple[int, Rows, np.ndarray]]:
    """Yield ``rows`` in blocks: the place of each, its rows, and their packets."""
    for at in range(0, len(rows), _BLOCK):
        row = rows[at : at + _BLOCK]
        yield at, row, packets_of(wire, row)


def sequence_keys(numbers: npt.NDArray[np.uint32], life: Rows, initial: npt.NDArray[np.uint32]) -> Integers:
    """Return `keys` of sequence numbers in order of lives, then of time; offset 0 is each life's ``initial``.

    From one to the next a number may go up or down by less than 2^31, as TCP assumes (RFC 9293, section 3.4).
    """
    if not len(numbers):
        return np.zeros(0, dtype=np.int64)
    begin = np.flatnonzero(np.append(True, life[1:] != life[:-1]))
    base = life[begin].astype(np.int64) << _KEY_BITS
    key = np.empty(len(numbers), dtype=np.int64)
    key[1:] = (numbers[1:] - numbers[:-1]).view(np.int32)
    key[begin] = 0
    first = base + (numbers[begin] - initial[life[begin]]).view(np.int32)
    # The step into the next life starts from the end of the previous one.
    last = first + np.add.reduceat(key, begin)
    key[begin] = first - np.append(0, last[:-1])
    np.cumsum(key, out=key)
    if (np.maximum.reduceat(key, begin) >= base + REACH).any() or (
        np.minimum.reduceat(key, begin) <= base - REACH
    ).any():
        whole = life.astype(np.int64) << _KEY_BITS
        np.clip(key, whole - (REACH - 1), whole + (REACH - 1), out=key)
    return key


def packets_of(wire: np.ndarray, row: npt.NDArray[np.integer]) -> np.ndarray:
    """Return the packets of ``row``; a view where the rows are consecutive."""
    wire = np.asarray(wire)
    if len(row) and int(row[-1]) - int(row[0]) == len(row) - 1 and (row[1:] > row[:-1]).all():
        return wire[int(row[0]) : int(row[-1]) + 1]
    # As bytes: NumPy copies records field by field.
    packets: np.ndarray = wire.view(np.dtype((np.void, wire.dtype.itemsize))).take(row).view(wire.dtype)
    return packets


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Found:
    """The packets at the ends of known connections, in the order of the table; columns as in `Ends`."""

    row: Rows
    socket: Rows
    kind: npt.NDArray[np.uint8]
    number: npt.NDArray[np.uint32]
    length: npt.NDArray[np.uint32]
    syn: Places
    """Places of SYNs."""

    @classmethod
    def of(cls, wire: np.ndarray, sockets: Sockets) -> _Found:
        # Memory that is not written to is never used.
        row, socket = (np.empty(len(wire), dtype=np.int32) for _ in range(2))
        number, length = (np.empty(len(wire), dtype=np.uint32) for _ in range(2))
        kind = np.empty(len(wire), dtype=np.uint8)
        filled, syns = 0, [np.zeros(0, dtype=np.intp)]
        for at in range(0, len(wire), _BLOCK):
            packets = wire[at : at + _BLOCK]
            point = packets["point"]
            here = np.flatnonzero((point == Point.CLIENT) | (point == Point.SERVER))
            if not len(here):
                continue
            if len(here) < len(packets):
                packets = packets_of(packets, here)
            whose = sockets.at(packets)
            known = np.flatnonzero(whose != UNKNOWN_SOCKET)
            if len(known) < len(here):
                here, whose, packets = here[known], whose[known], packets_of(packets, known)
            room = slice(filled, filled + len(here))
            row[room], socket[room] = here + at, whose
            flags, out = packets["flags"], packets["outgoing"] != 0
            taken = packets["payload"] + ((flags & (SYN | FIN)) != 0)
            number[room], length[room] = np.where(out, packets["seq"], packets["ack"]), taken
            kind[room] = np.where(out, (taken > 0) * np.uint8(_SENDS), ((flags & (ACK | RST)) == ACK) * np.uint8(_ACKS))
            kind[room] |= (packets["sack_blocks"] != 0) * np.uint8(_SACKS)
            syns.append(np.flatnonzero(flags & SYN) + filled)
            filled = room.stop
        return cls(
            row=row[:filled], socket=socket[:filled], kind=kind[:filled], number=number[:filled],
            length=length[:filled], syn=np.concatenate(syns),
        )  # fmt: skip


def by_group_and_time(group: Rows, time: np.ndarray, row: npt.NDArray[np.integer] | None = None) -> Places | None:
    """Return the order by group, then by ``time[row]``, or None if the rows are in that order.

    Takes linear time where each group's rows are in order of time, as in a capture.
    """
    order: Places | None = None
    if (group[1:] < group[:-1]).any():
        least = int(group.min())
        small = int(group.max()) - least < 2**16
        # NumPy sorts 16-bit numbers by counting.
        order = np.argsort((group - least).astype(np.uint16) if small else group, kind="stable")
    newest_group, newest = 0, 0
    for at in range(0, len(group), _BLOCK):
        block = slice(at, at + _BLOCK) if order is None else order[at : at + _BLOCK]
        group_here = group[block]
        time_here = time[block if row is None else row[block]].astype(np.int64)
        back = (time_here[1:] < time_here[:-1]) & (group_here[1:] == group_here[:-1])
        if back.any() or (at and group_here[0] == newest_group and time_here[0] < newest):
            return np.lexsort((time if row is None else time[row], group))
        newest_group, newest = int(group_here[-1]), int(time_here[-1])
    return order


def _positions(place: Places, order: Places | None, count: int) -> Places:
    """Return the positions of ``place`` in ``order``, ascending."""
    if order is None:
        return place
    marked = np.zeros(count, dtype=np.bool_)
    marked[place] = True
    return np.flatnonzero(marked[order])
