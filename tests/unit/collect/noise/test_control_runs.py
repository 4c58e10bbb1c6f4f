"""Which control runs a scenario has: in real time its own, just before and just after; in virtual time a shared one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from rttcheck.collect.collector import Collector, LabRun
from rttcheck.collect.stamp.stamps import Stamped
from rttcheck.collect.wire.capture import Wire
from rttcheck.kernel_log.reader import KernelLog
from rttcheck.record.event import EVENT
from rttcheck.record.packet import WIRE
from rttcheck.record.tick import TICK
from rttcheck.record.view import WHOLE
from rttcheck.record.write import WRITE
from rttcheck.scenario.model import Scenario
from rttcheck_netns.relay.packets import PACKET

FORTY = Scenario.make(name="forty", rtt="40ms")
BULK = Scenario.make(name="bulk", rtt="40ms", traffic="bulk", size=9_000)


@dataclasses.dataclass
class Clock:
    now_s: float = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The monotonic clock."""
    clock = Clock()
    monkeypatch.setattr("rttcheck.collect.collector.time", SimpleNamespace(monotonic=lambda: clock.now_s))
    return clock


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> list[str]:
    """The names of the runs, in the order in which they were made; the n-th has n events and two points' packets."""
    names: list[str] = []

    def run(_self: Collector, scenario: Scenario, *, impaired: bool = True, **_raw: bool) -> LabRun:
        names.append(scenario.name if impaired else f"{scenario.name}, no qdisc")
        number = len(names)
        wire = np.zeros(2, dtype=WIRE)
        wire["point"], wire["time_ns"] = (0, 1), number
        ticks = np.zeros(number, dtype=TICK)
        return LabRun(
            events=np.full(number, np.zeros((), EVENT)), histograms={}, lost=number, second=np.zeros(0, EVENT),
            second_lost=0, wire=Wire(packets=wire, facts={}, pcapng=b""),
            stamped=Stamped(), writes=np.zeros(0, WRITE),
            flows=({"client": ["c", number], "server": ["s", 1]},), steps=(), netem={}, sysctls={}, noise=ticks,
            timers=ticks,
            relay=np.zeros(number, PACKET), relay_facts={}, scheduling={"traffic": "somehow"}, log=KernelLog(-1),
            ended_s=clock.now_s,
        )  # fmt: skip

    monkeypatch.setattr(Collector, "_run", run)
    return names


def collector(clock: str, engine: str = "relay") -> Collector:
    probe = cast(Any, SimpleNamespace(backend="planted", view=WHOLE))
    return Collector(probe=probe, clock=clock, engine=engine)


def test_in_real_time_a_scenario_has_a_control_run_on_either_side(made: list[str]) -> None:
    recording = collector("real").record(FORTY)
    assert made == ["forty control", "forty", "forty control"]
    assert (len(recording.events), len(recording.control), recording.control_runs) == (2, 4, (1, 3))
    assert recording.control_lost == 4
    assert list(zip(recording.control_wire["point"], recording.control_wire["time_ns"], strict=True)) == [
        (0, 1), (0, 3), (1, 1), (1, 3)
    ]  # fmt: skip
    assert [flow["client"][1] for flow in recording.control_flows] == [1, 3]
    assert [each["count"] for each in recording.noise_facts["control"]] == [1, 3]
    assert (len(recording.noise), len(recording.relay)) == (2, 2)
    assert recording.machine["scheduling"] == {"traffic": "somehow"}


def test_a_control_run_that_was_asked_for_just_before_is_the_first_one(made: list[str]) -> None:
    ours = collector("real")
    assert len(ours.control(FORTY).events) == 1
    assert ours.record(FORTY).control_runs == (1, 3)
    assert made == ["forty control", "forty", "forty control"]


def test_the_control_run_after_a_scenario_is_that_before_the_next_one_if_it_follows_at_once(
    made: list[str], clock: Clock
) -> None:
    ours, again = collector("real"), dataclasses.replace(FORTY, name="again")
    assert ours.record(FORTY).control_runs == (1, 3)
    clock.now_s += 1.9
    assert ours.record(again).control_runs == (3, 5)
    clock.now_s += 2.1
    assert ours.record(FORTY).control_runs == (6, 8)
    # Other traffic has its own.
    assert ours.record(BULK).control_runs == (9, 11)
    assert made[3:8] == ["again", "again control", "forty control", "forty", "forty control"]


def test_in_virtual_time_scenarios_of_the_same_traffic_share_one(made: list[str]) -> None:
    ours = collector("virtual")
    first, second = ours.record(FORTY), ours.record(dataclasses.replace(FORTY, name="again"))
    ours.record(BULK)
    assert made == ["forty control", "forty", "again", "bulk control", "bulk"]
    assert first.control_runs == second.control_runs == (1,)
    why: Mapping[str, Any] = first.noise_facts
    assert "instructions" in why["why_not"]


def test_netem_has_no_part_in_a_control_run(made: list[str]) -> None:
    for clock in ("real", "virtual"):
        collector(clock, "netem").record(FORTY)
    undelayed = "forty control, no qdisc"
    assert made == [undelayed, "forty", undelayed, undelayed, "forty"]


def test_timers_are_the_runs_own_in_virtual_time_and_the_control_runs_in_real_time(made: list[str]) -> None:
    assert len(collector("real").record(FORTY).timers) == 1 + 3
    made.clear()
    assert len(collector("virtual").record(FORTY).timers) == 2
