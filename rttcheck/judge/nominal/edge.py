"""Injected values that sit so near a histogram bucket's edge that their bucket proves nothing.

It owns the refusal, and the names of safe values nearby. It runs before the traffic, with or without a control run.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from rttcheck.errors import ScenarioError
from rttcheck.judge.link.bounds import scenario_bounds
from rttcheck.judge.machine.slack import Slack
from rttcheck.record.histogram import Unit, bounds, bucket_label, bucket_of
from rttcheck.scenario.duration import format_us
from rttcheck.scenario.model import Scenario

LEAST_OVERHEAD_US: Final = 10
"""No kernel has been seen to answer within 10 µs (13 µs in virtual time, 5.10 to 7.3): nearer to an edge than this, a
value never lies in its own bucket, whatever the machine."""


def refuse_near_edge(scenario: Scenario, control: np.ndarray | None = None) -> None:
    """Raise ScenarioError when a constant delay and the machine's overhead lie on two sides of a bucket's edge.

    ``control`` holds the events of the scenario's control run; without it only `LEAST_OVERHEAD_US` is known. The
    message names the nearest safe values. An exact edge is safe: no sample is below what was injected. Nothing is
    refused where the link scatters over several buckets anyway, where bursts queue behind themselves, or where the
    overhead is half as wide as a bucket: that is no fault of the value, and the verdict says it.
    """
    if scenario.bursts:
        return
    unit = Unit(scenario.unit)
    overhead_us = LEAST_OVERHEAD_US
    told = "the least overhead of any kernel"
    if control is not None:
        slack = Slack.of(scenario, control)
        if slack.samples:
            overhead_us = max(slack.typical_us, LEAST_OVERHEAD_US)
            told = "this machine's overhead in the control run"
    for trip in scenario_bounds(scenario):
        if not trip.constant:
            continue
        index = bucket_of(trip.lowest_us // unit.microseconds)
        lowest, highest = bounds(index)
        if highest is None:
            continue
        start_us, edge_us = lowest * unit.microseconds, (highest + 1) * unit.microseconds
        if trip.lowest_us + overhead_us < edge_us or 2 * overhead_us > edge_us - start_us:
            continue
        below_us = edge_us - overhead_us - 1
        # A round number, where one is near enough.
        below_us = next(
            rounded for grain in (1_000, 100, 10, 1) if below_us - (rounded := below_us // grain * grain) <= overhead_us
        )
        raise ScenarioError(
            f"{scenario.name!r} injects {format_us(trip.lowest_us)}, which {told} of {overhead_us} us carries over "
            f"the edge at {format_us(edge_us)} of the bucket {bucket_label(index, unit).strip()}: inject "
            f"{format_us(below_us)} or less, or {format_us(edge_us)} or more"
        )
