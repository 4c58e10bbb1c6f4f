"""Check that paced traffic kept its pace: a link that few packets tried has not been tried.

Where TCP waits for ACKs, because its congestion window is full, writes collect and leave together in few segments.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from rttcheck.judge.check import NOTHING, Check
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.record.packet import Point

LEAST: Final = 4
"""One segment for this many writes is the least. Under the losses of the named scenarios it is one for two."""

PACE: Final = Check(
    id="link.pace",
    layer=Layer.LINK,
    title="paced traffic kept its pace",
    asserts="Writes at a pace left in at least a quarter as many segments.",
    against="the scenario's traffic, and packets at the client's own interface",
    tolerance="a quarter; fewer are inconclusive",
    needs=NOTHING,
)


def check_pace(evidence: Evidence) -> tuple[Finding, ...]:
    """Return the finding; none where traffic has no pace, or no packets were captured."""
    traffic = evidence.scenario.traffic
    if not traffic.interval_us or evidence.observation is None:
        return ()
    writes = traffic.flows * traffic.count
    segments = _segments(evidence.observation.wire)
    kept = LEAST * segments >= writes
    seen = f"{writes} writes left in {segments} segments"
    message = seen if kept else f"{seen}, as TCP waited for ACKs: raise the interval, or lower delay or loss"
    return (
        PACE.finding(
            Outcome.PASSED if kept else Outcome.INCONCLUSIVE,
            message=message,
            expected=f"at least {-(-writes // LEAST)} segments",
            seen=seen,
            samples=segments,
        ),
    )


def _segments(wire: np.ndarray) -> int:
    """Return how many segments with new data left the client."""
    left = wire[(wire["point"] == Point.CLIENT) & (wire["outgoing"] != 0) & (wire["payload"] > 0)]
    count = 0
    for port in np.unique(left["sport"]):
        mine = left[left["sport"] == port]
        ends = (mine["seq"] - mine["seq"][0]).view(np.int32) + mine["payload"].astype(np.int64)
        count += len(np.unique(np.maximum.accumulate(ends)))
    return count
