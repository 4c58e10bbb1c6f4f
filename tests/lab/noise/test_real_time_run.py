"""A scenario in real time, on the running kernel: what the recording says of the machine while it ran."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from rttcheck.collect import collector as collecting
from rttcheck.collect.collector import Collector, open_collector
from rttcheck.collect.cores import choose_cores
from rttcheck.collect.facts import current_clock
from rttcheck.collect.noise import timers_for
from rttcheck.errors import CapabilityError, TrafficError
from rttcheck.record.recording import Recording
from rttcheck.scenario.model import Scenario
from rttcheck_netns import ending
from rttcheck_netns.relay.packets import late_ns

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
    pytest.mark.skipif(current_clock() == "virtual", reason="virtual time has no noise"),
]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    try:
        with open_collector() as ours:
            yield ours
    except CapabilityError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def recording(collector: Collector) -> Recording:
    return collector.record(Scenario.make(name="five", rtt="5ms", count=40))


def test_noise_was_measured_all_along_on_the_cores_in_use(recording: Recording) -> None:
    ticks = recording.noise
    assert set(ticks["cpu"].tolist()) == set(timers_for(choose_cores()))
    for cpu in np.unique(ticks["cpu"]):
        due = ticks["due_ns"][ticks["cpu"] == cpu]
        assert due[0] - recording.noise_facts["period_ns"] < recording.events["timestamp_ns"][0]
        assert due[-1] + 2 * recording.noise_facts["period_ns"] > recording.events["timestamp_ns"][-1]
    assert [each["count"] > 0 for each in recording.noise_facts["control"]] == [True, True]


def test_the_relays_account_has_each_packet_that_was_seen_behind_it(recording: Recording) -> None:
    if recording.engine != "relay":
        pytest.skip("the engine here is netem")
    left = (recording.wire["point"] == 2) & (recording.wire["outgoing"] == 1)
    out = recording.relay[recording.relay["direction"] == 0]
    # Markers go the same way and are no TCP.
    assert 0 < left.sum() <= len(out)
    assert (late_ns(recording.relay) >= 0).all()


def test_there_is_a_control_run_on_either_side_of_the_run(recording: Recording) -> None:
    before, after = recording.control_runs
    assert before + after == len(recording.control)
    run = recording.events["timestamp_ns"]
    times = recording.control["timestamp_ns"]
    assert times[before - 1] < run[0] < run[-1] < times[before]


def test_traffic_that_fails_does_not_keep_the_timers_ticking(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_arguments: object, **_keywords: object) -> None:
        raise TrafficError("planted")

    scenario = Scenario.make(name="one", rtt="1ms", count=5)
    with monkeypatch.context() as patch:
        patch.setattr("rttcheck.collect.collector.run_traffic", failing)
        with pytest.raises(TrafficError, match="planted"):
            collector.record(scenario)
    recording = collector.record(scenario)
    assert len(recording.noise)
    assert "why_not" not in recording.noise_facts


def test_what_the_threads_got_is_told_and_this_thread_keeps_what_it_had(recording: Recording) -> None:
    cores = choose_cores()
    words = recording.machine["scheduling"]["traffic"]
    assert words.endswith("on any CPU" if cores.traffic is None else f"on CPU {cores.traffic}")
    assert len(os.sched_getaffinity(0)) > 1 or cores.traffic is None
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_labs_that_are_done_with_are_let_go_of_between_runs(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[tuple[int, bool]] = []
    known = ending.close_and_wait

    def close_and_wait(descriptors: Sequence[int], *, deadline_s: float) -> bool:
        ended.append((len(descriptors), known(descriptors, deadline_s=deadline_s)))
        return ended[-1][1]

    monkeypatch.setattr(collecting, "close_and_wait", close_and_wait)
    # That of a scenario just before may be the first control run of this one.
    collector._controls.clear()
    before = len(collector._held)
    monkeypatch.setattr(collecting, "HELD_NAMESPACES", before + 4)
    # Three labs of three namespaces each: before the third there are too many.
    collector.record(Scenario.make(name="short", rtt="1ms", count=5))
    assert ended == [((before + 6) // 2, True)]
    assert len(collector._held) == before + 9 - (before + 6) // 2
