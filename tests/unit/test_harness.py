"""The way from a scenario to a result, with a collector that replays planted recordings."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rttcheck.collect.collector import Collector
from rttcheck.errors import CapabilityError, ScenarioError
from rttcheck.harness import Harness, open_harness
from rttcheck.judging.result import injected
from rttcheck.record.recording import Recording
from rttcheck.scenario.model import Scenario
from tests.support.planted import record


def planted(scenario: Scenario, **lies: Any) -> Recording:
    keywords: dict[str, Any] = {**scenario.keywords(), **lies}
    return record(**keywords)


@dataclass
class Replay:
    """Stands in for a collector: `lies` go into the recording, and what was asked for is kept."""

    lies: dict[str, Any] = field(default_factory=dict)
    recorded: list[str] = field(default_factory=list)

    def control(self, scenario: Scenario) -> Any:
        return SimpleNamespace(events=planted(scenario.control()).control)

    def record(self, scenario: Scenario) -> Recording:
        self.recorded.append(scenario.name)
        return planted(scenario, **self.lies)


def harness(replay: Replay, recordings: Path | None = None) -> Harness:
    return Harness(collector=cast(Collector, replay), recordings=recordings)


def row(**keywords: Any) -> dict[str, str | int | float]:
    lies: dict[str, Any] = {name: keywords.pop(name) for name in ("client", "server", "lost") if name in keywords}
    return harness(Replay(lies)).run(Scenario.make(**{"name": "planted", **keywords})).row()


def test_a_row_says_what_was_injected_and_what_was_seen() -> None:
    told = row(rtt="40ms")
    assert told["outcome"] == "passed"
    assert (told["injected"], told["bucket"]) == ("40ms", "32-63ms")
    assert 40_000 < int(told["min_us"]) <= int(told["p50_us"]) <= int(told["max_us"]) < 40_100
    assert (told["guilty"], told["reason"]) == ("", "")


@pytest.mark.parametrize(
    ("rtt", "unit", "bucket"),
    [
        ("40ms", "us", "32768-65535us"),
        ("1ms", "ms", "0-1ms"),
        ("100ms", "us", ">=65536us"),
        ("300ms", "ms", "256-511ms"),
    ],
)
def test_a_rows_bucket_is_of_the_scenarios_own_unit(rtt: str, unit: str, bucket: str) -> None:
    assert row(rtt=rtt, unit=unit)["bucket"] == bucket


def test_a_row_names_the_guilty_layer_and_the_reason() -> None:
    told = row(rtt="40ms", client=[39_000] * 100)
    assert told["outcome"] == "failed"
    assert told["guilty"]
    assert "39000 us" in str(told["reason"])


def test_a_row_of_no_samples_has_no_bucket_and_did_not_pass() -> None:
    told = row(rtt="40ms", client=[], server=[])
    assert told["outcome"] != "passed"
    assert (told["samples"], told["bucket"], told["p50_us"]) == (0, "", -1)


def test_a_stepped_scenario_names_its_round_trips_in_order() -> None:
    steps = [{"after": 30, "rtt": "80ms"}, {"after": 60, "rtt": "20ms"}]
    assert injected(Scenario.make(name="step", rtt="20ms", steps=steps)) == "20ms, 80ms, 20ms"


def test_the_recording_is_kept_under_a_name_that_file_systems_take(tmp_path: Path) -> None:
    result = harness(Replay(), tmp_path).run(Scenario.make(name="far/../away [x]", rtt="40ms"))
    assert result.path is not None
    assert result.path.parent == tmp_path
    assert Recording.load(result.path).scenario["name"] == "far/../away [x]"
    assert result.verdict.path == str(result.path)


def test_a_value_at_a_buckets_edge_is_refused_before_its_traffic() -> None:
    replay = Replay()
    with pytest.raises(ScenarioError, match=r"15\.99ms"):
        harness(replay).run(Scenario.make(name="edge", rtt="15.99ms"))
    assert replay.recorded == []


def test_without_root_the_sentence_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with (
        pytest.raises(CapabilityError, match=r"need root, and this is user 1000: run it again with sudo"),
        open_harness(),
    ):
        raise AssertionError("a harness was opened without root")
