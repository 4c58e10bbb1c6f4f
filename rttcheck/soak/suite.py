"""What one suite came to: each scenario's outcome and figures, each check's count, and nothing of how it ran.

Owns its JSON form, which a soak is kept in and goes on from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rttcheck.soak.condition import Condition

PASSED, FAILED, INCONCLUSIVE = "passed", "failed", "inconclusive"
ERROR = "error"
"""The scenario came to no verdict, or to another than its recording's: for a user a failed test, so it counts as one
failed check."""
LOST = "lost"
"""The guest died or hung: neither passed nor failed, and none of its checks was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckCount:
    """How often one check of the judge's ended how, in one suite."""

    layer: str
    check: str
    passed: int = 0
    failed: int = 0
    inconclusive: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioRun:
    """One scenario in one suite. Times are microseconds; None is what was not measured."""

    scenario: str
    outcome: str
    check: str = ""
    """The first finding that did not pass, as ``layer: check``."""
    message: str = ""
    recording: str = ""
    """Where the recording was kept; empty for those that passed."""
    constant: bool = False
    """Whether the link takes the same time for every packet of the run."""
    median_us: int | None = None
    over_wire_max_us: int | None = None
    digest: str = ""
    """Names the sequence of samples: two runs with one digest are one observation made twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteResult:
    """One session of pytest: ``seconds`` of host time, its exit ``status``, the kernel's own name as ``release``."""

    number: int
    condition: Condition
    release: str
    seconds: float
    status: int
    runs: tuple[ScenarioRun, ...]
    checks: tuple[CheckCount, ...]

    def count(self, outcome: str) -> int:
        """How many scenarios ended so."""
        return sum(run.outcome == outcome for run in self.runs)

    @property
    def failed_checks(self) -> int:
        """How many checks failed, errors included."""
        return sum(check.failed for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Plain values; what a run has no value for is left out."""
        runs = [{name: value for name, value in asdict(run).items() if value not in ("", None)} for run in self.runs]
        return {**asdict(self), "runs": runs}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> SuiteResult:
        """What `to_json` made. Raises KeyError, TypeError or ValueError for anything else."""
        return cls(
            number=int(given["number"]),
            condition=Condition(**given["condition"]),
            release=str(given["release"]),
            seconds=float(given["seconds"]),
            status=int(given["status"]),
            runs=tuple(ScenarioRun(**run) for run in given["runs"]),
            checks=tuple(CheckCount(**check) for check in given["checks"]),
        )
