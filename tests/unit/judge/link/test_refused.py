"""Packets that a full queue on their sender's own interface refused, on packets made by hand."""

from __future__ import annotations

import numpy as np

from rttcheck.judge.link.refused import without_refused
from rttcheck.record.packet import ACK, WIRE, Point
from rttcheck.record.stamp import STAMP

LIMIT = 10


def packet(point: Point, at_us: int, seq: int, *, outgoing: int) -> np.ndarray:
    row = np.zeros(1, dtype=WIRE)
    row["point"], row["time_ns"], row["seq"], row["outgoing"], row["payload"] = point, at_us * 1_000, seq, outgoing, 100
    row["flags"] = ACK
    return row


def lab(sent: int, lost: set[int], *, delay_us: int = 10_000, apart_us: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Return packets of a client, ``apart_us`` apart, which pass but for those that are ``lost``, and their stamps."""
    rows, stamps = [], np.zeros(sent, dtype=STAMP)
    for number in range(sent):
        at_us = number * apart_us
        rows += [packet(Point.CLIENT, at_us, number, outgoing=1), packet(Point.LINK_NEAR, at_us, number, outgoing=0)]
        if number not in lost:
            rows.append(packet(Point.LINK_FAR, at_us + delay_us, number, outgoing=1))
        stamps[number]["seq"], stamps[number]["point"] = number, Point.CLIENT
    wire = np.concatenate(rows)
    return wire[np.lexsort((wire["time_ns"], wire["point"]))], stamps


def test_what_a_full_queue_refused_was_not_sent() -> None:
    wire, stamps = lab(20, set(range(LIMIT, 20)))
    sent, stamped = without_refused(wire, stamps, (LIMIT, LIMIT))
    assert sent["seq"][sent["point"] == Point.CLIENT].tolist() == list(range(LIMIT))
    assert stamped["seq"].tolist() == list(range(LIMIT))
    # The link's checks count what it dropped.
    assert (sent["point"] == Point.LINK_NEAR).sum() == 20


def test_what_was_lost_in_a_queue_with_room_was_sent() -> None:
    wire, stamps = lab(20, {1, 2, 15}, delay_us=30)
    sent, stamped = without_refused(wire, stamps, (LIMIT, LIMIT))
    assert len(sent) == len(wire)
    assert len(stamped) == 20


def test_without_a_link_nothing_was_refused() -> None:
    nothing, stamps = np.zeros(0, dtype=WIRE), np.zeros(0, dtype=STAMP)
    assert len(without_refused(nothing, stamps, (LIMIT, LIMIT))[0]) == 0
