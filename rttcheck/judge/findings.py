"""The words of a verdict: how a check can end, which layer a fault lies in, and what one check found.

It owns no check. A finding says enough to be understood alone: what was expected and from where, what was seen, and in
how many samples.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

NOT_RUN: Final = "not run: "
"""Begins the message of a check that was not run."""

NEEDED: Final = f"{NOT_RUN}it needs "
"""Begins the message of one that was not run because of what the probe sees."""


class Outcome(StrEnum):
    """How a check, or a whole scenario, ended."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    """The check could not be made: events lost, too few samples, a machine too noisy. Not the same as passed."""


class Layer(StrEnum):
    """Where a fault lies, from the wire to the reader: what comes first is the cause of what comes after."""

    KERNEL = "kernel"
    """The kernel itself complained: what it does after that need not mean anything."""
    LINK = "link"
    """The link is not the one that was asked for."""
    ELIGIBILITY = "eligibility"
    """A sample was due and none was taken, or the reverse."""
    SAMPLE = "sample"
    """The kernel measured another time than the one that passed."""
    ARITHMETIC = "arithmetic"
    """srtt, min_rtt and the like do not follow from the samples."""
    OBSERVER = "observer"
    """What is shown is not what the kernel had."""
    NOMINAL = "nominal"
    """Samples and injected latency do not match, and nothing above says whose fault it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check came to. ``message`` is one sentence; ``samples`` is how many values were looked at."""

    check: str
    """The check's ``id``, see `rttcheck.judge.check.Check`."""
    title: str
    layer: Layer
    """The guilty one: the check's own, unless it found another to blame."""
    outcome: Outcome
    message: str
    expected: str
    """What, and from where."""
    seen: str
    samples: int
    control: bool = False
    """Whether it is about the control run."""
    blind: bool = False
    """The check was not run: the recording does not hold what it needs. Inconclusive then, which no re-run changes."""

    @property
    def key(self) -> str:
        """Return what tells it from all other findings of a verdict: the check, and of which run."""
        return f"control:{self.check}" if self.control else self.check

    @property
    def heading(self) -> str:
        """Return its title with the run, for people."""
        return f"control run: {self.title}" if self.control else self.title

    @property
    def unseen_by_probe(self) -> bool:
        """Whether it was not run because the probe does not see what it needs, and for no other reason."""
        return self.blind and self.message.startswith(NEEDED)


def inconclusive_if(outcome: Outcome, message: str, doubt: str) -> tuple[Outcome, str]:
    """Return outcome and message of a check; a failure that ``doubt`` may explain is inconclusive and says so."""
    if outcome is Outcome.FAILED and doubt:
        return Outcome.INCONCLUSIVE, f"{message}; but {doubt}"
    return outcome, message


_SEVERITY = (Outcome.FAILED, Outcome.INCONCLUSIVE, Outcome.PASSED)
_DEPTH = tuple(Layer)


def ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Failures first, then the inconclusive; among equals the layer nearest to the wire first, as the likely cause.

    Checks that were not run come last.
    """
    return tuple(
        sorted(
            findings,
            key=lambda finding: (finding.blind, _SEVERITY.index(finding.outcome), _DEPTH.index(finding.layer)),
        )
    )


def outcome_of(findings: Iterable[Finding]) -> Outcome:
    """The worst outcome of the checks that were run; none at all is inconclusive."""
    outcomes = {finding.outcome for finding in findings if not finding.blind}
    return next((outcome for outcome in _SEVERITY if outcome in outcomes), Outcome.INCONCLUSIVE)
