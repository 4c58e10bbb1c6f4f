"""Two probes on one run: what they both see is compared member by member, and only what they both can see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.observer.second_probe import SAME_SAMPLES, SAME_STATE, SAME_VALUES
from rttcheck.judge.verdict import judge
from rttcheck.record.event import Hook
from rttcheck.record.recording import Recording
from rttcheck.record.view import SOCKOPS, SOCKOPS_WITHOUT_ARGUMENTS, TRACEPOINT, WHOLE, View
from tests.support.narrowed import as_sockops, hide
from tests.support.planted_wire import with_packets


def beside(
    events: np.ndarray, probe: str, view: View, *, lost: int = 0, recording: Recording | None = None
) -> Recording:
    facts = {"probe": probe, "view": view.as_dict(), "lost": lost}
    return replace(with_packets() if recording is None else recording, second=events, second_facts=facts)


def later(events: np.ndarray) -> np.ndarray:
    """The same calls as another program saw them: at another moment of each."""
    seen = events.copy()
    seen["timestamp_ns"] += 400
    return seen


def found(recording: Recording) -> dict[str, Finding]:
    return {finding.key: finding for finding in judge(recording).findings if finding.key.startswith("observer.second")}


def outcomes(recording: Recording) -> dict[str, str]:
    return {check: finding.outcome.value for check, finding in found(recording).items()}


def test_one_probe_alone_is_compared_with_nothing() -> None:
    assert found(with_packets()) == {}


@pytest.mark.parametrize("view", [SOCKOPS, SOCKOPS_WITHOUT_ARGUMENTS], ids=["arguments", "none"])
def test_sockops_beside_a_whole_probe_agrees_sample_by_sample(view: View) -> None:
    events = with_packets().events
    recording = beside(later(as_sockops(events, view)), "sockops", view)
    assert outcomes(recording) == {SAME_SAMPLES.id: "passed", SAME_VALUES.id: "passed"}
    assert found(recording)[SAME_SAMPLES.id].samples == len(recording.second) > len(events) // 3
    assert judge(recording).outcome is Outcome.PASSED


def test_it_does_not_matter_which_of_the_two_is_the_first() -> None:
    whole = with_packets()
    first = replace(whole, events=as_sockops(whole.events), control=as_sockops(whole.control), view=SOCKOPS)
    recording = beside(later(whole.events), "fexit", WHOLE, recording=first)
    assert outcomes(recording) == {SAME_SAMPLES.id: "passed", SAME_VALUES.id: "passed"}


@pytest.mark.parametrize("name", ["sample_us", "srtt_us", "mdev_us", "rttvar_us", "rtt_seq", "packets_out"])
def test_a_member_that_differs_is_named_with_both_values(name: str) -> None:
    events = later(as_sockops(with_packets().events))
    events[name][30] += 1
    recording = beside(events, "sockops", SOCKOPS)
    finding = found(recording)[SAME_VALUES.id]
    assert (finding.outcome, finding.layer) == (Outcome.FAILED, Layer.OBSERVER)
    assert name in finding.message
    assert "by sockops" in finding.message


def test_what_one_of_them_does_not_see_is_not_compared() -> None:
    events = later(as_sockops(with_packets().events))
    events["first_rtt_us"] = 7
    assert outcomes(beside(events, "sockops", SOCKOPS))[SAME_VALUES.id] == "passed"


def drop(places: list[int]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda events: np.delete(events, places)


@pytest.mark.parametrize(("lost", "outcome"), [(0, "failed"), (3, "inconclusive")])
def test_a_round_trip_that_sockops_missed_is_found(lost: int, outcome: str) -> None:
    events = later(as_sockops(with_packets().events))
    recording = beside(drop([10, 50])(events), "sockops", SOCKOPS, lost=lost)
    assert outcomes(recording) == {SAME_SAMPLES.id: outcome, SAME_VALUES.id: "passed"}
    assert "2 reported by" in found(recording)[SAME_SAMPLES.id].message


def test_a_sample_that_only_sockops_saw_is_found() -> None:
    events = later(as_sockops(with_packets().events))
    invented = events[[20]].copy()
    invented["delivered"] += 1_000
    recording = beside(np.concatenate((events, invented)), "sockops", SOCKOPS)
    assert outcomes(recording)[SAME_SAMPLES.id] == "failed"
    assert "1 reported by sockops alone" in found(recording)[SAME_SAMPLES.id].message


def test_within_a_round_trip_sockops_need_not_see_a_sample() -> None:
    whole = with_packets()
    recording = beside(later(as_sockops(whole.events)), "sockops", SOCKOPS, recording=whole)
    assert len(recording.second) < len(whole.events)
    assert outcomes(recording) == {SAME_SAMPLES.id: "passed", SAME_VALUES.id: "passed"}


def states(events: np.ndarray) -> np.ndarray:
    """What the tracepoint finds a millisecond after each event."""
    seen = hide(events, TRACEPOINT, Hook.TRACEPOINT)
    seen["timestamp_ns"] += 1_000_000
    return seen


@pytest.mark.parametrize("narrow", [False, True])
def test_the_tracepoint_finds_what_each_sample_left(narrow: bool) -> None:
    whole = with_packets()
    first = replace(whole, events=as_sockops(whole.events), control=as_sockops(whole.control), view=SOCKOPS)
    recording = beside(states(whole.events), "tracepoint", TRACEPOINT, recording=first if narrow else whole)
    assert outcomes(recording) == {SAME_STATE.id: "passed"}
    assert found(recording)[SAME_STATE.id].samples == len(recording.events)


@pytest.mark.parametrize("name", ["srtt_us", "mdev_us", "rtt_seq"])
def test_a_state_that_no_sample_left_is_found(name: str) -> None:
    events = states(with_packets().events)
    events[name][30] += 1
    recording = beside(events, "tracepoint", TRACEPOINT)
    assert outcomes(recording) == {SAME_STATE.id: "failed"}
    assert f"the first is {name}" in found(recording)[SAME_STATE.id].message


def test_a_state_after_more_was_delivered_is_of_a_sample_that_was_not_seen() -> None:
    events = states(with_packets().events)
    events["delivered"] += 1
    events["srtt_us"] += 5
    recording = beside(events, "tracepoint", TRACEPOINT)
    assert outcomes(recording) == {SAME_STATE.id: "inconclusive"}


@pytest.mark.parametrize(("further", "outcome"), [(1, "passed"), (0, "passed"), (-1, "failed")])
def test_an_ack_of_a_part_of_what_was_sent_again_moves_snd_una_and_delivers_nothing(further: int, outcome: str) -> None:
    events = states(with_packets().events)
    events["snd_una"][30] = int(events["snd_una"][30]) + further
    recording = beside(events, "tracepoint", TRACEPOINT)
    assert outcomes(recording) == {SAME_STATE.id: outcome}
