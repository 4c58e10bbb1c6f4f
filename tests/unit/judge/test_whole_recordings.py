"""Recordings of the benchmarks are whole: every layer judges them, and nothing is wrong with them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.whole import WHOLE
from rttcheck.judge.findings import Layer, Outcome
from rttcheck.judge.observer.consistency import _next_events, _repeated
from rttcheck.judge.observer.second_probe import _places
from rttcheck.judge.verdict import judge
from rttcheck.record.event import EVENT


@pytest.mark.parametrize("kind", WHOLE)
def test_every_layer_passes_a_whole_recording(kind: str) -> None:
    recording = WHOLE[kind](2_000)
    verdict = judge(recording)
    assert verdict.outcome is Outcome.PASSED, verdict.reason
    assert verdict.blind == ()
    assert {finding.layer for finding in verdict.findings} == set(Layer)
    assert len(verdict.findings) >= 47


def test_a_fault_in_a_whole_recording_is_found() -> None:
    recording = WHOLE["lossy"](2_000)
    recording.events["srtt_us"][1_000] += 8
    assert judge(recording).guilty is Layer.OBSERVER or judge(recording).guilty is Layer.ARITHMETIC


def test_the_next_event_of_a_socket_is_the_first_that_is_later() -> None:
    random = np.random.default_rng(1)
    socket, times = random.integers(0, 4, 300), random.integers(0, 200, 300)
    wanted, after = random.integers(0, 6, 80), random.integers(0, 220, 80)
    found = set(_next_events(socket, times, wanted, after).tolist())
    slowly = [
        np.flatnonzero((socket == one) & (times > ns))[:1].tolist() for one, ns in zip(wanted, after, strict=True)
    ]
    assert found == {place for places in slowly for place in places}


def test_a_repeated_call_is_every_one_but_the_first() -> None:
    events = np.zeros(6, dtype=EVENT)
    events["sk"], events["timestamp_ns"] = [1, 2, 1, 1, 2, 1], [5, 5, 5, 6, 5, 5]
    assert _repeated(events).tolist() == [False, False, True, False, True, True]


def test_a_sample_is_paired_with_the_last_of_the_same() -> None:
    key = np.dtype((np.void, 8))
    one, other = np.array([3, 9, 4], np.uint64).view(key), np.array([4, 3, 3, 7], np.uint64).view(key)
    assert _places(one, other).tolist() == [2, -1, 0]
    assert _places(one, other[:0]).tolist() == [-1, -1, -1]
