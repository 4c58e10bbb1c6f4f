"""TCP's stamp of each outgoing packet: join the table of stamps to the table of packets.

The join is by all fields that both tables have, and by order where several packets are equal. Mostly every packet that
left an end has its stamp, in the same order: then both tables are only compared.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.pairing.ends import packets_of
from rttcheck.judge.pairing.transit import Integers, Places, Words, by_time, identities
from rttcheck.record.packet import Point

UNKNOWN: Final = 0
"""The stamp of packets that came in, passed the link, or have no stamp."""

_AT_ONCE: Final = 1 << 13
"""Rows that are compared, or whose names are made, at a time: they stay in the processor's cache."""

_FIELDS: Final = ("seq", "ack", "payload", "sport", "dport", "flags")
"""Beside the end itself, what a packet and its stamp have in common."""

_NAME = np.dtype([("numbers", "<u8"), ("ends", "<u8"), ("rest", "<u8")])


def stamps_of(wire: np.ndarray, stamps: np.ndarray) -> Integers:
    """Return the stamp of each packet of ``wire`` (dtype ``WIRE``), CLOCK_MONOTONIC ns; `UNKNOWN` where there is none.

    ``stamps`` has dtype ``STAMP``. Equal packets (sent twice without a timestamp) are joined in the order in which
    they left: the program that reads stamps sees a packet right after the capture does.
    """
    found = np.zeros(len(wire), dtype=np.int64)
    for point in (Point.CLIENT, Point.SERVER):
        left = by_time(wire, np.flatnonzero((wire["outgoing"] != 0) & (wire["point"] == point)))
        known = by_time(stamps, np.flatnonzero(stamps["point"] == point))
        if _in_step(wire, left, stamps, known):
            found[left] = stamps["stamp_ns"][known]
        elif len(left) and len(known):
            _join(found, wire, left, stamps, known)
    return found


def _in_step(wire: np.ndarray, left: Places, stamps: np.ndarray, known: Places) -> bool:
    """Return whether the packets ``left`` and the stamps ``known`` are the same ones in the same order."""
    if len(left) != len(known):
        return False
    for at in range(0, len(left), _AT_ONCE):
        ours, theirs = left[at : at + _AT_ONCE], known[at : at + _AT_ONCE]
        if any((wire[name][ours] != stamps[name][theirs]).any() for name in _FIELDS):
            return False
    return True


def _join(found: Integers, wire: np.ndarray, left: Places, stamps: np.ndarray, known: Places) -> None:
    """Fill in ``found`` for the packets ``left`` of one end; both ``left`` and ``known`` are in order of time."""
    order, names = _in_order(_names(stamps, known))
    ours, wanted = _in_order(_names(wire, left))
    place = np.searchsorted(names, wanted) + _rank(wanted)
    have = np.append(names, 0)[np.minimum(place, len(names))] == wanted
    have &= place < len(names)
    found[left[ours[have]]] = stamps["stamp_ns"][known[order[place[have]]]]


def _names(packets: np.ndarray, rows: Places) -> Words:
    """Return a number for each packet of ``rows``, the same for equal packets."""
    names = np.empty(len(rows), dtype=np.uint64)
    for at in range(0, len(rows), _AT_ONCE):
        some = packets_of(packets, rows[at : at + _AT_ONCE])
        table = np.zeros(len(some), dtype=_NAME)
        table["numbers"] = some["seq"].astype(np.uint64) << np.uint64(32) | some["ack"]
        table["ends"] = some["payload"].astype(np.uint64) << np.uint64(32)
        table["ends"] |= some["sport"].astype(np.uint64) << np.uint64(16) | some["dport"]
        table["rest"] = some["flags"].astype(np.uint64) << np.uint64(8) | some["point"]
        names[at : at + _AT_ONCE] = identities(table, np.arange(len(some)), apart=())
    return names


def _in_order(names: Words) -> tuple[Places, Words]:
    """Return the order by name, and the names in it."""
    order = np.argsort(names, kind="stable")
    return order, names[order]


def _rank(names: Words) -> npt.NDArray[np.intp]:
    """Return the rank of each among equal names, from 0; ``names`` is sorted."""
    begins = np.flatnonzero(np.append(True, names[1:] != names[:-1]))
    ranks: npt.NDArray[np.intp] = np.arange(len(names)) - np.repeat(begins, np.diff(np.append(begins, len(names))))
    return ranks
