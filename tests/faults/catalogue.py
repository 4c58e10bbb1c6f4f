"""All planted faults, and what the judge says of each: one case a fault and a true recording.

It owns the list and the way from a case to its verdict.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final

from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.verdict import judge
from rttcheck.record.recording import Recording
from tests.faults import (
    arithmetic_faults,
    kernel_faults,
    missing_faults,
    nominal_faults,
    probe_faults,
    sample_faults,
    stamp_faults,
    table_faults,
    undue_faults,
)
from tests.faults.fault import Fault
from tests.faults.kernel import exact_ticks
from tests.faults.plant import in_both_runs, planted
from tests.faults.truth import truth

FAMILIES: Final = (
    ("The kernel itself", kernel_faults),
    ("The stack: samples", sample_faults),
    ("The stack: stamps", stamp_faults),
    ("The stack: samples that are missing", missing_faults),
    ("The stack: samples that are not due", undue_faults),
    ("The stack: arithmetic", arithmetic_faults),
    ("The probe: events", probe_faults),
    ("The probe: tables", table_faults),
    ("Samples, without packets", nominal_faults),
)
"""Title and module of each family of faults that are planted in recordings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A fault in one of the true recordings."""

    fault: Fault
    scenario: str

    @property
    def name(self) -> str:
        """For a test's name and a table's row."""
        return f"{self.fault.name} - {self.scenario}"

    def recording(self) -> Recording:
        """What would have been recorded with the fault."""
        return planted(self.fault, ticking(self.scenario))


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What came of a case: the outcome, whom the verdict names, and its first finding."""

    outcome: Outcome
    guilty: Layer | None
    first: Finding

    @classmethod
    def of(cls, recording: Recording) -> Judged:
        """Judge a recording."""
        verdict = judge(recording)
        return cls(outcome=verdict.outcome, guilty=verdict.guilty, first=verdict.findings[0])


def cases(faults: Iterable[Fault]) -> tuple[Case, ...]:
    """Each fault in each of its scenarios."""
    return tuple(Case(fault=fault, scenario=scenario) for fault in faults for scenario in fault.scenarios)


def all_cases() -> tuple[Case, ...]:
    """Every case of every family, in order."""
    return tuple(case for _, family in FAMILIES for case in cases(family.FAULTS))


@cache
def judge_case(case: Case) -> Judged:
    """What is said of a case, which is judged once."""
    return Judged.of(case.recording())


@cache
def ticking(scenario: str) -> Recording:
    """The true recording, with every event at its own tick."""
    return in_both_runs(exact_ticks, truth(scenario))
