"""Paced traffic that lost its pace has not tried the link."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Outcome
from rttcheck.judge.link.pace import check_pace
from rttcheck.record.packet import Point
from rttcheck.record.recording import Recording
from tests.support.planted_wire import with_packets


def paced(writes: int) -> Recording:
    """A recording of a scenario with so many writes, whose client sent as many segments as the planted one."""
    recording = with_packets()
    traffic = {"kind": "paced", "interval": "1ms", "count": writes}
    return dataclasses.replace(recording, scenario={**recording.scenario, "traffic": traffic})


def segments(recording: Recording) -> int:
    wire = recording.wire
    return int(((wire["point"] == Point.CLIENT) & (wire["outgoing"] != 0)).sum())


@pytest.mark.parametrize(("times", "outcome"), [(1, Outcome.PASSED), (4, Outcome.PASSED), (5, Outcome.INCONCLUSIVE)])
def test_a_quarter_of_the_writes_must_have_left_alone(times: int, outcome: Outcome) -> None:
    sent = segments(paced(1))
    (found,) = check_pace(Evidence.of(paced(times * sent)))
    assert (found.outcome, found.samples) == (outcome, sent)
    assert found.message.startswith(f"{times * sent} writes left in {sent} segments")


def test_a_segment_that_is_sent_again_counts_once() -> None:
    recording = paced(100)
    again = np.concatenate((recording.wire, recording.wire))
    order = np.lexsort((again["time_ns"], again["point"]))
    (found,) = check_pace(Evidence.of(dataclasses.replace(recording, wire=again[order])))
    assert found.samples == segments(recording)


def test_traffic_without_a_pace_has_none_to_keep() -> None:
    assert check_pace(Evidence.of(with_packets())) == ()
