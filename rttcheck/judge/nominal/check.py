"""Check samples against the injected latency: never below it, and above it only by the machine's own overhead.

Samples, analyzer values and buckets are compared with what the link's model and the control run allow. These checks do
not find the guilty layer of a mismatch; those of the other layers may.
"""

from __future__ import annotations

from itertools import count
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.check import VALUES, Check, Needs
from rttcheck.judge.evidence import UNBOUNDED_US, Booleans, Evidence, Microseconds
from rttcheck.judge.findings import Finding, Layer, Outcome, ranked
from rttcheck.judge.machine.noise import Late
from rttcheck.judge.machine.slack import FALSE_ALARM, chance_of_exceeding
from rttcheck.judge.machine.stall import explained, unless_stalled
from rttcheck.judge.nominal.edge import refuse_near_edge
from rttcheck.judge.samples import Kind
from rttcheck.record.histogram import BUCKETS, bucket_label, buckets_of
from rttcheck.scenario.duration import format_us

__all__ = ["FALSE_ALARM", "check_nominal", "expected_buckets", "refuse_near_edge"]

DATA_NOT_BELOW: Final = Check(
    id="nominal.data-not-below",
    layer=Layer.NOMINAL,
    title="data samples are not below the injected latency",
    asserts="No sample of a data segment is shorter than the injected round trip.",
    against="the link's model and the scenario",
    tolerance="none; 1 ms for samples that may be from timestamps",
    needs=VALUES,
)
SYN_FIN_NOT_BELOW: Final = Check(
    id="nominal.syn-fin-not-below",
    layer=Layer.NOMINAL,
    title="SYN and FIN samples are not below the injected latency",
    asserts="No sample of a SYN or FIN is shorter than the injected round trip.",
    against="the link's model and the scenario",
    tolerance="none; 1 ms for samples that may be from timestamps",
    needs=VALUES,
)
ANALYZER: Final = Check(
    id="nominal.analyzer",
    layer=Layer.NOMINAL,
    title="rtt and rtt_min are not below the injected latency",
    asserts=(
        "Both values that nettrace's analyzer prints, first-acked and last-acked, are no less than the "
        "injected round trip."
    ),
    against="the link's model and the scenario",
    tolerance="none",
    needs=Needs(any_of=("first_rtt_us", "last_rtt_us")),
)
NOT_ABOVE: Final = Check(
    id="nominal.data-not-above",
    layer=Layer.NOMINAL,
    title="data samples are not above the latency of link and machine",
    asserts="No sample of a data segment is longer than the link's upper bound plus the machine's overhead.",
    against="the link's model, and the control run's overhead as far as its own packets explain it",
    tolerance="virtual time: the control run's largest overhead; real time: outliers by chance, 1 in a million",
    needs=VALUES,
)
BUCKET: Final = Check(
    id="nominal.bucket",
    layer=Layer.NOMINAL,
    title="every data sample is in an expected bucket",
    asserts="Every data sample that nettrace displays is in a histogram bucket that the injected latency allows.",
    against="the link's model and the allowed overhead",
    tolerance="real time: up to half of the samples may be above, because of the machine",
    needs=VALUES,
)

REAL_TIME_GRAIN_US: Final = 1_000
"""In real time less than this above the control run is no failure: a link with delay lets the CPU go idle, one
without does not, and waking up costs tens to hundreds of microseconds. It is the millisecond that nettrace displays."""

_WAITS: Final = 6
"""How often a sample waits for a processor: its segment is sent, forwarded and received, and so is the ACK."""


def check_nominal(evidence: Evidence) -> tuple[Finding, ...]:
    """Return the findings of all nominal checks of one recording, in no particular order."""
    return (
        _below(evidence, evidence.data, DATA_NOT_BELOW),
        _below(evidence, np.isin(evidence.kinds, (Kind.HANDSHAKE, Kind.FIN)), SYN_FIN_NOT_BELOW),
        _analyzer(evidence),
        _above(evidence),
        _buckets(evidence),
    )


def _below(evidence: Evidence, chosen: Booleans, check: Check) -> Finding:
    """Check the lower bound. Noise can only add time, so a single sample below the bound is a failure."""
    values = evidence.values_us[chosen]
    missing = evidence.lowest_us[chosen] - values
    early = missing > 0
    expected = f"{format_us(evidence.whole.lowest_us)} or more ({evidence.whole.source})"
    coarse = int((evidence.coarse & chosen).sum())
    if coarse:
        origin = "from timestamps" if evidence.recording.view.every_sample else "that may be from timestamps"
        expected += f"; 1 ms less for {coarse} {origin}, which count milliseconds"
    if not early.any():
        outcome, message = Outcome.PASSED, f"{len(values)} samples, none below {format_us(evidence.whole.lowest_us)}"
        return check.finding(outcome, message, expected, spread(values), len(values))
    worst = int(np.argmax(missing))
    message = (
        f"{int(early.sum())} of {len(values)} samples are shorter than the latency on the wire, the worst "
        f"{int(values[worst])} us where {int(values[worst] + missing[worst])} us were injected; "
        f"noise can only make a sample longer{_likeness(evidence, values)}"
    )
    return check.finding(Outcome.FAILED, message, expected, spread(values), len(values))


def _analyzer(evidence: Evidence) -> Finding:
    """Check that both values that nettrace's analyzer prints are above the lower bound, in every event it prints."""
    check = ANALYZER
    lowest = evidence.lowest_us[evidence.shown]
    printed = {name: evidence.events[name][evidence.shown] for name in ("first_rtt_us", "last_rtt_us")}
    expected = f"first-acked and last-acked {format_us(evidence.whole.lowest_us)} or more"
    bad = {
        name: int((printed[field] < lowest).sum())
        for name, field in (("rtt", "first_rtt_us"), ("rtt_min", "last_rtt_us"))
        if evidence.recording.view.sees(field)
    }
    seen = f"rtt {spread(printed['first_rtt_us'])}; rtt_min {spread(printed['last_rtt_us'])}"
    if any(bad.values()):
        which = " and ".join(f"{name} in {count}" for name, count in bad.items() if count)
        message = (
            f"of {len(lowest)} events that nettrace displays, {which} are below the injected {evidence.whole.render()}"
        )
        return check.finding(Outcome.FAILED, message, expected, seen, len(lowest))
    message = f"{len(lowest)} events, both values not below the lower bound"
    return check.finding(Outcome.PASSED, message, expected, seen, len(lowest))


def _above(evidence: Evidence) -> Finding:
    check = NOT_ABOVE
    chosen, slack = evidence.bounded_above, evidence.slack
    if not chosen.any():
        message = f"the link has no upper bound ({evidence.whole.source})"
        if evidence.whole.highest_us is not None:
            message = "no sample has an upper bound"
            return check.finding(Outcome.INCONCLUSIVE, message, "at least one data sample", "none", 0)
        return check.finding(Outcome.PASSED, message, "nothing", spread(evidence.values_us[evidence.data]), 0)
    values = evidence.values_us[chosen]
    excess = values - evidence.highest_us[chosen]
    most = format_us(int(evidence.highest_us[chosen].max()))
    if not slack.samples:
        message = f"there is no control run to measure the machine's part of {spread(values)}"
        return check.finding(Outcome.INCONCLUSIVE, message, f"{most} and a control run's overhead", spread(values), 0)
    if evidence.virtual:
        return _above_exactly(evidence, values, excess, most)
    # A fault of one side must not hide among the other side's good samples.
    sides = evidence.sides[chosen]
    by_side = [
        _above_by_rank(evidence, np.flatnonzero(chosen)[sides == side], excess[sides == side], most)
        for side in np.unique(sides)
    ]
    return ranked(by_side)[0]


def _above_exactly(evidence: Evidence, values: Microseconds, excess: Microseconds, most: str) -> Finding:
    """Check the upper bound in virtual time, where only the kernel adds time; what is `explained` is inconclusive."""
    slack = evidence.slack
    expected = f"at most {most} + {slack.upper_us} us ({slack.render()})"
    held = int(evidence.held_us.max(initial=0))
    expected += f", of it up to {held} us in which the receiver delayed its ACK" if held else ""
    late = excess > slack.upper_us
    if not late.any():
        message = f"{len(values)} samples, at most {int(excess.max())} us above the link's own bound"
        return NOT_ABOVE.finding(Outcome.PASSED, message, expected, spread(values), len(values))
    worst = int(np.argmax(excess))
    message = (
        f"{int(late.sum())} of {len(values)} samples are longer than the link and this machine explain, the worst "
        f"{int(values[worst])} us, {int(excess[worst])} us above the link's bound where {slack.upper_us} us are "
        f"allowed{_likeness(evidence, values)}"
    )
    judged = unless_stalled(
        message,
        _late(evidence.events[np.flatnonzero(evidence.bounded_above)[late]], excess[late], len(values)),
        evidence.noise,
        preemption=evidence.thread_preemption,
    )
    return NOT_ABOVE.finding(*judged, expected, spread(values), len(values))


def enough_samples() -> int:
    """Return how many samples, and as many of the control run, the check by rank needs to be able to fail."""
    return next(number for number in count(1) if chance_of_exceeding(number, number, number) <= FALSE_ALARM)


def _late(late: np.ndarray, excess: Microseconds, total: int) -> Late:
    """Return these events of ``total`` as `Late`: they waited while their segments and ACKs were in flight."""
    ends: Microseconds = late["timestamp_ns"].astype(np.int64)
    return Late(
        begin_ns=ends - late["sample_us"] * 1_000,
        end_ns=ends,
        excess_ns=excess * 1_000,
        total=total,
        waits=_WAITS,
    )


def _above_by_rank(evidence: Evidence, places: npt.NDArray[np.intp], excess: Microseconds, most: str) -> Finding:
    """Check the upper bound in real time: a failure is too many late samples, each later than noise can explain."""
    slack, values = evidence.slack, evidence.values_us[places]
    measured = len(values)
    limit = slack.highest_us + slack.burst_us
    expected = (
        f"no more samples above {most} + {limit} us than by chance, false alarm in 1 of {1 / FALSE_ALARM:,.0f} runs "
        f"({slack.render()})"
    )
    if chance_of_exceeding(measured, measured, slack.samples) > FALSE_ALARM:
        message = (
            f"{measured} samples and {slack.samples} of the control run are too few to distinguish noise from a fault, "
            f"which takes {enough_samples()} of each: raise count, size or flows"
        )
        return NOT_ABOVE.finding(Outcome.INCONCLUSIVE, message, expected, spread(values), measured)
    over = int((excess > limit).sum())
    chance = chance_of_exceeding(over, measured, slack.samples)
    if chance >= FALSE_ALARM:
        message = f"{measured} samples, {over} of them outliers above the control run's largest overhead of {limit} us"
        return NOT_ABOVE.finding(Outcome.PASSED, message, expected, spread(values), measured)
    low, middle, high = (int(value) for value in np.percentile(excess, (10, 50, 90)))
    least, scatter = int(excess.min()) - limit, high - low
    figures = (
        f"{over} of {measured} overheads are above the control run's largest, {limit} us (by chance: {chance:.0e}); "
        f"their spread is {scatter} us around {middle} us"
    )
    if least > max(scatter, REAL_TIME_GRAIN_US):
        message = (
            f"{figures}, and even the smallest is {least} us above it, which noise does not explain"
            f"{_likeness(evidence, values)}"
        )
        late = _late(evidence.events[places], excess - limit, measured)
        return NOT_ABOVE.finding(*unless_stalled(message, late, evidence.noise), expected, spread(values), measured)
    if middle - limit < REAL_TIME_GRAIN_US and evidence.scenario.unit == "ms":
        message = f"{figures}: the cost of waking up from idle, less than the displayed millisecond"
        return NOT_ABOVE.finding(Outcome.PASSED, message, expected, spread(values), measured)
    message = f"{figures}: this machine is too noisy in real time to decide{_noise(evidence)}"
    return NOT_ABOVE.finding(Outcome.INCONCLUSIVE, message, expected, spread(values), measured)


def allowed_us(evidence: Evidence) -> int:
    """Return how far a sample may be above the link's own bound and still be in an expected bucket.

    In real time this leaves out the control run's outliers: one of them could extend the expected range over the next
    bucket's edge. Outliers of the measured run are counted.
    """
    slack = evidence.slack
    if not slack.samples:
        return 0
    return slack.upper_us if evidence.virtual else slack.typical_us


def expected_buckets(evidence: Evidence) -> tuple[Booleans, Microseconds, Microseconds]:
    """Return the allowed buckets, and the first and last allowed bucket of each displayed data sample."""
    chosen = evidence.shown
    lowest = np.maximum(evidence.lowest_us[chosen], 0)
    slack_us = allowed_us(evidence)
    bounded = evidence.bounded_above[chosen]
    highest = np.where(bounded, evidence.highest_us[chosen], UNBOUNDED_US - slack_us) + slack_us
    first = buckets_of(lowest, evidence.unit).astype(np.int64)
    last = buckets_of(highest, evidence.unit).astype(np.int64)
    allowed = np.zeros(BUCKETS, dtype=np.bool_)
    for pair in np.flatnonzero(np.bincount(first * BUCKETS + last)).tolist():
        allowed[pair // BUCKETS : pair % BUCKETS + 1] = True
    return allowed, first, last


def _buckets(evidence: Evidence) -> Finding:
    unit = evidence.unit
    check = BUCKET
    allowed, first, last = expected_buckets(evidence)
    values = np.maximum(evidence.shown_us[evidence.shown], 0)
    bounded = evidence.bounded_above[evidence.shown]
    found = buckets_of(values, unit)
    expected = ", ".join(bucket_label(int(index), unit) for index in np.flatnonzero(allowed)) or "no bucket"
    counts = np.bincount(found, minlength=BUCKETS)
    seen = (
        ", ".join(f"{counts[index]} in {bucket_label(int(index), unit)}" for index in np.flatnonzero(counts)) or "none"
    )
    low, high = int((found < first).sum()), int((found > last).sum())
    if not len(values):
        message = "no data sample that a histogram counts"
        return check.finding(Outcome.INCONCLUSIVE, message, expected, seen, 0)
    late = found > last
    excess = evidence.events["sample_us"][evidence.shown] - evidence.highest_us[evidence.shown]
    paused = _late(evidence.events[np.flatnonzero(evidence.shown)[late]], excess[late], len(values))
    cause = explained(paused, preemption=evidence.thread_preemption) if evidence.virtual else ""
    if cause and not low:
        message = f"{high} of {len(values)} samples are in a bucket above the expected ones, which {cause} explains"
        return check.finding(Outcome.INCONCLUSIVE, message, expected, seen, len(values))
    if low or (high and evidence.virtual):
        message = f"of {len(values)} samples {low} are in a bucket below the expected ones and {high} above: {seen}"
        return check.finding(Outcome.FAILED, message, expected, seen, len(values))
    if 2 * high > len(values):
        message = (
            f"{high} of {len(values)} samples are in a bucket above the expected ones; in real time the machine may be "
            f"the cause: {seen}{_noise(evidence)}"
        )
        return check.finding(Outcome.INCONCLUSIVE, message, expected, seen, len(values))
    constant = all(bounds.constant for bounds in evidence.bounds)
    # In real time the control run may have had noise that the measured run did not: samples that are all in the bucket
    # of the injected latency pass.
    excused = evidence.virtual or (found > first).any()
    if constant and excused and (last > first)[bounded].any() and not evidence.slack.burst_us:
        message = (
            f"the allowed overhead of {allowed_us(evidence)} us ({evidence.slack.render()}) extends over a bucket's "
            "edge, so the bucket is not significant"
        )
        return check.finding(Outcome.INCONCLUSIVE, message, expected, seen, len(values))
    outliers = f", {high} outliers above" if high else ""
    return check.finding(Outcome.PASSED, f"{seen}{outliers}", expected, seen, len(values))


def _noise(evidence: Evidence) -> str:
    """Return the measured noise to end a sentence with; empty where none was measured."""
    text = evidence.noise.render() if evidence.noise is not None else ""
    return f" ({text})" if text else ""


def spread(values: np.ndarray) -> str:
    """Return smallest, largest and median value as text, microseconds."""
    if not len(values):
        return "no sample"
    return f"{int(values.min())} to {int(values.max())} us, median {int(np.median(values))} us"


def _likeness(evidence: Evidence, values: np.ndarray) -> str:
    """Return the likely cause of the factor between expected and seen, when it is a well-known one; else empty."""
    whole = evidence.whole
    if not whole.lowest_us or not all(bounds.constant for bounds in evidence.bounds) or len(set(evidence.bounds)) > 1:
        return ""
    factor = float(np.median(values)) / whole.lowest_us
    known = {
        1000.0: "a thousand times as much: a unit is wrong",
        0.001: "a thousandth: a unit is wrong",
        0.5: "half as much: one direction is not delayed",
        2.0: "twice as much: one-way delay and round trip are mixed up",
    }
    for likely, cause in known.items():
        if 0.97 * likely < factor < 1.03 * likely + 100 / whole.lowest_us:
            return f" ({cause})"
    return ""
