"""Report lost tests: an outcome of their own, the end of the console, an exit status.

`rttcheck.plugin.kernel_session` detects the losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from rttcheck.kernels.guest import EXIT_LOST
from rttcheck.plugin.kernel_run import KernelRun
from rttcheck.plugin.properties import PROPERTY


@dataclass(frozen=True, slots=True, eq=False)
class LostTests:
    """Reports the kernels that were lost."""

    runs: Sequence[KernelRun]

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Report lost as an outcome of its own: neither passed nor failed."""
        if (PROPERTY + "outcome", "lost") in report.user_properties:
            return "lost", "L", "LOST"
        return None

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print why each guest was lost, also if a second one ran its tests, and how many tests have no result."""
        for run in self.runs:
            if not run.losses and not run.departures:
                continue
            terminalreporter.section(f"guest lost: {run.asked}", red=True)
            for loss in (*run.departures, *run.losses):
                terminalreporter.write_line(loss)
            if run.lost:
                left = len(run.unfinished)
                terminalreporter.write_line(
                    f"LOST {run.asked}: {left} test{'s have' if left != 1 else ' has'} no result"
                )
            elif run.unfinished:
                left = len(run.unfinished)
                terminalreporter.write_line(f"{run.asked}: the session ended with {left} of its tests not done")
            elif not run.losses:
                terminalreporter.write_line(f"{run.asked} was given to another machine, which ran its tests")
            else:
                terminalreporter.write_line(f"{run.asked} was tried once more, and its tests were done")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Set the exit status when a kernel was lost for good, whatever the other tests' outcome."""
        if any(run.lost for run in self.runs):
            session.exitstatus = EXIT_LOST
