"""Recordings without packets: samples are wrong, and whether the link or the stack is to blame nobody can tell."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from rttcheck.judge.findings import Layer
from rttcheck.record.recording import Recording
from tests.faults.fault import Fault, Plant
from tests.faults.sample_faults import resampled


def _without_packets(plant: Plant) -> Plant:
    def planted(recording: Recording) -> Recording:
        nothing = recording.wire[:0]
        return replace(plant(recording), wire=nothing, wire_facts={})

    return planted


FAULTS: Final = (
    Fault(
        name="5 ms too long, no packets",
        layer=Layer.NOMINAL,
        what="every sample is 5 ms too long, and no packets were captured",
        scenarios=("ping-pong", "edge"),
        apply=_without_packets(resampled(lambda us: us + 5_000)),
    ),
    Fault(
        name="100 us too short, no packets",
        layer=Layer.NOMINAL,
        what="every sample is 100 us too short, and no packets were captured",
        scenarios=("ping-pong", "loss"),
        apply=_without_packets(resampled(lambda us: us - 100)),
    ),
    Fault(
        name="one direction's round trip, no packets",
        layer=Layer.NOMINAL,
        what="every sample is the time of one direction, and no packets were captured",
        scenarios=("ping-pong", "jitter"),
        apply=_without_packets(resampled(lambda us: us // 2)),
    ),
)
