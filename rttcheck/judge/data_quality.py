"""Why packets and events may disagree although nobody lied: what was lost on the way into the recording.

It owns those reasons and what they do to a failure. It makes no check.
"""

from __future__ import annotations

from typing import Any, Final

from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Outcome

CLOCK_STEP_NS: Final = 100_000
"""A wall clock that moved by more than this against the monotonic one was set; less is how finely it can be read."""


def points_of(evidence: Evidence) -> dict[str, dict[str, Any]]:
    """What each capture took and dropped, by its point's name; empty when nothing was captured."""
    return dict(evidence.recording.wire_facts.get("points", {}))


def clock_step_ns(evidence: Evidence) -> int:
    """How far the wall clock, which packets are stamped with, was set during the run; 0 when it was not."""
    step_ns = int(evidence.recording.wire_facts.get("clock_step_ns", 0))
    return step_ns if abs(step_ns) > CLOCK_STEP_NS else 0


def doubt_of(evidence: Evidence) -> str:
    """Why packets and events may not match; empty when there is no such reason."""
    dropped = sum(int(point["dropped"]) for point in points_of(evidence).values())
    step_ns = clock_step_ns(evidence)
    reasons = [f"the captures dropped {dropped} packets"] if dropped else []
    reasons += [f"the wall clock was set by {step_ns} ns meanwhile"] if step_ns else []
    reasons += [f"{evidence.lost} events were lost"] if evidence.lost else []
    if any(netem.corrupt for link in evidence.scenario.links for netem in link):
        reasons.append("the link corrupts packets, which a capture sees and TCP drops")
    return " and ".join(reasons)


def doubted(outcome: Outcome, message: str, doubt: str) -> tuple[Outcome, str]:
    """A failure that something else may explain proves nothing."""
    if outcome is Outcome.FAILED and doubt:
        return Outcome.INCONCLUSIVE, f"{message}; but {doubt}"
    return outcome, message
