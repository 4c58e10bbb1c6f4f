"""Data quality: damage to a recording that may explain a failed check.

Packets that the captures dropped, events that were lost, a clock that was set. It is applied once, to all findings, by
what each check declares. It makes no check.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from rttcheck.judge.check import Quality
from rttcheck.judge.checks import BY_ID
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding, Outcome, inconclusive_if

LINK_POINTS: Final = ("link_near", "link_far")
"""The captures on both sides of the link."""


def weighed(findings: Iterable[Finding], evidence: Evidence) -> tuple[Finding, ...]:
    """Return the findings; a failure that damage to the recording may explain is inconclusive, with the reason."""
    return tuple(_weighed(finding, evidence) for finding in findings)


def _weighed(finding: Finding, evidence: Evidence) -> Finding:
    if finding.outcome is not Outcome.FAILED:
        return finding
    reason = reason_of(evidence, BY_ID[finding.check].quality, control=finding.control)
    outcome, message = inconclusive_if(finding.outcome, finding.message, reason)
    return replace(finding, outcome=outcome, message=message)


def reason_of(evidence: Evidence, quality: Quality, *, control: bool = False) -> str:
    """Say what of the recording is damaged that a check of this ``quality`` rests on; empty for nothing."""
    if quality is Quality.ANY:
        return ""
    if control:
        lost = evidence.recording.control_lost
        return f"{lost} events of the control run were lost" if lost else ""
    of_link = quality in (Quality.LINK_CAPTURES, Quality.RELAY_ACCOUNT)
    points = evidence.capture_points
    dropped = sum(int(point["dropped"]) for name, point in points.items() if not of_link or name in LINK_POINTS)
    whose = "the link's captures" if of_link else "the captures"
    reasons = [f"{whose} dropped {dropped} packets"] if dropped else []
    if evidence.clock_step_ns:
        reasons.append(f"the wall clock was set by {evidence.clock_step_ns} ns meanwhile")
    facts = evidence.recording.relay_facts
    if of_link:
        if facts.get("clock_set"):
            reasons.append(f"the relay, which reads the wall clock, saw it set {facts['clock_set']} times")
        if quality is Quality.RELAY_ACCOUNT and facts.get("unrecorded"):
            reasons.append(f"the relay's account lacks {facts['unrecorded']} packets")
        return " and ".join(reasons)
    reasons += [f"{evidence.lost} events were lost"] if evidence.lost else []
    netems = [netem for link in evidence.scenario.links for netem in link]
    if any(netem.corrupt for netem in netems):
        reasons.append("the link corrupts packets, which a capture sees and TCP drops")
    direct = evidence.scenario.topology == "direct" and any(netem.changed() for netem in netems)
    if direct and quality is Quality.END_CAPTURES:
        reasons.append("the ends' own interfaces impair, and a capture there sees what is left after that")
    return " and ".join(reasons)
