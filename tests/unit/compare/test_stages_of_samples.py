"""Where a sample's time went: stages add up, and time that is added to one is found there and nowhere else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rttcheck.compare.path import STAGES, Paths
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.samples import Kind, Side
from rttcheck.record.packet import Point
from rttcheck.record.recording import Recording
from tests.support.delayed_stage import with_longer
from tests.support.repeated_recordings import recorded


@pytest.fixture
def recordings() -> list[Recording]:
    return list(recorded())


def paths_of(recording: Recording) -> Paths:
    evidence = Evidence.of(recording)
    assert evidence.wire_times is not None
    return Paths.of(evidence, evidence.wire_times)


def test_the_stages_of_each_sample_add_up_to_it(recordings: list[Recording]) -> None:
    paths = paths_of(recordings[0])
    assert len(paths.total_us) == 44
    np.testing.assert_allclose(sum(paths.stages_us.values()), paths.total_us, atol=1e-6)


def test_each_direction_of_the_link_takes_half_of_the_injected_round_trip(recordings: list[Recording]) -> None:
    paths = paths_of(recordings[0])
    for stage in ("link out", "link back"):
        assert (paths.stages_us[stage] > 50_000).all()
        assert (paths.stages_us[stage] < 50_020).all()


@pytest.mark.parametrize("stage", STAGES)
def test_time_added_to_a_stage_is_found_in_it_alone(stage: str, recordings: list[Recording]) -> None:
    before, after = paths_of(recordings[0]), paths_of(with_longer(stage, recordings[0], 3))
    mine = before.chosen(Side.CLIENT, Kind.DATA)
    assert mine.sum() == 20
    for other in STAGES:
        added = after.stages_us[other][mine] - before.stages_us[other][mine]
        np.testing.assert_allclose(added, 3.0 if other == stage else 0.0, atol=1e-6)


def test_a_packet_that_the_far_end_did_not_capture_leaves_its_stages_open(recordings: list[Recording]) -> None:
    recording = recordings[0]
    gone = (recording.wire["point"] == Point.SERVER) & (recording.wire["outgoing"] == 0)
    paths = paths_of(dataclasses.replace(recording, wire=recording.wire[~gone]))
    mine = paths.chosen(Side.CLIENT, Kind.DATA)
    assert mine.any()
    assert np.isnan(paths.stages_us["link out"][mine]).all()
    assert not np.isnan(paths.stages_us["sender"][mine]).any()
