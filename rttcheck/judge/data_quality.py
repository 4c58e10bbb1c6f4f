"""Data quality: damage to a recording that may explain a failed check.

Packets that the captures dropped, events that were lost, a clock that was set. It is applied once, to all findings,
according to the `Quality` that each check declares.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from rttcheck.judge.check import Quality
from rttcheck.judge.checks import BY_ID
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding, Outcome, inconclusive_if
from rttcheck.judge.link.check import LINK_POINTS


def apply_data_quality(findings: Iterable[Finding], evidence: Evidence) -> tuple[Finding, ...]:
    """Return the findings; a failure that damage to the recording may explain becomes inconclusive, with the reason."""
    return tuple(_apply_to_one(finding, evidence) for finding in findings)


def _apply_to_one(finding: Finding, evidence: Evidence) -> Finding:
    if finding.outcome is not Outcome.FAILED:
        return finding
    reason = reason_of(evidence, BY_ID[finding.check].quality, control=finding.control)
    outcome, message = inconclusive_if(finding.outcome, finding.message, reason)
    return replace(finding, outcome=outcome, message=message)


def reason_of(evidence: Evidence, quality: Quality, *, control: bool = False) -> str:
    """Return the damage to the recording that affects a check of this ``quality``, as text; empty for none."""
    if quality is Quality.ANY:
        return ""
    if control:
        lost = evidence.recording.control_lost
        return f"{lost} events of the control run were lost" if lost else ""
    of_link = quality in (Quality.LINK_CAPTURES, Quality.RELAY_ACCOUNT)
    points = evidence.capture_points
    dropped = sum(int(point["dropped"]) for name, point in points.items() if not of_link or name in LINK_POINTS)
    source = "the link's captures" if of_link else "the captures"
    reasons = [f"{source} dropped {dropped} packets"] if dropped else []
    if evidence.clock_step_ns:
        reasons.append(f"the wall clock was set by {evidence.clock_step_ns} ns during the run")
    facts = evidence.recording.relay_facts
    if of_link:
        if facts.get("clock_set"):
            reasons.append(f"the relay saw the wall clock set {facts['clock_set']} times")
        if quality is Quality.RELAY_ACCOUNT and facts.get("unrecorded"):
            reasons.append(f"the relay's records lack {facts['unrecorded']} packets")
        return " and ".join(reasons)
    reasons += [f"{evidence.lost} events were lost"] if evidence.lost else []
    netems = [netem for link in evidence.scenario.links for netem in link]
    if any(netem.corrupt for netem in netems):
        reasons.append("the link corrupts packets: captures see packets that TCP drops")
    direct = evidence.own_queues and any(netem.changed() for netem in netems)
    if direct and quality is Quality.END_CAPTURES:
        reasons.append("netem runs on the ends' own interfaces, where captures see packets only after netem")
    if evidence.refused and any(netem.loss for netem in netems):
        reasons.append("a sender's own queue was full, so that a lost packet may be one that was not sent")
    return " and ".join(reasons)
