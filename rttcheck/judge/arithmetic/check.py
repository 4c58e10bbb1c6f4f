"""Check that srtt, mdev, rttvar and RTO follow from the samples: every step of every socket, bit for bit.

The state before a step is the one that the socket's previous event reports: each step is checked alone, and all steps
together prove the chain from the first sample to the last.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from rttcheck.judge.arithmetic import estimator
from rttcheck.judge.arithmetic.estimator import FIELDS, Sample, State
from rttcheck.judge.arithmetic.minimum_check import check_minimum
from rttcheck.judge.arithmetic.rto import Bounds, jiffies_of_us, timeout_jiffies
from rttcheck.judge.arithmetic.step_finding import (
    EXAMINED,
    NO_SAMPLE,
    Cause,
    in_another_unit,
    likeliest,
    step_finding,
    unknown_steps,
)
from rttcheck.judge.arithmetic.steps import Steps
from rttcheck.judge.check import Check, Needs
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding, Layer
from rttcheck.judge.observer.confirmation import confirmation

SRTT: Final = Check(
    id="arithmetic.srtt",
    layer=Layer.ARITHMETIC,
    title="srtt, mdev and rttvar follow from the samples",
    asserts=(
        "Each sample moves srtt, mdev, mdev_max and rttvar as tcp_rtt_estimator() does; a call without a "
        "sample moves nothing."
    ),
    against="the state before the call and the kernel's formula, recomputed in integers",
    tolerance="none",
    needs=Needs(all_of=("sample_us", "srtt_us")),
)
RTO: Final = Check(
    id="arithmetic.rto",
    layer=Layer.ARITHMETIC,
    title="RTO follows from srtt and rttvar",
    asserts="icsk_rto is (srtt_us >> 3) + rttvar_us rounded up to jiffies, within its bounds, and the backoff is 0.",
    against="srtt and rttvar of the same event (tcp_set_rto())",
    tolerance="none",
    needs=Needs(all_of=("rto_jiffies", "backoff", "taken")),
)


def check_arithmetic(evidence: Evidence) -> tuple[Finding, ...]:
    """Return the findings on estimator, timeout and minimum, in this order."""
    every_sample = evidence.recording.view.every_sample
    steps = evidence.steps if every_sample else Steps.of(evidence.events, every_sample=False)
    smoothed, timeout = _smoothed(evidence, steps)
    return smoothed, timeout, check_minimum(evidence, steps, another_unit=smoothed.layer is Layer.OBSERVER)


def _smoothed(evidence: Evidence, steps: Steps) -> tuple[Finding, Finding]:
    """Return the findings on estimator and timeout; their columns are not held any longer."""
    state = State.of(evidence.events)
    bounds = Bounds.of(evidence.recording.sysctls, evidence.events["hz"].astype(np.int64))
    return _estimator(evidence, steps, state, bounds), _timeout(evidence, steps, state, bounds)


def _estimator(evidence: Evidence, steps: Steps, state: State, bounds: Bounds) -> Finding:
    """Compare the state after each call with the recomputed one; a call without a sample must change nothing.

    Source: ``tcp_ack_update_rtt()``.
    """
    events, previous = evidence.events, steps.previous
    before = state.before(steps)
    sample = Sample.of(events)
    formula = estimator.formula_of(evidence.recording.kernel)
    expected = estimator.after_sample(before, sample, bounds.least_us, formula)
    followed = previous >= 0
    wrong = steps.taken & steps.known & state.differs(expected)
    # While there is no srtt, tcp_init_metrics() may set the other fields between two calls.
    moved = ~steps.taken & followed & np.where(before.srtt_us == 0, state.srtt_us != 0, state.differs(before))
    bad = np.flatnonzero(wrong | moved)

    def describe(at: int) -> str:
        seen = state.row(at)
        if moved[at]:
            held, event = before.row(at), "a call that took no sample"
        else:
            held, event = expected.row(at), f"a sample of {int(sample.us[at])} us"
        return f"{event}: " + ", ".join(
            f"{name} is {seen[name]}, expected {held[name]}" for name in FIELDS if seen[name] != held[name]
        )

    def cause() -> Cause:
        rows = np.flatnonzero(wrong)[:EXAMINED]
        if not len(rows):
            return NO_SAMPLE
        if in_another_unit(sample.us[rows], state.srtt_us[rows] >> 3):
            if all(confirmation(evidence, name, wrong) for name in ("sample_us", "srtt_us")):
                return Cause(text="srtt is kept in another unit than the samples, as both probes report")
            return Cause(text="the events hold samples in another unit than the kernel's microseconds", unit=True)
        start, fed, least, seen = before.at(rows), sample.at(rows), bounds.least_us[rows], state.at(rows)
        last = Sample(us=events["rs_rtt_us"][rows].astype(np.int64), snd_una=fed.snd_una, snd_nxt=fed.snd_nxt)
        return likeliest(
            [
                ("the estimator ignored the sample", ~seen.differs(start) & (previous[rows] >= 0)),
                *(
                    (text, ~seen.differs(estimator.after_sample(start, fed, least, other)))
                    for text, other in estimator.faults(formula)
                ),
                (
                    "the estimator was fed the last-acked sample and not the first-acked one",
                    ~seen.differs(estimator.after_sample(start, last, least, formula)),
                ),
            ]
        )

    return step_finding(
        evidence,
        check=SRTT,
        expected="the state before each call, and tcp_rtt_estimator() in integers: exact",
        checked=int((steps.taken & steps.known).sum()) + int((~steps.taken & followed).sum()),
        unknown=unknown_steps(evidence, steps),
        bad=bad,
        describe=describe,
        cause=cause,
        note=f"{int((~steps.taken).sum())} calls without a sample changed nothing" if (~steps.taken).any() else "",
    )


def _timeout(evidence: Evidence, steps: Steps, state: State, bounds: Bounds) -> Finding:
    """Compare each timeout with the one that the estimators of the same event give; the backoff must be 0.

    The state before is not needed, so that lost events do not matter. Calls without a sample are left out: timers
    double the timeout in between.
    """
    events = evidence.events
    hz = events["hz"].astype(np.int64)
    held = events["rto_jiffies"].astype(np.int64)
    expected = timeout_jiffies(state.srtt_us, state.rttvar_us, hz, bounds.most_jiffies)
    backed_off = events["backoff"] != 0
    bad = np.flatnonzero(steps.taken & ((held != expected) | backed_off))

    def describe(at: int) -> str:
        text = f"srtt_us {int(state.srtt_us[at])} and rttvar_us {int(state.rttvar_us[at])} give "
        text += f"{int(expected[at])} jiffies at {int(hz[at])} Hz, and icsk_rto is {int(held[at])}"
        return text + (f", icsk_backoff is {int(events['backoff'][at])}, expected 0" if backed_off[at] else "")

    def cause() -> Cause:
        rows = bad[:EXAMINED]
        seen, total = held[rows], (state.srtt_us[rows] >> 3) + state.rttvar_us[rows]
        earlier = np.maximum(steps.previous[rows], 0)
        return likeliest(
            [
                ("the backoff was not reset", seen == expected[rows]),
                ("the timeout is cut to jiffies and not rounded up", seen == total * hz[rows] // 1_000_000),
                ("the timeout has no upper bound", (seen == jiffies_of_us(total, hz[rows])) & (seen > expected[rows])),
                ("the timeout is one jiffy too long", seen == expected[rows] + 1),
                ("the timeout is one jiffy too short", seen == expected[rows] - 1),
                (
                    "the timeout is that of the previous sample",
                    (seen == expected[earlier]) & (seen != expected[rows]) & (steps.previous[rows] >= 0),
                ),
                ("the timeout is doubled: a backoff was kept", seen == expected[rows] * 2),
            ]
        )

    return step_finding(
        evidence,
        check=RTO,
        expected=(
            "(srtt_us >> 3) + rttvar_us rounded up to jiffies, at most "
            f"{int(bounds.most_jiffies.max(initial=0))} of them, no backoff (tcp_set_rto())"
        ),
        checked=int(steps.taken.sum()),
        unknown=0,
        bad=bad,
        describe=describe,
        cause=cause,
        losses_explain=False,
    )
