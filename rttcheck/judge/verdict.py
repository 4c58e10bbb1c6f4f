"""The verdict on a recording: outcome, findings with the cause first, guilty layer, and the text that says it all.

It owns the order in which things are told and nothing else: checks are made elsewhere. A verdict is a pure function of
the recording; the same file gives the same verdict on any machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from rttcheck.judge.arithmetic.check import check_arithmetic
from rttcheck.judge.arithmetic.socket_info import check_socket_info
from rttcheck.judge.coverage import check_coverage
from rttcheck.judge.data_quality import weighed
from rttcheck.judge.eligibility.check import check_eligibility
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import NOT_RUN, Finding, Layer, Outcome, outcome_of, ranked
from rttcheck.judge.kernel import check_kernel
from rttcheck.judge.link.check import check_link
from rttcheck.judge.needs import seen_through, tells
from rttcheck.judge.nominal.check import check_nominal, expected_buckets, spread
from rttcheck.judge.observer.agreement import check_agreement
from rttcheck.judge.observer.consistency import STATE, check_consistency
from rttcheck.judge.observer.second_probe import check_second
from rttcheck.judge.picture import Picture, in_buckets, in_steps
from rttcheck.judge.sample.wire_check import check_wire
from rttcheck.record.histogram import BUCKETS, buckets_of
from rttcheck.record.recording import Recording

_COLORS = {Outcome.PASSED: 32, Outcome.FAILED: 31, Outcome.INCONCLUSIVE: 33}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a recording proves. ``findings`` are ranked: the first is the reason, its layer the guilty one."""

    outcome: Outcome
    findings: tuple[Finding, ...]
    name: str
    machine: str
    """Kernel, clock, engine and probe in a line."""
    expected: str
    seen: str
    notes: tuple[str, ...]
    """What is not asserted, and why."""
    picture: Picture
    figures: tuple[tuple[str, int], ...]
    """Names and values in microseconds, and counts, of what was expected and seen."""
    blindness: str = ""
    """What the probe sees, for a person; empty where it sees all."""
    path: str | None = None
    reproduce: str | None = None

    @property
    def blind(self) -> tuple[Finding, ...]:
        """Checks that were not run because the probe does not see what they need."""
        return tuple(finding for finding in self.findings if finding.blind)

    @property
    def reason(self) -> Finding | None:
        """The finding that made the outcome; None when all that was run passed, and that was enough."""
        if self.outcome is Outcome.PASSED:
            return None
        ran = self.findings[0]
        return ran if ran.outcome is not Outcome.PASSED else next(iter(self.blind), ran)

    @property
    def guilty(self) -> Layer | None:
        """The layer of the first finding that did not pass; None when all passed."""
        return self.reason.layer if self.reason is not None else None

    def render(self, width: int = 100, *, color: bool = False, ascii_only: bool = False) -> str:
        """The verdict as text of at most ``width`` columns: why, what was expected, what was seen, how to repeat it."""
        title = self.outcome.value.upper()
        if color:
            title = f"\x1b[1;{_COLORS[self.outcome]}m{title}\x1b[0m"
        lines = [f"{title} {self.name}" + (f": look at the {self.guilty} layer" if self.guilty else "")]
        reasons = [finding for finding in self.findings if finding.outcome is not Outcome.PASSED and not finding.blind]
        if not reasons and self.outcome is not Outcome.PASSED:
            reasons = list(self.blind[:1])
        if reasons:
            lines += _entry(width, "why", f"{reasons[0].heading}: {reasons[0].message}")
            if reasons[0].expected != self.expected:
                lines += _entry(width, "wanted", reasons[0].expected)
        lines += _entry(width, "expected", self.expected)
        lines += _entry(width, "seen", self.seen)
        if self.picture.bars:
            picture = self.picture.render(width - 2, color=color, ascii_only=ascii_only)
            lines += ["", *(f"  {line}".rstrip() for line in picture.splitlines()), ""]
        for finding in reasons[1:]:
            lines += _entry(width, "also", f"{finding.outcome} ({finding.layer}) {finding.heading}: {finding.message}")
        passed = sum(finding.outcome is Outcome.PASSED for finding in self.findings)
        ran = len(self.findings) - len(self.blind)
        lines += _entry(
            width, "checks", f"{passed} of {ran} passed" + (f", {len(self.blind)} not run" * bool(self.blind))
        )
        named = [finding.heading for finding in self.blind if finding.unseen_by_probe]
        if named:
            lines += _entry(width, "not run", f"{self.blindness}, too little for: {'; '.join(named)}")
        others: dict[str, list[str]] = {}
        for finding in self.blind:
            if not finding.unseen_by_probe:
                others.setdefault(finding.message.removeprefix(NOT_RUN), []).append(finding.heading)
        for reason, checks in others.items():
            lines += _entry(width, "not run", f"{'; '.join(checks)}: {reason}")
        for note in self.notes:
            lines += _entry(width, "note", note)
        lines += _entry(width, "machine", self.machine)
        # Not wrapped: a path or a command that is broken over two lines cannot be copied.
        lines += [f"  recording  {self.path}"] if self.path else []
        lines += [f"  reproduce  {self.reproduce}"] if self.reproduce else []
        return "\n".join(lines)

    def summary(self) -> dict[str, str | int | float]:
        """The figures for one row of a table; names ending in ``_us`` are microseconds."""
        return {"expected": self.expected, "seen": self.seen, "checks": len(self.findings), **dict(self.figures)}

    def as_dict(self) -> dict[str, Any]:
        """The whole verdict as JSON can hold it."""
        return {
            "name": self.name,
            "outcome": self.outcome.value,
            "guilty": self.guilty.value if self.guilty else None,
            "machine": self.machine,
            "expected": self.expected,
            "seen": self.seen,
            "notes": list(self.notes),
            "figures": dict(self.figures),
            "not_run": [finding.key for finding in self.blind],
            "findings": [
                {
                    "key": finding.key,
                    **{name: getattr(value, "value", value) for name, value in asdict(finding).items()},
                }
                for finding in self.findings
            ],
            "picture": [asdict(bar) for bar in self.picture.bars],
            "recording": self.path,
            "reproduce": self.reproduce,
        }


def judge(recording: Recording, *, path: Path | None = None, reproduce: str | None = None) -> Verdict:
    """Judge a recording; ``path`` is where it lies and ``reproduce`` the command that repeats it, only to be shown.

    Raises ScenarioError when the recording's scenario is none that this version knows.
    """
    evidence = Evidence.of(recording)
    kernel, link, wire = check_kernel(recording), check_link(evidence), check_wire(evidence)
    consistency = seen_through(weighed(check_consistency(evidence), evidence), recording)
    findings = ranked(
        seen_through(
            (
                *consistency,
                *_resting_on(
                    consistency,
                    weighed(
                        (
                            *check_coverage(evidence),
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
    if outcome is Outcome.PASSED and not tells(findings):
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


_RESTING = frozenset({Layer.SAMPLE, Layer.ELIGIBILITY, Layer.ARITHMETIC, Layer.NOMINAL})
"""Layers whose checks rest on the probe's account."""

_RESTING_ON_STATE = frozenset({Layer.ARITHMETIC})
"""The one whose checks rest on the estimators' state: samples are held against packets without it."""


def _resting_on(consistency: Iterable[Finding], findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """What rests on an account that is wrong proves nothing; neither does it pass."""
    failed = {finding.check for finding in consistency if finding.outcome is Outcome.FAILED}
    if not failed:
        return tuple(findings)
    resting = _RESTING_ON_STATE if failed == {STATE.id} else _RESTING
    return tuple(
        replace(
            finding, outcome=Outcome.INCONCLUSIVE, message=f"{finding.message}; but the probe is not to be believed"
        )
        if finding.layer in resting and finding.outcome is Outcome.FAILED
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
    """How late timers on the traffic's cores were, and the relay, by its own account."""
    if evidence.noise is None:
        return ()
    late = {"noise": [account.late_ns for account in evidence.noise.cores]}
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
        notes.append(f"{knob} is set and not asserted: the kernel's netem does not do what the name says")
    if not scenario.quickack and scenario.traffic.server_writes:
        notes.append(
            "ACKs may be delayed (quickack is off): a server's samples hold the client's time to think too, so they "
            "are checked from below only"
        )
    if scenario.traffic.congestion == "bbr":
        notes.append(
            "BBR paces inside TCP, which delays sending and not the stamp; with fq on the path a stamp may lie in the "
            "future and a sample fall below the wire, and the lab has no fq"
        )
    if evidence.recording.control_lost:
        notes.append(
            f"the control run lost {evidence.recording.control_lost} events, so that the slack may be smaller than due"
        )
    if evidence.slack.burst_us:
        notes.append("bursts are stamped when they begin: what their own queue costs is granted from the control run")
    if evidence.noise is not None and evidence.noise.accounts:
        notes.append(evidence.noise.render())
    if evidence.slack.drift_us:
        notes.append(
            f"the control runs before and after are {evidence.slack.drift_us} us apart: the machine was not the same"
        )
    if evidence.recording.noise_facts.get("why_not") and not evidence.virtual:
        notes.append(f"noise was not measured: {evidence.recording.noise_facts['why_not']}")
    return tuple(notes)


def _seen(evidence: Evidence) -> str:
    """The data samples in a line, and how many of them the picture holds where that is not all."""
    values = evidence.values_us[evidence.data]
    text = f"{len(values)} data samples, {spread(values)}"
    shown = int(evidence.shown.sum())
    return text if shown == len(values) else f"{text}; nettrace shows {shown}, those with a first-acked segment"


def _picture(evidence: Evidence, outcome: Outcome) -> Picture:
    """Buckets, or even steps where the samples fail within the buckets that they may fall in."""
    allowed, first, last = expected_buckets(evidence)
    values = np.maximum(evidence.shown_us[evidence.shown], 0)
    found = buckets_of(values, evidence.unit)
    outside = bool(((found < first) | (found > last)).any())
    highest = evidence.whole.highest_us
    if outcome is Outcome.FAILED and len(values) and not outside and highest is not None and evidence.slack.samples:
        return in_steps(values, evidence.whole.lowest_us, highest + evidence.slack.upper_us)
    return in_buckets(np.bincount(found, minlength=BUCKETS).tolist(), allowed.tolist(), evidence.unit)


def _entry(width: int, name: str, text: str) -> list[str]:
    lines = wrap(text, max(20, width - 13), break_on_hyphens=False) or [""]
    return [f"  {name:<9}  {lines[0]}", *(f"{'':13}{line}" for line in lines[1:])]
