"""The result of one suite: outcome and values of each scenario, counts of each check; and its JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rttcheck.soak.condition import Condition

PASSED, FAILED, INCONCLUSIVE = "passed", "failed", "inconclusive"
ERROR = "error"
"""The scenario has no verdict, or another one than its recording: for a user a failed test, so it counts as one failed
check."""
LOST = "lost"
"""The guest died or hung: neither passed nor failed, and none of its checks was run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckCount:
    """Outcomes of one check in one suite."""

    layer: str
    check: str
    passed: int = 0
    failed: int = 0
    inconclusive: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioRun:
    """One scenario in one suite. Times are microseconds; None: not measured."""

    scenario: str
    outcome: str
    check: str = ""
    """The first finding that did not pass, as ``layer: check``."""
    message: str = ""
    recording: str = ""
    """Path of the recording; empty if passed."""
    constant: bool = False
    """Whether the link delays every packet of the run equally."""
    median_us: int | None = None
    over_wire_max_us: int | None = None
    digest: str = ""
    """Digest of the samples: runs with equal digests are the same observation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteResult:
    """One pytest session: ``seconds`` of host time, its exit ``status``, the kernel's ``release``."""

    number: int
    condition: Condition
    release: str
    seconds: float
    status: int
    runs: tuple[ScenarioRun, ...]
    checks: tuple[CheckCount, ...]

    def count(self, outcome: str) -> int:
        """Return how many scenarios have that outcome."""
        return sum(run.outcome == outcome for run in self.runs)

    @property
    def failed_checks(self) -> int:
        """Number of failed checks, errors included."""
        return sum(check.failed for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, without a run's empty ones."""
        runs = [{name: value for name, value in asdict(run).items() if value not in ("", None)} for run in self.runs]
        return {**asdict(self), "runs": runs}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> SuiteResult:
        """Return the result that `to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        return cls(
            number=int(given["number"]),
            condition=Condition(**given["condition"]),
            release=str(given["release"]),
            seconds=float(given["seconds"]),
            status=int(given["status"]),
            runs=tuple(ScenarioRun(**run) for run in given["runs"]),
            checks=tuple(CheckCount(**check) for check in given["checks"]),
        )
