"""Quiet spells by hand and against the plain way to find them; leads and lags of stamps; what work may take."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from rttcheck.judge.pairing.stamps import UNKNOWN
from rttcheck.judge.pairing.wire_times import Integers
from rttcheck.judge.sample.overhead import Passing, SampleOverhead, longest_gap
from rttcheck.judge.sample.overhead_check import work_ns
from rttcheck.record.packet import WIRE, Point
from tests.support.planted_wire import PlantedWire


def plain(passing: list[int], begin: int, end: int) -> int:
    moments = [begin, *(moment for moment in passing if begin < moment < end), end]
    return max(later - earlier for earlier, later in itertools.pairwise(moments))


def spells(passing: list[int], pairs: list[tuple[int, int]]) -> list[int]:
    begin, end = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return [int(spell) for spell in longest_gap(np.array(passing, dtype=np.int64), begin, end)]


def test_without_a_packet_the_whole_time_is_quiet() -> None:
    assert spells([], [(10, 60)]) == [50]
    assert spells([10, 60], [(10, 60)]) == [50]


def test_each_packet_breaks_the_quiet() -> None:
    assert spells([20, 50], [(10, 60)]) == [30]
    assert spells([20], [(10, 60)]) == [40]
    assert spells([50, 55], [(10, 60)]) == [40]


def test_what_ends_before_it_begins_is_negative() -> None:
    assert spells([5, 20], [(30, 10)]) == [-20]


def test_as_the_plain_way_has_it() -> None:
    dice = random.Random(7)
    for _ in range(300):
        passing = sorted(dice.randrange(100) for _ in range(dice.randrange(12)))
        pairs = [
            (begin, begin + dice.randrange(50)) for begin in (dice.randrange(90) for _ in range(1 + dice.randrange(8)))
        ]
        assert spells(passing, pairs) == [plain(passing, *pair) for pair in pairs], (passing, pairs)


def over_one_pair(took_ns: int) -> np.ndarray:
    """Ten packets of the client's over its pair."""
    wire = np.zeros(20, dtype=WIRE)
    wire["point"], wire["outgoing"] = [Point.CLIENT, Point.LINK_NEAR] * 10, [1, 0] * 10
    wire["time_ns"] = np.repeat(np.arange(10) * 1_000_000, 2) + np.tile([0, took_ns], 10)
    wire["seq"] = np.repeat(np.arange(10), 2)
    return wire


@pytest.mark.parametrize(
    ("hop_ns", "limit_ns"),
    [(0, 12_000), (2_999, 12_000), (3_000, 12_000), (3_001, 12_004), (24_999, 99_996), (25_001, 100_000)],
)
def test_work_takes_four_hops_and_12_us_at_least_and_100_us_at_most(hop_ns: int, limit_ns: int) -> None:
    assert work_ns(over_one_pair(hop_ns)) == limit_ns


def test_without_packets_the_least_is_left() -> None:
    assert work_ns(np.zeros(0, dtype=WIRE)) == 12_000


def split(stamps_us: list[int | None]) -> tuple[SampleOverhead, Passing]:
    """Segments that leave at 100, 104, 108 us and so on acknowledged one by one, each ACK processed after 2 us."""
    planted = PlantedWire()
    planted.handshake()
    for place, _ in enumerate(stamps_us):
        planted.sent(100 + 4 * place, 1 + 10 * place, 10)
    for place, _ in enumerate(stamps_us):
        came_us = 1_000 + 100 * place
        planted.came(came_us, 11 + 10 * place)
        # By its value, each was stamped at 95 us.
        planted.event(came_us + 2, 11 + 10 * place, first=came_us + 2 - 95, last=came_us + 2 - 95)
    observation = planted.observed()
    stamp_ns: Integers = np.array(
        [UNKNOWN if stamp is None else planted.start_ns + stamp * 1_000 for stamp in stamps_us], dtype=np.int64
    )
    account = observation.wire_times.exact[0]
    return SampleOverhead.of(account, observation.events, stamp_ns), Passing(wire=observation.wire)


def test_the_lead_is_from_the_stamp_where_it_is_known_and_else_from_the_value() -> None:
    overhead, passing = split([97, None, 96])
    assert overhead.lead_ns.tolist() == [3_000, 9_000, 12_000]
    assert overhead.lag_ns.tolist() == [2_000] * 3
    # Other packets of the burst pass meanwhile.
    assert overhead.quiet_lead_ns(passing, np.arange(3)).tolist() == [3_000, 5_000, 4_000]


def test_of_those_with_one_stamp_the_first_to_leave_opens() -> None:
    assert split([95, 95, 95])[0].opens.tolist() == [True, False, False]
    assert split([95, 95, 106])[0].opens.tolist() == [True, False, True]
    assert split([None, None, None])[0].opens.tolist() == [True, False, False]
