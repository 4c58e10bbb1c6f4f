"""Which checks a recording can answer at all: what each needs to have been seen, against what the probe saw.

A check whose needs are not met is not run, whatever it came to on what little there was: it is inconclusive, with the
reason, and never passed. The needs themselves are declared with each check.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from rttcheck.judge.check import NOTHING
from rttcheck.judge.checks import BY_ID
from rttcheck.judge.findings import NEEDED, Finding, Layer, Outcome
from rttcheck.record.recording import Recording

_TELLING: Final = frozenset({Layer.SAMPLE, Layer.NOMINAL})


def seen_through(findings: Iterable[Finding], recording: Recording) -> tuple[Finding, ...]:
    """Return the findings; those whose needs the recording does not meet are ``blind`` and inconclusive, with why."""
    return tuple(_through(finding, recording) for finding in findings)


def _through(finding: Finding, recording: Recording) -> Finding:
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


def tells(findings: Iterable[Finding]) -> bool:
    """Tell whether any sample was held against the wire or the injected latency: else nothing was judged."""
    return any(
        finding.layer in _TELLING
        and not finding.blind
        and not finding.control
        and BY_ID[finding.check].needs is not NOTHING
        for finding in findings
    )
