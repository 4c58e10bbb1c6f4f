"""TCP's stamp of each outgoing packet: join the table of stamps to the table of packets.

The join is by all fields that both tables have, and by order where several packets are equal.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.pairing.ends import packets_of
from rttcheck.judge.pairing.transit import Integers, Places, Words, identities
from rttcheck.record.packet import Point

UNKNOWN: Final = 0
"""The stamp of packets that came in, passed the link, or have no stamp."""

_AT_ONCE: Final = 1 << 14
"""Rows whose names are made at a time."""

_NAME = np.dtype([("numbers", "<u8"), ("ends", "<u8"), ("rest", "<u8")])


def stamps_of(wire: np.ndarray, stamps: np.ndarray) -> Integers:
    """Return the stamp of each packet of ``wire`` (dtype ``WIRE``), CLOCK_MONOTONIC ns; `UNKNOWN` where there is none.

    ``stamps`` has dtype ``STAMP``. Equal packets (sent twice without a timestamp) are joined in the order in which
    they left: the program that reads stamps sees a packet right after the capture does.
    """
    found = np.full(len(wire), UNKNOWN, dtype=np.int64)
    if not len(stamps):
        return found
    point = wire["point"]
    left = np.flatnonzero((wire["outgoing"] != 0) & ((point == Point.CLIENT) | (point == Point.SERVER)))
    if not len(left):
        return found
    order, names = _in_order(_names(stamps, np.arange(len(stamps))), stamps["time_ns"])
    ours, wanted = _in_order(_names(wire, left), wire["time_ns"][left])
    place = np.searchsorted(names, wanted) + _rank(wanted)
    known = np.append(names, 0)[np.minimum(place, len(names))] == wanted
    known &= place < len(names)
    found[left[ours[known]]] = stamps["stamp_ns"][order[place[known]]]
    return found


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


def _in_order(names: Words, time_ns: Integers) -> tuple[Places, Words]:
    """Return the order by name, then by time, and the names in it."""
    order = np.argsort(names, kind="stable")
    if len(order) and (np.diff(time_ns) < 0).any():
        order = np.lexsort((time_ns, names))
    return order, names[order]


def _rank(names: Words) -> npt.NDArray[np.intp]:
    """Return the rank of each among equal names, from 0; ``names`` is sorted."""
    begins = np.flatnonzero(np.append(True, names[1:] != names[:-1]))
    ranks: npt.NDArray[np.intp] = np.arange(len(names)) - np.repeat(begins, np.diff(np.append(begins, len(names))))
    return ranks
