"""Check that no segment is stamped before what made TCP send it: the application's write, the last ACK or segment.

The bounds are causal, so that noise cannot break them: any delay makes a stamp later.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from rttcheck.judge.check import NOTHING, Check, Quality
from rttcheck.judge.findings import NOT_RUN, Finding, Layer, Outcome
from rttcheck.judge.observation import Observation
from rttcheck.judge.pairing.wire_times import MICROSECOND_NS, Integers
from rttcheck.judge.sample.cause import CLOCKS_NS, NEVER, Causes

CAUSED: Final = Check(
    id="sample.stamp-cause",
    layer=Layer.SAMPLE,
    title="no segment is stamped before its cause",
    asserts=(
        "No new segment has a stamp from before what made TCP send it: the application's write, the last ACK that "
        "its socket processed, the departure of the previous segment."
    ),
    against="writes, ACKs and departures of the same run, in order of time",
    tolerance="none for writes and departures; 1 us for ACKs, by which two readings of the clock may differ",
    needs=NOTHING,
    quality=Quality.PACKETS_AND_EVENTS,
)

_EXPECTED = (
    "no stamp before the application's write of the segment's last byte, the last ACK that its socket processed, or "
    "the departure of the previous segment: exact"
)


def check_causes(observation: Observation, *, queued: bool) -> Finding:
    """Compare the stamp of every new segment of a run with its causes; see `Causes.of` for ``queued``."""
    if not observation.stamped:
        message = f"{NOT_RUN}the recording has no stamps of packets"
        return CAUSED.finding(Outcome.INCONCLUSIVE, message, _EXPECTED, "nothing", 0, blind=True)
    causes = Causes.of(observation, queued=queued)
    kinds = (
        (causes.written_ns, 0, "the application's write"),
        (causes.acked_ns, CLOCKS_NS, "the last ACK that its socket processed"),
        (causes.before_ns, 0, "the departure of the previous segment"),
    )
    least = [_margin_ns(causes, cause_ns) for cause_ns, _, _ in kinds]
    seen = "; ".join(
        f"{len(margin)} after {cause}, by at least {margin.min() / MICROSECOND_NS:.1f} us"
        for margin, (_, _, cause) in zip(least, kinds, strict=True)
        if len(margin)
    )
    total = len(causes.row)
    for cause_ns, grain_ns, cause in kinds:
        known = cause_ns != NEVER
        early = known & (causes.stamp_ns < cause_ns - grain_ns)
        if early.any():
            short = np.where(early, cause_ns - causes.stamp_ns, 0)
            message = (
                f"{observation.where}{int(early.sum())} of {int(known.sum())} segments have a stamp from before "
                f"{cause}, which made TCP send them, the worst {short.max() / MICROSECOND_NS:.1f} us too early, half "
                f"of these by {np.median(short[early]) / MICROSECOND_NS:.1f} us or more"
            )
            return CAUSED.finding(Outcome.FAILED, message, _EXPECTED, seen, total)
    if not any(len(margin) for margin in least):
        message = f"{observation.where}no segment with a stamp has a recorded cause"
        return CAUSED.finding(Outcome.INCONCLUSIVE, message, _EXPECTED, seen, total)
    message = f"{observation.where}{total} new segments, stamped {seen}"
    return CAUSED.finding(Outcome.PASSED, message, _EXPECTED, seen, total)


def _margin_ns(causes: Causes, cause_ns: Integers) -> Integers:
    known = cause_ns != NEVER
    margin: Integers = (causes.stamp_ns - cause_ns)[known]
    return margin
