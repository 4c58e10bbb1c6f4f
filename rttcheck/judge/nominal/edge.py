"""Refuse injected values so near a histogram bucket's edge that the bucket is not significant.

The error names safe values nearby. The check runs before the traffic, with or without a control run.
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
"""No kernel was seen to answer within 10 µs (13 µs in virtual time, 5.10 to 7.3): nearer to an edge than this, a sample
is never in the bucket of the injected value, on any machine."""


def refuse_near_edge(scenario: Scenario, control: np.ndarray | None = None) -> None:
    """Raise ScenarioError when a constant delay and the delay plus the machine's overhead are in two buckets.

    ``control`` holds the events of the scenario's control run; without it only `LEAST_OVERHEAD_US` is known. The
    message names the nearest safe values. An exact edge is safe: no sample is below what was injected. Nothing is
    refused where the link's delays spread over several buckets anyway, where bursts queue behind themselves, or where
    the overhead is half as wide as a bucket: another value would not help, and the verdict says so.
    """
    if scenario.bursts:
        return
    unit = Unit(scenario.unit)
    overhead_us = LEAST_OVERHEAD_US
    source = "the least overhead of any kernel"
    if control is not None:
        slack = Slack.of(scenario, control)
        if slack.samples:
            overhead_us = max(slack.typical_us, LEAST_OVERHEAD_US)
            source = "this machine's overhead in the control run"
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
            f"{scenario.name!r} injects {format_us(trip.lowest_us)}, which {source} of {overhead_us} us moves over "
            f"the edge at {format_us(edge_us)} of the bucket {bucket_label(index, unit).strip()}: inject "
            f"{format_us(below_us)} or less, or {format_us(edge_us)} or more"
        )
