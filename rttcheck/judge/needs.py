"""Mark checks that need events, event fields or columns which the recording does not have.

Such a check counts as not run, whatever its result on the available data: it is inconclusive, with the reason, and
never passed. The needs are declared with each check.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from rttcheck.judge.check import NOTHING
from rttcheck.judge.checks import BY_ID
from rttcheck.judge.findings import NEEDED, Finding, Layer, Outcome
from rttcheck.record.recording import Recording

_COMPARING: Final = frozenset({Layer.SAMPLE, Layer.NOMINAL})


def mark_unmet_needs(findings: Iterable[Finding], recording: Recording) -> tuple[Finding, ...]:
    """Return the findings; those whose needs the recording does not meet are ``blind``, inconclusive, with why."""
    return tuple(_marked(finding, recording) for finding in findings)


def _marked(finding: Finding, recording: Recording) -> Finding:
    view, probe = recording.view, recording.probe
    lacks = "" if finding.blind else BY_ID[finding.check].needs.unmet(view, recording.absent)
    if not lacks:
        return finding
    return replace(
        finding,
        outcome=Outcome.INCONCLUSIVE,
        blind=True,
        message=f"{NEEDED}{lacks}, and {probe} sees {view.render()}",
        seen="nothing",
        samples=0,
    )


def any_sample_compared(findings: Iterable[Finding]) -> bool:
    """Return whether any sample was compared with the wire or the injected latency."""
    return any(
        finding.layer in _COMPARING
        and not finding.blind
        and not finding.control
        and BY_ID[finding.check].needs is not NOTHING
        for finding in findings
    )
