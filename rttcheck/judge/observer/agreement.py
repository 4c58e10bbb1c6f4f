"""Check that a recording's data on one sample agree: the probe's arguments, the values used, the kernel-side tables."""

from __future__ import annotations

from typing import Final

import numpy as np

from rttcheck.judge.check import VALUES, Check, Needs
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.samples import Kind, SampleSource, visible_to_nettrace
from rttcheck.record.histogram import Histogram, Unit, bucket_label

FIRST_AND_LAST: Final = Check(
    id="observer.first-and-last",
    layer=Layer.OBSERVER,
    title="first-acked and last-acked times are not mixed up",
    asserts=(
        "The first-acked time is at least the last-acked one; the estimator gets the first, the rate sample the last."
    ),
    against="each other (tcp_clean_rtx_queue(), tcp_ack_update_rtt())",
    tolerance="none",
    needs=Needs(all_of=("first_rtt_us", "last_rtt_us", "rs_rtt_us")),
)
HISTOGRAMS: Final = {
    unit: Check(
        id=f"observer.kernel-histogram-{unit.value}",
        layer=Layer.OBSERVER,
        title=f"the kernel-side histogram equals the events ({unit.value})",
        asserts="The histogram that the kernel-side program counted equals that of its events, bucket by bucket.",
        against="the probe's events",
        tolerance="none; lost events are inconclusive",
        needs=VALUES,
    )
    for unit in (Unit.MS, Unit.US)
}


def check_agreement(evidence: Evidence) -> tuple[Finding, ...]:
    """Return all findings, in no order."""
    return (
        _order(evidence),
        *(_histogram(evidence, unit) for unit in HISTOGRAMS),
    )


def _order(evidence: Evidence) -> Finding:
    """Compare first-acked and last-acked times: the first segment was sent no later, so its time is no smaller.

    Source: ``tcp_clean_rtx_queue()``. The kernel feeds the first to the estimator and keeps the last in ``rs->rtt_us``.
    """
    chosen = (evidence.sources == SampleSource.FIRST) & (evidence.kinds != Kind.HANDSHAKE)
    first, last, used, rate = (
        evidence.events[name][chosen] for name in ("first_rtt_us", "last_rtt_us", "sample_us", "rs_rtt_us")
    )
    swapped = last > first
    bad = swapped | (used != first) | (rate != last)
    expected = "rtt_min <= rtt; the estimator gets rtt, the rate sample rtt_min (tcp_ack_update_rtt())"
    several = int((first != last).sum())
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        outcome = Outcome.FAILED
        message = (
            f"in {int(bad.sum())} of {len(first)} events rtt and rtt_min differ from what the kernel used "
            f"({int(swapped.sum())} have rtt_min above rtt): the first reports rtt {int(first[at])} us, rtt_min "
            f"{int(last[at])} us, and the kernel used {int(used[at])} and {int(rate[at])} us"
        )
        if (swapped | ~bad).all():
            message += "; the two are swapped"
    else:
        outcome = Outcome.PASSED
        message = f"{len(first)} events, {several} of them with two different values"
    return FIRST_AND_LAST.finding(
        outcome,
        message,
        expected=expected,
        seen=f"{several} events in which the two differ",
        samples=len(first),
    )


def _histogram(evidence: Evidence, unit: Unit) -> Finding:
    """Compare the kernel-side program's table with that of its events, bucket by bucket."""
    shown = evidence.shown_us[visible_to_nettrace(evidence.events)]
    expected = Histogram.of(shown, unit)
    held = Histogram.of_counts(evidence.recording.histograms[unit.value], unit)
    outcome, message = Outcome.PASSED, f"{held.total} samples, equal in every bucket"
    differing = [
        f"{mine}, expected {theirs}, in {bucket_label(index, unit).strip()}"
        for index, (mine, theirs) in enumerate(zip(held.counts, expected.counts, strict=True))
        if mine != theirs
    ]
    if differing and evidence.lost:
        outcome = Outcome.INCONCLUSIVE
        message = (
            f"{evidence.lost} events were lost: the table holds {held.total} samples and the events {expected.total}"
        )
    elif differing:
        outcome, message = Outcome.FAILED, f"the kernel-side table in {unit.value} has {'; '.join(differing)}"
        other = Unit.US if unit is Unit.MS else Unit.MS
        if held.counts == Histogram.of(shown, other).counts:
            message += f": it counts {other.value} under the name of {unit.value}"
    return HISTOGRAMS[unit].finding(
        outcome,
        message,
        expected=f"{expected.total} samples, as in the events",
        seen=f"{held.total} samples, {len(differing)} buckets differ",
        samples=expected.total,
    )
