from __future__ import annotations

from typing import Final

import pytest

from rttcheck.judge.link.bounds import scenario_bounds
from rttcheck.judge.nominal.edge import refuse_near_edge
from rttcheck.record.histogram import Unit, bounds, bucket_of
from rttcheck.scenario.library import NAMED

TYPICAL_SLACK_US = 300
"""Three times what virtual time was seen to add to a constant delay."""


def test_the_library_covers_what_the_suite_runs() -> None:
    constant = {NAMED[f"rtt-{value}ms"].rtt_us for value in (1, 5, 10, 40, 100, 300)}
    assert constant == {1_000, 5_000, 10_000, 40_000, 100_000, 300_000}
    assert NAMED["asymmetric"].out.delay_ns != NAMED["asymmetric"].back.delay_ns
    assert NAMED["ipv6"].family == 6
    assert NAMED["sixteen-flows"].traffic.flows == 16
    assert NAMED["bbr"].traffic.congestion == "bbr"
    assert NAMED["step"].steps
    assert NAMED["loss"].out.loss
    assert NAMED["reordering"].out.reorder
    assert NAMED["rate-queue"].out.rate_bytes
    assert NAMED["uniform-jitter"].out.distribution is None
    assert NAMED["normal-jitter"].out.distribution is not None


@pytest.mark.parametrize("name", NAMED)
def test_a_named_scenario_is_far_from_a_bucket_edge(name: str) -> None:
    scenario = NAMED[name]
    refuse_near_edge(scenario)
    unit = Unit(scenario.unit)
    for trip in scenario_bounds(scenario):
        if trip.constant:
            _, highest = bounds(bucket_of(trip.lowest_us // unit.microseconds))
            assert highest is not None
            assert trip.lowest_us + TYPICAL_SLACK_US <= highest * unit.microseconds + unit.microseconds - 1


def test_microseconds_leaves_the_machine_as_much_room_as_it_injects() -> None:
    trip = NAMED["microseconds"].rtt_us
    _, highest = bounds(bucket_of(trip))
    assert highest is not None
    assert highest - trip > 0.95 * trip


ENOUGH: Final = 12
"""Samples that tell noise from a fault in a million, with as many of a control run."""

INITIAL_WINDOW: Final = 10 * 1_448
"""``TCP_INIT_CWND`` (include/net/tcp.h) segments."""


@pytest.mark.parametrize("name", [name for name in NAMED if NAMED[name].traffic.kind == "bulk"])
def test_a_transfer_gives_a_probe_that_sees_one_sample_a_round_trip_enough(name: str) -> None:
    traffic, window, sent, round_trips = NAMED[name].traffic, INITIAL_WINDOW, 0, 0
    while sent < traffic.size:
        sent, window, round_trips = sent + window, 2 * window, round_trips + 1
    assert round_trips * traffic.flows >= ENOUGH + 4


@pytest.mark.parametrize("name", NAMED)
def test_a_named_scenario_is_short_enough_for_an_emulated_machine(name: str) -> None:
    traffic = NAMED[name].traffic
    if traffic.kind == "bulk":
        assert traffic.size * traffic.flows <= 300_000
    else:
        assert traffic.count * traffic.flows <= 300


@pytest.mark.parametrize("name", [name for name in NAMED if NAMED[name].traffic.kind == "paced"])
def test_paced_writes_go_on_for_many_round_trips(name: str) -> None:
    scenario = NAMED[name]
    assert scenario.traffic.count * scenario.traffic.interval_us >= 10 * scenario.rtt_us
