"""Do the several accounts of one sample agree: the probe's arguments, the kernel's estimators, the kernel-side tables.

It owns what can be checked inside a recording without knowing the link: order of first-acked and last-acked, samples
against the estimators that they fed, histograms against the events. It does not know what latency was injected.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.histogram import Histogram, Unit, bucket_label
from rttcheck.judge.samples import Kind, Source, visible_to_nettrace

WINDOW_NS: Final = 300 * 1_000_000_000
"""tcp_min_rtt_wlen's default: within it the minimum only falls."""

_WINDOW_SYSCTL: Final = "net.ipv4.tcp_min_rtt_wlen"


def check_agreement(evidence: Evidence) -> tuple[Finding, ...]:
    """Every check of one account against another, in no order."""
    return (
        _order(evidence),
        _smoothed(evidence),
        _minimum(evidence),
        *(_histogram(evidence, unit) for unit in (Unit.MS, Unit.US)),
    )


def _order(evidence: Evidence) -> Finding:
    """The first newly acknowledged segment was sent no later than the last, so its sample is no smaller.

    Source: ``tcp_clean_rtx_queue()``. The kernel feeds the first to the estimator and keeps the last in ``rs->rtt_us``.
    """
    check = "first-acked and last-acked are told apart"
    events = evidence.events[(evidence.sources == Source.FIRST) & (evidence.kinds != Kind.HANDSHAKE)]
    first, last = events["first_rtt_us"], events["last_rtt_us"]
    swapped = last > first
    fed = events["sample_us"] != first
    kept = events["rs_rtt_us"] != last
    bad = swapped | fed | kept
    expected = "rtt_min <= rtt; the estimator is fed rtt, the rate sample holds rtt_min (tcp_ack_update_rtt())"
    several = int((first != last).sum())
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        outcome = Outcome.FAILED
        message = (
            f"in {int(bad.sum())} of {len(events)} events rtt and rtt_min are not what the kernel used "
            f"({int(swapped.sum())} have rtt_min above rtt): the first says rtt {int(first[at])} us, rtt_min "
            f"{int(last[at])} us, and the kernel took {int(events['sample_us'][at])} and "
            f"{int(events['rs_rtt_us'][at])} us"
        )
        if (swapped | ~bad).all():
            message += "; the two are swapped"
    else:
        outcome = Outcome.PASSED
        message = f"{len(events)} events, {several} of them with two different values"
    return Finding(
        layer=Layer.OBSERVER,
        check=check,
        outcome=outcome,
        message=message,
        expected=expected,
        seen=f"{several} events in which the two differ",
        samples=len(events),
    )


def _sockets(evidence: Evidence) -> Iterator[np.ndarray]:
    """The taken samples of each socket, in order; a socket is (sk, generation), as addresses are used again."""
    taken = evidence.events[evidence.events["taken"] != 0]
    if not len(taken):
        return
    _, socket = np.unique(taken[["sk", "generation"]], return_inverse=True)
    for index in range(int(socket.max()) + 1):
        yield taken[socket == index]


def _smoothed(evidence: Evidence) -> Finding:
    """srtt is a running mean: it lies between the smallest and the largest sample that it was fed, give or take 1 us.

    Source: ``tcp_rtt_estimator()``, the same in 5.10 to 7.3. It tells a wrong unit in the samples from a wrong latency.
    """
    outside: list[tuple[int, int, int]] = []
    sockets = 0
    for samples in _sockets(evidence):
        sockets += 1
        low, high = int(samples["sample_us"].min()), int(samples["sample_us"].max())
        srtt = samples["srtt_us"].astype(np.int64) >> 3
        bad = (srtt < low - 1) | (srtt > high + 1)
        if bad.any():
            outside.append((int(srtt[np.argmax(bad)]), low, high))
    expected = "srtt between the smallest and the largest sample of its socket (tcp_rtt_estimator())"
    layer, outcome, message = Layer.ARITHMETIC, Outcome.PASSED, f"srtt follows the samples of {sockets} sockets"
    if evidence.lost and outside:
        outcome, message = Outcome.INCONCLUSIVE, f"{evidence.lost} events were lost, so that srtt cannot be followed"
    elif outside:
        srtt_us, least_us, most_us = outside[0]
        outcome = Outcome.FAILED
        message = f"the kernel's srtt is {srtt_us} us where the samples shown lie between {least_us} and {most_us} us"
        if _another_unit(least_us, srtt_us):
            layer = Layer.OBSERVER
            message += ": the samples are shown in another unit than the kernel's microseconds"
    return Finding(
        layer=layer,
        check="srtt follows the samples",
        outcome=outcome,
        message=message,
        expected=expected,
        seen=f"{len(outside)} of {sockets} sockets outside",
        samples=sockets,
    )


def _minimum(evidence: Evidence) -> Finding:
    """min_rtt is the smallest last-acked sample, as long as no window has ended.

    Source: ``tcp_update_rtt_min()`` and lib/minmax.c: a sample that may be delayed is dropped only when it is above the
    minimum, which leaves the minimum as it is; 0 us are kept as one jiffy.
    """
    check = "min_rtt is the smallest sample"
    wrong: list[tuple[int, int]] = []
    sockets = skipped = 0
    for samples in _sockets(evidence):
        sockets += 1
        fed = samples["rs_rtt_us"].astype(np.int64)
        fed = np.where(fed == 0, 1_000_000 // np.maximum(samples["hz"].astype(np.int64), 1), fed)
        if int(samples["timestamp_ns"][-1]) - int(samples["timestamp_ns"][0]) >= WINDOW_NS:
            skipped += 1
            continue
        due = np.minimum.accumulate(fed)
        held = samples["min_rtt"]["v"][:, 0].astype(np.int64)
        bad = held != due
        if bad.any():
            wrong.append((int(held[np.argmax(bad)]), int(due[np.argmax(bad)])))
    window = evidence.recording.sysctls.get(_WINDOW_SYSCTL)
    layer, outcome, message = Layer.ARITHMETIC, Outcome.PASSED, f"in all {sockets} sockets, after every sample"
    if window not in (None, "300"):
        outcome, message = Outcome.INCONCLUSIVE, f"{_WINDOW_SYSCTL} is {window}: a window that ends needs a replay"
    elif wrong and evidence.lost:
        outcome, message = (
            Outcome.INCONCLUSIVE,
            f"{evidence.lost} events were lost, the smallest sample may be among them",
        )
    elif wrong:
        outcome = Outcome.FAILED
        held_us, due_us = wrong[0]
        message = f"in {len(wrong)} of {sockets} sockets: min_rtt is {held_us} us and the smallest sample {due_us} us"
        if _another_unit(due_us, held_us):
            layer = Layer.OBSERVER
            message += ", in another unit"
    elif skipped:
        outcome, message = Outcome.INCONCLUSIVE, f"{skipped} of {sockets} sockets outlived the window of 300 s"
    return Finding(
        layer=layer,
        check=check,
        outcome=outcome,
        message=message,
        expected="the smallest last-acked sample of the socket so far (tcp_update_rtt_min())",
        seen=f"{len(wrong)} of {sockets} sockets differ",
        samples=sockets,
    )


def _another_unit(shown_us: int, held_us: int) -> bool:
    """Whether two accounts of one time are so far apart that one of them is no microseconds."""
    factor = max(shown_us, 1) / max(held_us, 1)
    return not 1 / 500 < factor < 500


def _histogram(evidence: Evidence, unit: Unit) -> Finding:
    """The table that the kernel-side program kept is the one that its events make, bucket by bucket."""
    shown = evidence.events["first_rtt_us"][visible_to_nettrace(evidence.events)]
    due = Histogram.of(shown, unit)
    held = Histogram.of_counts(evidence.recording.histograms[unit.value], unit)
    outcome, message = Outcome.PASSED, f"{held.total} samples, the same in every bucket"
    differing = [
        f"{mine} and not {theirs} in {bucket_label(index, unit).strip()}"
        for index, (mine, theirs) in enumerate(zip(held.counts, due.counts, strict=True))
        if mine != theirs
    ]
    if differing and evidence.lost:
        outcome = Outcome.INCONCLUSIVE
        message = f"{evidence.lost} events were lost: the table counts {held.total} samples and the events {due.total}"
    elif differing:
        outcome, message = Outcome.FAILED, f"the kernel-side table in {unit.value} has {'; '.join(differing)}"
        other = Unit.US if unit is Unit.MS else Unit.MS
        if held.counts == Histogram.of(shown, other).counts:
            message += f": it counts {other.value} under the name of {unit.value}"
    return Finding(
        layer=Layer.OBSERVER,
        check=f"kernel-side histogram equals the events ({unit.value})",
        outcome=outcome,
        message=message,
        expected=f"{due.total} samples as the events have them",
        seen=f"{held.total} samples, {len(differing)} buckets differ",
        samples=due.total,
    )
