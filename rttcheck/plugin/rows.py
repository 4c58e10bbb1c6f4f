"""The rows of a session: what each test came to, on each kernel, put together from the tests' reports.

Owns which reports become rows and what a row says of a test that came to no verdict: one that was lost, that failed
before it ran a scenario, or that did not like what a passed scenario had given it. It lays nothing out.
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
    """Collects rows, of local tests and of those in guests alike. ``runs`` are the session's kernels."""

    runs: Sequence[KernelRun]
    rows: list[Row] = field(default_factory=list)

    def add(self, report: pytest.TestReport) -> None:
        """Keep what ``report`` says of a scenario: its rows, or that it came to none."""
        if _LOST in report.user_properties:
            asked = str(dict(report.user_properties).get(PROPERTY + "asked", ""))
            test = "" if report.nodeid == asked else without_kernel(report.nodeid)
            # The console's end is told once for the guest, and not with each of its tests.
            reason = said(report).partition("; the end of its console")[0]
            self.rows.append({"scenario": "", "outcome": "lost", "reason": reason, "asked": asked, "test": test})
            return
        test, asked = without_kernel(report.nodeid), self._asked(report.nodeid)
        if report.when == "call":
            rows: list[Row] = [{"asked": asked, **row, "test": test} for row in rows_of(report.user_properties)]
            self.rows += rows
            if rows:
                self._object(rows[-1], report)
                return
        elif report.when == "teardown" and report.failed:
            own = [row for row in self.rows if (row["test"], row["asked"]) == (test, asked)]
            if own:
                self._object(own[-1], report)
                return
        elif report.passed:
            return
        # What is no scenario's test is not told beside scenarios.
        if "rtt" in report.keywords:
            outcome = {"passed": "passed", "skipped": "skipped"}.get(report.outcome, "error")
            reason = "" if report.passed else said(report)
            self.rows.append({"scenario": "", "outcome": outcome, "reason": reason, "asked": asked, "test": test})

    def told(self) -> list[Row]:
        """All rows: kernels as they were asked for, tests as they were collected.

        A test that came to no scenario is called by the one that it was on another kernel, else by its own name. A
        kernel that was lost before it had collected any has one row, whose ``scenario`` and ``test`` are empty.
        """
        kernels = {run.asked: number for number, run in enumerate(self.runs)}
        tests: dict[str, int] = {}
        for run in self.runs:
            for nodeid in run.collected:
                tests.setdefault(without_kernel(nodeid), len(tests))
        called = {str(row["test"]): str(row["scenario"]) for row in self.rows if row["scenario"]}
        named = [
            {**row, "scenario": row["scenario"] or called.get(str(row["test"]), _short(str(row["test"])))}
            for row in self.rows
        ]
        # Stable: a session that collects here, not in workers, and a test of several scenarios keep their order.
        return sorted(
            named,
            key=lambda row: (kernels.get(str(row["asked"]), len(kernels)), tests.get(str(row["test"]), len(tests))),
        )

    def _asked(self, nodeid: str) -> str:
        """The kernel that a test's id names; the running one has none in a session of its own."""
        test = without_kernel(nodeid)
        return next((run.asked for run in self.runs if nodeid == with_kernel(test, run.asked)), HOST)

    @staticmethod
    def _object(row: Row, report: pytest.TestReport) -> None:
        """A test may fail though its scenario passed: by what it asserts itself, by ``--rtt-strict``, in its end."""
        if not report.failed or row.get("outcome") != "passed":
            return
        row["outcome"] = "failed"
        row["check"] = row["title"] = "the test's own"
        unseen = row.get("not_run", 0)
        row["reason"] = (
            f"{unseen} checks were not run, which --rtt-strict does not let pass"
            if unseen and report.when == "call" and "RttFailure" in str(report.longrepr)
            else f"the scenario passed and its test did not: {said(report)}"
        )


def rows_of(properties: Sequence[tuple[str, object]]) -> list[Row]:
    """Put rows together again from a report's properties; a test may have run several scenarios."""
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


def said(report: pytest.TestReport) -> str:
    """The first line of why a test did not pass."""
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
