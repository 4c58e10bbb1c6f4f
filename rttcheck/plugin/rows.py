"""The rows of a session: the outcome of each test on each kernel, from the tests' reports.

A row may also be of a test without a verdict: one that was lost, or failed before it ran a scenario. A passed scenario
fails if its test does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from rttcheck.plugin.kernel_run import HOST, KernelRun
from rttcheck.plugin.properties import PROPERTY
from rttcheck.plugin.worker import with_kernel, without_kernel

Row = dict[str, str | int | float]

_LOST = (PROPERTY + "outcome", "lost")
_SUITE = "test_scenario["


@dataclass(slots=True, eq=False)
class SessionRows:
    """Collects the rows of local tests and of those in guests. ``runs`` are the session's kernels."""

    runs: Sequence[KernelRun]
    rows: list[Row] = field(default_factory=list)

    def add(self, report: pytest.TestReport) -> None:
        """Add the rows of a report, or one for a scenario without a verdict."""
        if _LOST in report.user_properties:
            asked = str(dict(report.user_properties).get(PROPERTY + "asked", ""))
            test = "" if report.nodeid == asked else without_kernel(report.nodeid)
            # The end of the console is reported once for the guest, not with each of its tests.
            reason = reason_of(report).partition("; the end of its console")[0]
            self.rows.append({"scenario": "", "outcome": "lost", "reason": reason, "asked": asked, "test": test})
            return
        test, asked = without_kernel(report.nodeid), self._asked(report.nodeid)
        if report.when == "call":
            rows: list[Row] = [{"asked": asked, **row, "test": test} for row in rows_of(report.user_properties)]
            self.rows += rows
            if rows:
                self._fail_if_test_failed(rows[-1], report)
                return
        elif report.when == "teardown" and report.failed:
            own = [row for row in self.rows if (row["test"], row["asked"]) == (test, asked)]
            if own:
                self._fail_if_test_failed(own[-1], report)
                return
        elif report.passed:
            return
        # Tests without a scenario have no row.
        if "rtt" in report.keywords:
            outcome = {"passed": "passed", "skipped": "skipped"}.get(report.outcome, "error")
            reason = "" if report.passed else reason_of(report)
            self.rows.append({"scenario": "", "outcome": outcome, "reason": reason, "asked": asked, "test": test})

    def ordered(self) -> list[Row]:
        """Return all rows: kernels in the order of the request, tests in that of the collection.

        A test that ran no scenario has the name of its scenario on another kernel, else its own name. A kernel that was
        lost before it collected tests has one row, whose ``scenario`` and ``test`` are empty.
        """
        kernels = {run.asked: number for number, run in enumerate(self.runs)}
        tests: dict[str, int] = {}
        for run in self.runs:
            for nodeid in run.collected:
                tests.setdefault(without_kernel(nodeid), len(tests))
        names = {str(row["test"]): str(row["scenario"]) for row in self.rows if row["scenario"]}
        named = [
            {**row, "scenario": row["scenario"] or names.get(str(row["test"]), _short(str(row["test"])))}
            for row in self.rows
        ]
        # Stable: rows of a session without workers, and of a test of several scenarios, keep their order.
        return sorted(
            named,
            key=lambda row: (kernels.get(str(row["asked"]), len(kernels)), tests.get(str(row["test"]), len(tests))),
        )

    def _asked(self, nodeid: str) -> str:
        """Return the kernel in a test's id; ids have none in a session on the running kernel only."""
        test = without_kernel(nodeid)
        return next((run.asked for run in self.runs if nodeid == with_kernel(test, run.asked)), HOST)

    @staticmethod
    def _fail_if_test_failed(row: Row, report: pytest.TestReport) -> None:
        """Set a passed row to failed if its test failed: by its assertions, ``--rtt-strict``, or in its teardown."""
        if not report.failed or row.get("outcome") != "passed":
            return
        row["outcome"] = "failed"
        row["check"] = row["title"] = "the test's own"
        unseen = row.get("not_run", 0)
        row["reason"] = (
            f"{unseen} checks were not run, which --rtt-strict does not let pass"
            if unseen and report.when == "call" and "RttFailure" in str(report.longrepr)
            else f"the scenario passed and its test did not: {reason_of(report)}"
        )


def rows_of(properties: Sequence[tuple[str, object]]) -> list[Row]:
    """Return the rows in a report's properties; a test may have run several scenarios."""
    rows: list[Row] = []
    for name, value in properties:
        if not name.startswith(PROPERTY) or not isinstance(value, (str, int, float)):
            continue
        key = name.removeprefix(PROPERTY)
        if key == "scenario":
            rows.append({})
        if rows:
            rows[-1][key] = value
    return rows


def reason_of(report: pytest.TestReport) -> str:
    """Return the first line of the reason why a test did not pass."""
    longrepr = report.longrepr
    if isinstance(longrepr, tuple):
        text = str(longrepr[2]).removeprefix("Skipped: ")
    else:
        crash = getattr(longrepr, "reprcrash", None)
        text = str(crash.message if crash is not None else longrepr)
    return next((line.strip() for line in text.splitlines() if line.strip()), "it gave no reason")


def _short(test: str) -> str:
    name = test.rpartition("::")[2]
    return name.removeprefix(_SUITE).removesuffix("]") if name.startswith(_SUITE) else name
