"""Of which parts of a sample's way the 90th percentile is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from rttcheck.compare.measured import ADDED, TAIL, TOTAL, DistributionName, Figure, MeasuredRun
from tests.support.repeated_recordings import recorded


def figures(traffic: str) -> Mapping[DistributionName, Figure]:
    """Of a recording of an exchange that is said to be of this traffic."""
    recording = recorded()[0]
    said = {name: value for name, value in recording.scenario.items() if name != "count"}
    return MeasuredRun.of(replace(recording, scenario={**said, "traffic": traffic})).figures


def tails(traffic: str) -> set[str]:
    """The parts that have one."""
    return {name.part for name in figures(traffic) if name.side == "client" and name.figure == TAIL}


def test_every_part_has_a_tail_where_segments_go_alone() -> None:
    assert tails("pingpong") == {TOTAL, ADDED, "sender", "link out", "receiver", "link back", "arrival"}


@pytest.mark.parametrize("traffic", ["bulk", "oneway"])
def test_in_a_burst_only_the_work_of_the_sender_has_one(traffic: str) -> None:
    assert tails(traffic) == {ADDED, "sender", "arrival"}


def test_medians_are_measured_in_a_burst_too() -> None:
    alone, burst = ({name for name in figures(kind) if name.figure != TAIL} for kind in ("pingpong", "bulk"))
    assert alone == burst
