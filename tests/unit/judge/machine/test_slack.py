from __future__ import annotations

import numpy as np
import pytest

from rttcheck.judge.machine.slack import Slack, chance_of_exceeding, from_hosts
from rttcheck.scenario.model import Scenario
from tests.support.planted import CLIENT, SERVER, socket_events


def test_slack_is_the_largest_overhead_twice_and_the_spread() -> None:
    slack = Slack.of(Scenario.make(rtt="20ms"), socket_events([40, 50, 70]))
    assert (slack.samples, slack.highest_us, slack.spread_us, slack.upper_us) == (3, 70, 30, 170)


def test_every_segment_that_may_arrive_at_the_same_instant_adds_one_overhead() -> None:
    control = socket_events([40, 50, 70])
    assert Slack.of(Scenario.make(rtt="20ms", flows=16), control).upper_us == 70 * 17 + 30
    paced = {"traffic": "paced", "interval": "5ms"}
    # A segment meets the ACK of another that left a round trip before.
    assert Slack.of(Scenario.make(rtt="20ms", **paced), control).upper_us == 70 * 3 + 30
    assert Slack.of(Scenario.make(rtt="20ms", jitter="5ms", **paced), control).concurrent == 1 + 6
    assert Slack.of(Scenario.make(rtt="20ms", jitter="5ms", count=3, **paced), control).concurrent == 3


def test_an_outlier_changes_the_slack_and_not_the_typical_value() -> None:
    scenario = Scenario.make(rtt="20ms")
    quiet, busy = (Slack.of(scenario, socket_events([40] * 50 + extra)) for extra in ([], [9_000]))
    assert quiet.typical_us == busy.typical_us == quiet.upper_us == 80
    assert busy.upper_us > 9_000


def test_the_handshake_of_the_control_run_does_not_count() -> None:
    control = socket_events([40, 50, 70], handshake_us=900)
    assert Slack.of(Scenario.make(rtt="20ms"), control).highest_us == 70


def test_a_burst_adds_twice_the_time_of_the_control_run() -> None:
    control = socket_events([40] * 10, handshake_us=900)
    # Since its first segment left, which is the second event's: connecting is no part of the burst.
    took_us = (int(control["timestamp_ns"][-1]) - int(control["timestamp_ns"][1])) // 1_000 + 40
    slack = Slack.of(Scenario.make(rtt="20ms", traffic="bulk"), control)
    assert slack.burst_us == 2 * took_us > 0
    control["timestamp_ns"][0] -= 9_000_000
    assert Slack.of(Scenario.make(rtt="20ms", traffic="bulk"), control).burst_us == slack.burst_us
    assert Slack.of(Scenario.make(rtt="20ms"), control).burst_us == 0


def test_pauses_between_writes_are_no_part_of_a_burst() -> None:
    """Three writes a second apart, of three segments each that are in flight together."""
    control = np.concatenate([socket_events([300, 400, 500], start_ns=second * 10**9) for second in (100, 101, 102)])
    control["timestamp_ns"] = np.repeat([10**9, 2 * 10**9, 3 * 10**9], 3) + np.tile([400, 500, 600], 3) * 1_000
    one_us = 600 - 100
    paced = {"traffic": "paced", "interval": "1s", "size": 4_000, "count": 3}
    assert Slack.of(Scenario.make(rtt="20ms", **paced), control).burst_us == 2 * 2 * one_us
    # Three round trips long, all of them may leave together; so they may where a lost ACK holds them back.
    assert Slack.of(Scenario.make(rtt="3s", **paced), control).burst_us == 2 * 3 * one_us
    assert Slack.of(Scenario.make(rtt="20ms", loss="1%", **paced), control).burst_us == 2 * 3 * one_us
    # Each exchange is waited for.
    assert Slack.of(Scenario.make(rtt="20ms", size=4_000), control).burst_us == 2 * one_us


def test_delayed_acks_of_the_control_run_do_not_count() -> None:
    control = np.concatenate(
        [socket_events([40] * 5), socket_events([40_000] * 5, own=(SERVER, 5_000), peer=(CLIENT, 40_000))]
    )
    delayed = Scenario.make(rtt="20ms", quickack=False)
    assert Slack.of(delayed, control, clients={CLIENT}).highest_us == 40
    assert Slack.of(Scenario.make(rtt="20ms"), control, clients={CLIENT}).highest_us == 40_000


def test_events_are_found_by_their_own_address() -> None:
    events = np.concatenate([socket_events([1]), socket_events([1], own=(SERVER, 5_000), peer=(CLIENT, 40_000))])
    assert from_hosts(events, [CLIENT]).tolist() == [True, False]
    assert from_hosts(events, ["fd00::1"]).tolist() == [False, False]


def test_the_chance_of_exceeding_is_that_of_drawing_the_order() -> None:
    """Of two and two draws in any order, the largest is a measured one in half, the two largest are in a sixth."""
    assert chance_of_exceeding(0, 2, 2) == 1
    assert chance_of_exceeding(1, 2, 2) == pytest.approx(1 / 2)
    assert chance_of_exceeding(2, 2, 2) == pytest.approx(1 / 6)


def test_the_chance_of_exceeding_holds_for_any_distribution() -> None:
    """Simulated with a heavy tail and a fixed seed: no more false alarms than the chance that is stated."""
    draws = np.random.default_rng(2026)
    measured, control = (draws.pareto(1.5, size=(20_000, 30)) for _ in range(2))
    exceeding = (measured > control.max(axis=1, keepdims=True)).sum(axis=1)
    for number in (1, 3, 6):
        stated = chance_of_exceeding(number, 30, 30)
        assert (exceeding >= number).mean() == pytest.approx(stated, rel=0.15)


def test_control_runs_far_apart_do_not_make_a_burst_long() -> None:
    scenario = Scenario.make(rtt="20ms", traffic="bulk", size=100_000)
    first, second = socket_events([40] * 10), socket_events([40] * 10, start_ns=900_000_000_000)
    alone = Slack.of(scenario, first)
    both = Slack.of(scenario, np.concatenate((first, second)), runs=(len(first), len(second)))
    assert both.burst_us == alone.burst_us > 0
    assert both.samples == 20


def test_control_runs_drift_where_half_of_one_lies_above_all_of_the_other() -> None:
    scenario, quiet = Scenario.make(rtt="20ms"), [40] * 30 + [50] * 30

    def drift_us(second: list[int]) -> int:
        events = socket_events(quiet + second)
        return Slack.of(scenario, events, runs=(60, len(events) - 60)).drift_us

    assert drift_us([40] * 25 + [300] * 35) == 255
    # Peaks, however many by half, are no drift; neither is a run too short to tell.
    assert drift_us([48] * 31 + [300] * 29) == 0
    assert drift_us([300, 300, 300]) == 0
    assert Slack.of(scenario, socket_events(quiet)).drift_us == 0


def test_no_sample_of_the_control_run_counts_for_more_than_its_packets_explain() -> None:
    """The samples are the tested kernel's own: one that adds a millisecond everywhere is not excused."""
    control = socket_events([1_040, 1_050, 1_070])
    most = np.array([240, 250, 270], dtype=np.int64)
    slack = Slack.of(Scenario.make(rtt="20ms"), control, most_us=most)
    assert (slack.highest_us, slack.spread_us) == (270, 30)


def test_the_links_own_timers_are_added() -> None:
    control = socket_events([40, 50, 70])
    slack = Slack.of(Scenario.make(rtt="20ms"), control, link_us=40)
    assert slack.upper_us == 170 + 40
    assert "the link's timers 40 us" in slack.render()
