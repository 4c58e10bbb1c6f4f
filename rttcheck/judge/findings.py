"""The parts of a verdict: the outcome of a check, the layer of a fault, and the finding of one check.

A finding can be understood alone: it holds what was expected and from which source, what was seen, and in how many
samples.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

NOT_RUN: Final = "not run: "
"""Begins the message of a check that was not run."""

NEEDED: Final = f"{NOT_RUN}it needs "
"""Begins the message of a check that was not run because the probe does not see what it needs."""


class Outcome(StrEnum):
    """How a check, or a whole scenario, ended."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    """The check could not decide: events lost, too few samples, a machine too noisy. Not the same as passed."""


class Layer(StrEnum):
    """The layer of a fault, from the wire to the reader: an earlier layer's fault is the likely cause of later ones."""

    KERNEL = "kernel"
    """The kernel logged a warning or BUG: what it does after that may be meaningless."""
    LINK = "link"
    """The link does not behave as configured."""
    ELIGIBILITY = "eligibility"
    """A sample was due and none was taken, or the reverse."""
    SAMPLE = "sample"
    """The kernel measured a wrong time."""
    ARITHMETIC = "arithmetic"
    """srtt, min_rtt and the like do not follow from the samples."""
    OBSERVER = "observer"
    """The probe or the tool reports other values than the kernel has."""
    NOMINAL = "nominal"
    """Samples and injected latency do not match, and no layer before this one explains it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check. ``message`` is one sentence; ``samples`` is the number of values checked."""

    check: str
    """The check's ``id``, see `rttcheck.judge.check.Check`."""
    title: str
    layer: Layer
    """The guilty layer: the check's own, unless it found that another one is at fault."""
    outcome: Outcome
    message: str
    expected: str
    """The expected value and its source."""
    seen: str
    samples: int
    control: bool = False
    """Whether the finding is about the control run."""
    blind: bool = False
    """The check was not run, as the recording lacks what it needs. It is inconclusive, and a re-run does not help."""

    @property
    def key(self) -> str:
        """Return a key that is unique in a verdict: the check's id, with ``control:`` before it for the control run."""
        return f"control:{self.check}" if self.control else self.check

    @property
    def heading(self) -> str:
        """Return the title, with "control run: " before it for the control run."""
        return f"control run: {self.title}" if self.control else self.title

    @property
    def unseen_by_probe(self) -> bool:
        """Whether it was not run because the probe does not see what it needs."""
        return self.blind and self.message.startswith(NEEDED)


def inconclusive_if(outcome: Outcome, message: str, reason: str) -> tuple[Outcome, str]:
    """Return outcome and message of a check; with a ``reason`` a failure is inconclusive, and the message names it."""
    if outcome is Outcome.FAILED and reason:
        return Outcome.INCONCLUSIVE, f"{message}; but {reason}"
    return outcome, message


_SEVERITY = (Outcome.FAILED, Outcome.INCONCLUSIVE, Outcome.PASSED)
_DEPTH = tuple(Layer)


def ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort findings: failed, inconclusive, passed, and not run last.

    Among equals the layer nearest to the wire comes first, as the likely cause.
    """
    return tuple(
        sorted(
            findings,
            key=lambda finding: (finding.blind, _SEVERITY.index(finding.outcome), _DEPTH.index(finding.layer)),
        )
    )


def outcome_of(findings: Iterable[Finding]) -> Outcome:
    """Return the worst outcome of the checks that were run; inconclusive when none was."""
    outcomes = {finding.outcome for finding in findings if not finding.blind}
    return next((outcome for outcome in _SEVERITY if outcome in outcomes), Outcome.INCONCLUSIVE)
