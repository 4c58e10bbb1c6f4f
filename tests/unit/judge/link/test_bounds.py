"""The bounds of netem's model, against the kernel's own arithmetic computed by hand."""

from __future__ import annotations

from typing import Any

import pytest

from rttcheck.judge.link.bounds import (
    Load,
    OneWayBounds,
    engine_bounds,
    load_of,
    packet_time_ns,
    round_trip,
    scenario_bounds,
    union,
)
from rttcheck.scenario.model import Scenario
from rttcheck_netns.distribution import Distribution
from rttcheck_netns.netem import Netem, RandomLoss, Slot

LIGHT = Load(((1, 100), (8, 94)), 54)
MS = 1_000_000


def bounds(**netem: Any) -> OneWayBounds:
    return engine_bounds(Netem(**netem), LIGHT)


def test_a_constant_delay_has_one_value() -> None:
    assert bounds(delay_ns=10 * MS) == OneWayBounds(10 * MS, 10 * MS, "netem delay 10ms")


def test_uniform_jitter_ends_a_nanosecond_before_its_upper_end() -> None:
    found = bounds(delay_ns=10 * MS, jitter_ns=2 * MS)
    assert (found.lowest_ns, found.highest_ns) == (8 * MS, 12 * MS - 1)


def test_a_table_reaches_as_far_as_its_entries() -> None:
    found = bounds(delay_ns=40 * MS, jitter_ns=5 * MS, distribution=Distribution("twin", (-8192, 0, 16384)))
    assert (found.lowest_ns, found.highest_ns) == (35 * MS, 50 * MS)


def test_a_table_entry_is_rounded_as_the_kernel_rounds() -> None:
    """tabledist(): (sigma % 8192 * t, half of 8192 away from zero) / 8192 + sigma / 8192 * t + mu."""
    found = bounds(delay_ns=40 * MS, jitter_ns=8_193, distribution=Distribution("twin", (-4096, 4096)))
    assert (found.lowest_ns, found.highest_ns) == (40 * MS - 4_097, 40 * MS + 4_097)


def test_reordering_sends_some_packets_without_delay() -> None:
    found = bounds(delay_ns=10 * MS, reorder=20.0, gap=1)
    assert (found.lowest_ns, found.highest_ns) == (0, 10 * MS)


@pytest.mark.parametrize(
    ("netem", "why"),
    [
        ({"loss": RandomLoss(1)}, "loss"),
        ({"loss": RandomLoss(1), "ecn": True}, "loss"),
        ({"corrupt": 1.0}, "corruption"),
        ({"slot": Slot(max_delay_ns=MS)}, "slot"),
        ({"limit": 8}, "may overflow"),
        ({"limit": 17, "duplicate": 1.0}, "may overflow"),
    ],
)
def test_a_missing_upper_bound_has_a_reason(netem: dict[str, Any], why: str) -> None:
    found = bounds(delay_ns=10 * MS, **netem)
    assert (found.lowest_ns, found.highest_ns) == (10 * MS, None)
    assert why in found.source


def test_a_queue_that_just_holds_the_traffic_has_an_upper_bound() -> None:
    assert bounds(delay_ns=MS, limit=9).highest_ns == MS
    assert bounds(delay_ns=MS, limit=18, duplicate=1.0).highest_ns == MS


def test_a_rate_adds_the_frame_itself_and_the_queue_before_it() -> None:
    found = bounds(delay_ns=MS, rate_bytes=1_000_000)
    assert found.lowest_ns == MS + 54_000
    assert found.highest_ns == MS + 100_000 + 8 * 94_000


def test_a_queue_longer_than_the_retransmission_timeout_is_bounded_by_its_limit() -> None:
    heavy = Load(((300, 1_514), (8, 94)), 54)
    found = engine_bounds(Netem(rate_bytes=1_000_000, limit=400), heavy)
    assert found.highest_ns == 400 * 1_514_000


@pytest.mark.parametrize(
    ("netem", "length", "nanoseconds"),
    [
        (Netem(), 1_500, 0),
        (Netem(rate_bytes=1_000_000), 1_500, 1_500_000),
        (Netem(rate_bytes=1_000_000, packet_overhead=14), 1_500, 1_514_000),
        (Netem(rate_bytes=1_000_000, cell_size=48, cell_overhead=5), 97, 159_000),
        (Netem(rate_bytes=1_000_000, packet_overhead=-200), 100, 0),
    ],
)
def test_a_frame_keeps_the_wire_busy_as_the_kernel_counts(netem: Netem, length: int, nanoseconds: int) -> None:
    assert packet_time_ns(netem, length) == nanoseconds


def test_the_round_trip_is_rounded_down_below_and_up_above() -> None:
    trip = round_trip(OneWayBounds(10_000_700, 11_000_700, "a"), OneWayBounds(200, 400, "b"))
    assert (trip.lowest_us, trip.highest_us, trip.source) == (10_000, 11_002, "out a; back b")
    assert round_trip(OneWayBounds(5, 5, "a"), OneWayBounds(5, None, "b")).highest_us is None


def test_a_union_allows_what_any_of_its_parts_allows() -> None:
    stepped = Scenario.make(rtt="20ms", steps=[{"after": 5, "rtt": "80ms"}, {"after": 9, "rtt": "20ms"}])
    whole = union(scenario_bounds(stepped))
    assert (whole.lowest_us, whole.highest_us) == (20_000, 80_000)
    assert whole.source == "both ways netem delay 10ms, then both ways netem delay 40ms"
    lossy = Scenario.make(rtt="20ms", steps=[{"after": 5, "rtt": "80ms", "loss": "1%"}])
    assert union(scenario_bounds(lossy)).highest_us is None


def test_traffic_loads_the_direction_that_it_writes_in() -> None:
    out, back = load_of(Scenario.make(rtt="20ms", traffic="bulk", size=142_000))
    assert out.frames[0] == (100, 1_514)
    assert back.packets == 100 + 8
    assert max(length for _, length in back.frames) < 120
    ping_out, ping_back = load_of(Scenario.make(rtt="20ms", flows=16))
    assert ping_out == ping_back
    assert ping_out.frames[0] == (16, 95)
    paced, _ = load_of(Scenario.make(rtt="20ms", traffic="paced", count=30))
    assert paced.frames[0][0] == 30


def test_longer_addresses_make_longer_frames() -> None:
    four, six = load_of(Scenario.make(rtt="1ms"))[0], load_of(Scenario.make(rtt="1ms", family=6))[0]
    assert (four.shortest, six.shortest) == (54, 74)


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"rtt": "20ms"}, "20ms"),
        ({"rtt": "40ms", "jitter": "8ms"}, "24ms to 56ms"),
        ({"rtt": "20ms", "loss": "1%"}, "20ms or more"),
    ],
)
def test_bounds_as_text(keywords: dict[str, Any], text: str) -> None:
    assert scenario_bounds(Scenario.make(**keywords))[0].render() == text
