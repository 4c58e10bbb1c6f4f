"""Stamps joined to packets: by all fields that both tables have, and by order where several packets are equal."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from rttcheck.judge.pairing.stamps import UNKNOWN, stamps_of
from rttcheck.record.packet import ACK, WIRE, Point
from rttcheck.record.stamp import STAMP

SHARED = ("seq", "ack", "payload", "sport", "dport", "flags", "point")
"""The fields that both tables have."""


def packet(time_ns: int, *, outgoing: int = 1, **fields: int) -> np.ndarray:
    row = np.zeros(1, dtype=WIRE)
    known = {"seq": 1, "ack": 9, "payload": 10, "sport": 40_000, "dport": 5_000, "flags": ACK}
    row["time_ns"], row["outgoing"] = time_ns, outgoing
    for name, value in {**known, **fields}.items():
        row[name] = value
    return row


def stamp(time_ns: int, stamp_ns: int, **fields: int) -> np.ndarray:
    row = np.zeros(1, dtype=STAMP)
    known = {"seq": 1, "ack": 9, "payload": 10, "sport": 40_000, "dport": 5_000, "flags": ACK}
    row["time_ns"], row["stamp_ns"] = time_ns, stamp_ns
    for name, value in {**known, **fields}.items():
        row[name] = value
    return row


def joined(packets: list[np.ndarray], stamps: list[np.ndarray]) -> list[int]:
    none = np.zeros(0, dtype=STAMP)
    return [int(one) for one in stamps_of(np.concatenate(packets), np.concatenate([none, *stamps]))]


def test_a_packet_has_the_stamp_that_it_left_with() -> None:
    assert joined([packet(100, seq=1), packet(200, seq=11)], [stamp(202, 190, seq=11), stamp(102, 90, seq=1)]) == [
        90,
        190,
    ]


def test_packets_that_are_equal_are_distinguished_by_their_order() -> None:
    # Sent twice without a timestamp; the tables need not be in the order of time.
    assert joined([packet(300), packet(100)], [stamp(302, 290), stamp(102, 90)]) == [290, 90]


def test_the_second_of_two_equal_ones_has_none_where_one_was_read() -> None:
    assert joined([packet(100), packet(300)], [stamp(102, 90)]) == [90, UNKNOWN]


@pytest.mark.parametrize("name", SHARED)
def test_all_that_both_tables_have_must_be_the_same(name: str) -> None:
    other = {"point": int(Point.SERVER)}.get(name, 77)
    assert joined([packet(100)], [stamp(102, 90, **{name: other})]) == [UNKNOWN]
    assert joined([packet(100, **{name: other})], [stamp(102, 90, **{name: other})]) == [90]


def test_a_missing_stamp_leaves_its_packet_unknown_and_the_others_as_they_are() -> None:
    packets = [packet(100 * number, seq=number) for number in (1, 2, 3)]
    assert joined(packets, [stamp(102, 90, seq=1), stamp(302, 290, seq=3)]) == [90, UNKNOWN, 290]


def test_only_what_left_an_end_has_a_stamp() -> None:
    here = stamp(102, 90)
    assert joined([packet(100, outgoing=0)], [here]) == [UNKNOWN]
    for point in (Point.LINK_NEAR, Point.LINK_FAR):
        assert joined([packet(100, point=point)], [stamp(102, 90, point=point)]) == [UNKNOWN]
    # The same packet at the link takes no stamp from the one at the end.
    assert joined([packet(110, point=Point.LINK_NEAR), packet(100)], [here]) == [UNKNOWN, 90]


def test_a_pure_ack_has_the_stamp_that_was_read_even_if_that_is_none() -> None:
    assert joined([packet(100, payload=0)], [stamp(102, 0, payload=0)]) == [UNKNOWN]
    assert joined([packet(100, payload=0)], [stamp(102, 95, payload=0)]) == [95]


def test_without_stamps_or_packets_nothing_is_known() -> None:
    assert joined([packet(100), packet(200)], []) == [UNKNOWN, UNKNOWN]
    assert len(stamps_of(np.zeros(0, dtype=WIRE), stamp(102, 90))) == 0


def plain(wire: np.ndarray, stamps: np.ndarray) -> list[int]:
    """A dictionary of queues."""
    queues: dict[Any, list[int]] = defaultdict(list)
    for row in sorted(stamps, key=lambda row: int(row["time_ns"])):
        queues[tuple(int(row[name]) for name in SHARED)].append(int(row["stamp_ns"]))
    found = [UNKNOWN] * len(wire)
    for place in sorted(range(len(wire)), key=lambda place: int(wire["time_ns"][place])):
        row = wire[place]
        name = tuple(int(row[name]) for name in SHARED)
        if row["outgoing"] and row["point"] in (Point.CLIENT, Point.SERVER) and queues[name]:
            found[place] = queues[name].pop(0)
    return found


def at_random(dice: random.Random, known: float) -> tuple[np.ndarray, np.ndarray]:
    """Packets with few names, and stamps of most outgoing ones, in no order."""
    packets, stamps = [], [np.zeros(0, dtype=STAMP)]
    for moment in dice.sample(range(1_000), dice.randrange(1, 40)):
        fields = {
            "seq": dice.choice((1, 2, 2**32 - 1)),
            "payload": dice.choice((0, 10)),
            "point": dice.choice((Point.CLIENT, Point.CLIENT, Point.CLIENT, Point.LINK_NEAR, Point.SERVER)),
        }
        outgoing = int(dice.random() < 0.8)
        packets.append(packet(10 * moment, outgoing=outgoing, **fields))
        if outgoing and dice.random() < known:
            stamps.append(stamp(10 * moment + 2, 10 * moment - 5, **fields))
    dice.shuffle(packets)
    dice.shuffle(stamps)
    return np.concatenate(packets), np.concatenate(stamps)


@pytest.mark.parametrize("known", [1.0, 0.9])
def test_as_a_dictionary_has_it(known: float) -> None:
    dice = random.Random(3)
    for _ in range(200):
        wire, stamps = at_random(dice, known)
        assert stamps_of(wire, stamps).tolist() == plain(wire, stamps)
