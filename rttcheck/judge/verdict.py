"""Judge a recording: call the checks of all layers, rank their findings, and return the verdict.

Checks are made in other modules. A verdict is a pure function of the recording: the same file gives the same verdict on
any machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from rttcheck.judge.arithmetic.check import check_arithmetic
from rttcheck.judge.arithmetic.socket_info import check_socket_info
from rttcheck.judge.coverage import check_coverage
from rttcheck.judge.data_quality import apply_data_quality
from rttcheck.judge.eligibility.check import check_eligibility
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding, Layer, Outcome, outcome_of, ranked
from rttcheck.judge.judgement import Verdict
from rttcheck.judge.kernel import check_kernel
from rttcheck.judge.link.check import check_link
from rttcheck.judge.link.pace import check_pace
from rttcheck.judge.needs import any_sample_compared, mark_unmet_needs
from rttcheck.judge.nominal.check import check_nominal, expected_buckets, spread
from rttcheck.judge.observer.agreement import check_agreement
from rttcheck.judge.observer.consistency import STATE, check_consistency
from rttcheck.judge.observer.second_probe import check_second
from rttcheck.judge.picture import Picture, in_buckets, in_steps
from rttcheck.judge.sample.wire_check import check_wire
from rttcheck.record.histogram import BUCKETS, buckets_of
from rttcheck.record.recording import Recording

__all__ = ["Verdict", "judge"]


def judge(recording: Recording, *, path: Path | None = None, reproduce: str | None = None) -> Verdict:
    """Judge a recording. Its ``path`` and the command to ``reproduce`` it are only displayed.

    Raises ScenarioError when this version does not know the recording's scenario.
    """
    evidence = Evidence.of(recording)
    kernel, link, wire = check_kernel(recording), check_link(evidence), check_wire(evidence)
    consistency = mark_unmet_needs(apply_data_quality(check_consistency(evidence), evidence), recording)
    findings = ranked(
        mark_unmet_needs(
            (
                *consistency,
                *_downgraded(
                    consistency,
                    apply_data_quality(
                        (
                            *check_coverage(evidence),
                            *check_pace(evidence),
                            *kernel.findings,
                            *link.findings,
                            *wire.findings,
                            *check_eligibility(evidence),
                            *check_arithmetic(evidence),
                            check_socket_info(evidence),
                            *check_agreement(evidence),
                            *check_nominal(evidence),
                            *check_second(evidence),
                        ),
                        evidence,
                    ),
                ),
            ),
            recording,
        )
    )
    values = evidence.values_us[evidence.data]
    figures = [("samples", len(values)), ("lowest_us", evidence.whole.lowest_us)]
    if evidence.whole.highest_us is not None:
        figures.append(("highest_us", evidence.whole.highest_us))
    if len(values):
        figures += [("min_us", int(values.min())), ("median_us", int(np.median(values))), ("max_us", int(values.max()))]
    if evidence.slack.samples:
        figures.append(("slack_us", evidence.slack.upper_us))
    figures += (*_machine_figures(evidence), *link.figures, *wire.figures)
    outcome = outcome_of(findings)
    if outcome is Outcome.PASSED and not any_sample_compared(findings):
        outcome = Outcome.INCONCLUSIVE
    return Verdict(
        outcome=outcome,
        findings=findings,
        name=evidence.scenario.name,
        machine=(
            f"kernel {recording.kernel}, {recording.clock} clock, engine {recording.engine}, "
            f"probe {recording.probe}, {recording.lost} events lost"
        ),
        expected=_expected(evidence),
        seen=_seen(evidence),
        notes=(*kernel.notes, *_notes(evidence), *link.notes, *wire.notes),
        picture=_picture(evidence, outcome),
        figures=tuple(figures),
        blindness=f"probe {recording.probe} sees {recording.view.render()}" if recording.view.unseen else "",
        path=str(path) if path is not None else None,
        reproduce=reproduce,
    )


_USING_EVENTS = frozenset({Layer.SAMPLE, Layer.ELIGIBILITY, Layer.ARITHMETIC, Layer.NOMINAL})
"""Layers whose checks use the probe's events."""

_USING_STATE = frozenset({Layer.ARITHMETIC})
"""The layer whose checks use the estimators' state; samples are compared with packets without it."""


def _downgraded(consistency: Iterable[Finding], findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings; failures that use inconsistent events or state of the probe become inconclusive."""
    failed = {finding.check for finding in consistency if finding.outcome is Outcome.FAILED}
    if not failed:
        return tuple(findings)
    affected = _USING_STATE if failed == {STATE.id} else _USING_EVENTS
    return tuple(
        replace(
            finding, outcome=Outcome.INCONCLUSIVE, message=f"{finding.message}; but the probe's data is inconsistent"
        )
        if finding.layer in affected and finding.outcome is Outcome.FAILED
        else finding
        for finding in findings
    )


def _expected(evidence: Evidence) -> str:
    trips = " then ".join(dict.fromkeys(bounds.render() for bounds in evidence.bounds))
    text = f"a round trip of {trips}, never less ({evidence.whole.source})"
    if evidence.whole.highest_us is not None and evidence.slack.samples:
        text += f", and up to {evidence.slack.upper_us} us more ({evidence.slack.render()})"
    return text


def _machine_figures(evidence: Evidence) -> tuple[tuple[str, int], ...]:
    """Return how late timers on the traffic's cores were, and the relay's releases."""
    if evidence.noise is None:
        return ()
    late = {"noise": [record.late_ns for record in evidence.noise.cores]}
    if evidence.noise.relay is not None:
        late["relay"] = [evidence.noise.relay.late_ns]
    figures = []
    for name, of_each in late.items():
        for figure, percent in (("p99", 99), ("max", 100)):
            values = [float(np.percentile(late_ns, percent)) for late_ns in of_each if len(late_ns)]
            figures += [(f"{name}_{figure}_us", round(max(values) / 1_000))] if values else []
    if evidence.noise.relay is not None:
        figures.append(("relay_early", evidence.noise.early))
    return tuple(figures)


def _notes(evidence: Evidence) -> tuple[str, ...]:
    scenario, notes = evidence.scenario, []
    for knob in scenario.not_asserted:
        notes.append(f"{knob} is set and not asserted: the kernel's netem does not do what its name says")
    if not scenario.quickack and scenario.traffic.server_writes:
        notes.append(
            "ACKs may be delayed (quickack is off): a server's samples include the client's think time, so they have "
            "no upper bound"
        )
    if scenario.traffic.congestion == "bbr":
        notes.append(
            "BBR paces inside TCP, which delays sending and not the stamp; with fq on the path a stamp may be in the "
            "future and a sample below the wire time, but the lab has no fq"
        )
    if evidence.recording.control_lost:
        notes.append(f"the control run lost {evidence.recording.control_lost} events, so the slack may be too small")
    if evidence.slack.burst_us:
        notes.append(
            "bursts are stamped when they begin: the time in their own queue is allowed, as in the control run"
        )
    if evidence.noise is not None and evidence.noise.records:
        notes.append(evidence.noise.render())
    if evidence.slack.drift_us:
        notes.append(
            f"the control runs before and after are {evidence.slack.drift_us} us apart: the machine changed meanwhile"
        )
    if evidence.recording.noise_facts.get("why_not") and not evidence.virtual:
        notes.append(f"noise was not measured: {evidence.recording.noise_facts['why_not']}")
    return tuple(notes)


def _seen(evidence: Evidence) -> str:
    """Return the data samples in one line, and how many of them the picture shows where that is not all."""
    values = evidence.values_us[evidence.data]
    text = f"{len(values)} data samples, {spread(values)}"
    shown = int(evidence.shown.sum())
    return text if shown == len(values) else f"{text}; nettrace shows {shown}, those with a first-acked segment"


def _picture(evidence: Evidence, outcome: Outcome) -> Picture:
    """Return a picture of buckets, or of even steps where a failure lies within the expected buckets."""
    allowed, first, last = expected_buckets(evidence)
    values = np.maximum(evidence.shown_us[evidence.shown], 0)
    found = buckets_of(values, evidence.unit)
    outside = bool(((found < first) | (found > last)).any())
    highest = evidence.whole.highest_us
    if outcome is Outcome.FAILED and len(values) and not outside and highest is not None and evidence.slack.samples:
        return in_steps(values, evidence.whole.lowest_us, highest + evidence.slack.upper_us)
    return in_buckets(np.bincount(found, minlength=BUCKETS).tolist(), allowed.tolist(), evidence.unit)
