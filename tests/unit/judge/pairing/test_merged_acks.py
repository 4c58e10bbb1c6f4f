"""ACKs that waited in a socket's backlog and became one, on packets made by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rttcheck.judge.pairing.pairs import Pairs, pair
from rttcheck.record.event import FLAG_SYN_ACKED, Owned
from rttcheck.record.packet import ACK
from tests.support.planted_wire import FLOWS, PlantedWire

NONE = -1
HIGH, LOW = (31, 41), (51, 61)
"""SACK blocks of two segments."""


def traffic() -> PlantedWire:
    """Open a connection, and send six segments of ten bytes, 1 to 61, 10 us after each other."""
    planted = PlantedWire()
    planted.handshake()
    planted.event(52, 1, first=52, last=52, flag=FLAG_SYN_ACKED)
    for place in range(6):
        planted.sent(100 + 10 * place, 1 + 10 * place, 10)
    return planted


def rows(planted: PlantedWire, owned: Sequence[Owned]) -> Pairs:
    """Pair the events, of which those after the handshake's are ``owned``."""
    events = planted.events
    events["owned"][1:] = owned
    return pair(events, planted.wire, FLOWS)


def test_an_ack_merged_into_an_earlier_one_has_that_ones_sacks() -> None:
    planted = traffic()
    planted.came(200, 1, HIGH)
    second = planted.came(203, 11, HIGH)
    event = planted.event(300, 11, first=200, last=170, sack=170)
    pairs = rows(planted, [Owned.YES])
    assert (pairs.ack[event], pairs.first[event], pairs.sack[event]) == (second, 2, 5)
    assert len(pairs.unreported) == 0


def test_of_several_acks_with_one_number_the_one_that_was_merged_has_no_event() -> None:
    planted = traffic()
    first = planted.came(200, 11)
    other = planted.came(203, 11, HIGH)
    planted.came(206, 11, LOW, HIGH)
    last = planted.came(209, 21, LOW, HIGH)
    events = [
        planted.event(300, 11, first=200, last=200),
        planted.event(330, 11, last=170, sack=170),
        planted.event(360, 21, first=190, last=150, sack=150),
    ]
    pairs = rows(planted, [Owned.YES] * 3)
    assert pairs.ack[events].tolist() == [first, other, last]
    assert pairs.sack[events].tolist() == [NONE, 5, 7]


@pytest.mark.parametrize("owned", [Owned.NO, Owned.UNKNOWN])
def test_acks_that_did_not_wait_are_not_merged(owned: Owned) -> None:
    planted = traffic()
    planted.came(200, 1, HIGH)
    planted.came(203, 11, HIGH)
    event = planted.event(204, 11, first=200, last=170, sack=170)
    pairs = rows(planted, [owned])
    assert pairs.sack[event] == NONE, "a fault would be hidden: its ACK SACKs nothing new"


@pytest.mark.parametrize(
    ("came_us", "processed_us"),
    [
        # Processed before the next one came in.
        ((200, 400), (300, 500)),
        # Both waited, and both have an event: the first was a copy made by netem, into which the kernel merges nothing.
        ((200, 203), (300, 330)),
    ],
)
def test_acks_with_an_event_each_are_not_merged(came_us: tuple[int, int], processed_us: tuple[int, int]) -> None:
    planted = traffic()
    one, two = planted.came(came_us[0], 1, HIGH), planted.came(came_us[1], 11, HIGH)
    first = planted.event(processed_us[0], 1, last=170, sack=170)
    events = [first, planted.event(processed_us[1], 11, first=200, last=200)]
    pairs = rows(planted, [Owned.YES, Owned.YES])
    assert pairs.ack[events].tolist() == [one, two]
    assert pairs.sack[events].tolist() == [5, NONE]


@pytest.mark.parametrize("difference", ["timestamp", "echo", "block", "flag", "data"])
def test_acks_that_differ_are_not_merged(difference: str) -> None:
    planted = traffic()
    planted.came(200, 1, HIGH, tsecr=7)
    planted.came(
        203, 11, LOW if difference == "block" else HIGH, tsecr=8 if difference == "echo" else 7,
        flags=ACK | (0x40 if difference == "flag" else 0),
    )  # fmt: skip
    if difference == "timestamp":
        planted.packets[-1]["tsval"] += 1
    if difference == "data":
        planted.packets[-1]["seq"] += 10
    event = planted.event(300, 11, first=200, last=150 if difference == "block" else 200, sack=150)
    assert rows(planted, [Owned.YES]).sack[event] == (7 if difference == "block" else NONE)
