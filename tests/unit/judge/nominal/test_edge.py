from __future__ import annotations

from typing import Any

import pytest

from rttcheck.errors import ScenarioError
from rttcheck.judge.nominal.edge import refuse_near_edge
from rttcheck.scenario.model import Scenario
from tests.support.planted import overheads, socket_events

QUIET = socket_events(overheads(100, 30, 75))


def refusal(control: Any = QUIET, **keywords: Any) -> str:
    with pytest.raises(ScenarioError) as refused:
        refuse_near_edge(Scenario.make(name="near", **keywords), control)
    return str(refused.value)


def test_a_value_just_under_an_edge_is_refused_and_safe_ones_are_named() -> None:
    sentence = refusal(rtt="31950us")
    assert "injects 31.95ms" in sentence
    assert "over the edge at 32ms of the bucket 16 -    31ms" in sentence
    assert "inject 31.8ms or less, or 32ms or more" in sentence


def test_the_values_that_it_names_are_safe_with_the_same_control_run() -> None:
    for safe in ("31.8ms", "32ms"):
        refuse_near_edge(Scenario.make(rtt=safe), QUIET)


def test_a_value_on_an_edge_is_safe_because_no_sample_is_below_it() -> None:
    refuse_near_edge(Scenario.make(rtt="16ms"), QUIET)
    refuse_near_edge(Scenario.make(rtt="16ms"))


def test_without_a_control_run_only_the_least_overhead_counts() -> None:
    refuse_near_edge(Scenario.make(rtt="31950us"))
    assert "the least overhead of any kernel of 10 us" in refusal(control=None, rtt="31995us")


def test_the_edges_are_those_of_the_scenarios_unit() -> None:
    refuse_near_edge(Scenario.make(rtt="1000us"), QUIET)
    assert "of the bucket 512 -  1023us" in refusal(rtt="1000us", unit="us")


def test_a_step_near_an_edge_is_refused_too() -> None:
    assert "injects 63.99ms" in refusal(rtt="20ms", steps=[{"after": 5, "rtt": "63.99ms"}])


@pytest.mark.parametrize(
    "keywords",
    [
        {"rtt": "31950us", "jitter": "1ms"},
        {"rtt": "31950us", "loss": "1%"},
        {"rtt": "31950us", "traffic": "bulk"},
    ],
)
def test_what_fills_several_buckets_anyway_is_not_refused(keywords: dict[str, Any]) -> None:
    refuse_near_edge(Scenario.make(**keywords), QUIET)


def test_an_outlier_of_a_busy_machine_does_not_refuse_a_good_value() -> None:
    control = socket_events([*overheads(100, 30, 75), 9_000])
    refuse_near_edge(Scenario.make(rtt="10ms"), control)


def test_an_overhead_as_wide_as_a_bucket_is_not_refused() -> None:
    refuse_near_edge(Scenario.make(rtt="5ms"), socket_events([4_000] * 50))


def test_an_empty_control_run_counts_as_none() -> None:
    refuse_near_edge(Scenario.make(rtt="31950us"), socket_events([], handshake_us=60))
