"""Is no segment stamped before what made TCP send it: the application's write, the ACK before, the segment before.

It owns the comparison of stamps with their causes. The bounds are causal, so that noise cannot break them: whatever
delays a stamp makes it later.
"""

from __future__ import annotations

import numpy as np

from rttcheck.judge.data_quality import doubted
from rttcheck.judge.findings import NOT_RUN, Finding, Layer, Outcome
from rttcheck.judge.observation import Observation
from rttcheck.judge.pairing.wire_times import MICROSECOND_NS, Integers
from rttcheck.judge.sample.cause import CLOCKS_NS, NEVER, Causes

CAUSED = "segments are not stamped before they could be sent"

_EXPECTED = (
    "no stamp before the application's write of the segment's last byte, before the last ACK that its socket took, or "
    "before the last segment left: exact"
)


def check_causes(observation: Observation, doubt: str, *, queued: bool) -> Finding:
    """Compare the stamp of every new segment of a run with its causes; see `Causes.of` for ``queued``."""
    if not observation.stamped:
        message = f"{NOT_RUN}the recording has no stamps of packets"
        return Finding(
            layer=Layer.SAMPLE, check=CAUSED, outcome=Outcome.INCONCLUSIVE, message=message, expected=_EXPECTED,
            seen="nothing", samples=0, blind=True,
        )  # fmt: skip
    causes = Causes.of(observation, queued=queued)
    kinds = (
        (causes.written_ns, 0, "the application's write"),
        (causes.acked_ns, CLOCKS_NS, "the last ACK that its socket took"),
        (causes.before_ns, 0, "the departure of the segment before"),
    )
    least = [_margin_ns(causes, cause_ns) for cause_ns, _, _ in kinds]
    seen = "; ".join(
        f"{len(margin)} after {words}, by {margin.min() / MICROSECOND_NS:.1f} us at least"
        for margin, (_, _, words) in zip(least, kinds, strict=True)
        if len(margin)
    )
    total = len(causes.row)
    for cause_ns, grain_ns, words in kinds:
        known = cause_ns != NEVER
        early = known & (causes.stamp_ns < cause_ns - grain_ns)
        if early.any():
            short = np.where(early, cause_ns - causes.stamp_ns, 0)
            message = (
                f"{observation.where}{int(early.sum())} of {int(known.sum())} segments bear a stamp from before "
                f"{words}, which made TCP send them, the worst {short.max() / MICROSECOND_NS:.1f} us too early, half "
                f"of these by {np.median(short[early]) / MICROSECOND_NS:.1f} us or more"
            )
            outcome, message = doubted(Outcome.FAILED, message, doubt)
            return _finding(outcome, message, seen, total)
    if not any(len(margin) for margin in least):
        message = f"{observation.where}no segment with a stamp has a cause that was recorded"
        return _finding(Outcome.INCONCLUSIVE, message, seen, total)
    return _finding(Outcome.PASSED, f"{observation.where}{total} new segments, stamped {seen}", seen, total)


def _margin_ns(causes: Causes, cause_ns: Integers) -> Integers:
    known = cause_ns != NEVER
    margin: Integers = (causes.stamp_ns - cause_ns)[known]
    return margin


def _finding(outcome: Outcome, message: str, seen: str, samples: int) -> Finding:
    return Finding(
        layer=Layer.SAMPLE, check=CAUSED, outcome=outcome, message=message, expected=_EXPECTED, seen=seen,
        samples=samples,
    )  # fmt: skip
