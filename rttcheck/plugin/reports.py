"""What a session leaves for programs and people: the rows of its scenarios, as JSON and as Markdown, and the table.

Owns collecting the rows from tests' reports and writing the files that were asked for. What they look like is
`rttcheck.report`'s.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rttcheck.plugin.fixtures import PROPERTY
from rttcheck.plugin.kernel_run import KernelRun
from rttcheck.plugin.options import Options
from rttcheck.plugin.worker import without_kernel

Row = dict[str, str | int | float]


@dataclass(slots=True, eq=False)
class Reports:
    """Collects the scenarios' rows from reports, local ones and those of guests alike, and tells them at the end."""

    runs: Sequence[KernelRun]
    json: Path | None = None
    markdown: Path | None = None
    rows: list[Row] = field(default_factory=list)

    @classmethod
    def of(cls, options: Options, runs: Sequence[KernelRun]) -> Reports:
        """The reports that ``options`` ask for; raises UsageError now for a file that cannot be written then."""
        for option, path in (("--rtt-json", options.json), ("--rtt-markdown", options.markdown)):
            if path is not None:
                _require_writable(option, path)
        return cls(runs, options.json, options.markdown)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the rows that a test's call left in its properties, and the tests that were lost."""
        test = without_kernel(report.nodeid)
        if report.when == "call":
            self.rows += [{**row, "test": test} for row in rows_of(report.user_properties)]
        elif (PROPERTY + "outcome", "lost") in report.user_properties:
            asked = dict(report.user_properties).get(PROPERTY + "asked", "")
            reason = str(report.longrepr)
            self.rows.append({"scenario": "", "asked": str(asked), "test": test, "outcome": "lost", "reason": reason})

    def told(self) -> list[Row]:
        """All rows. A lost test is called by the scenario that it was on another kernel, else by its own name."""
        called = {str(row["test"]): str(row["scenario"]) for row in self.rows if row["scenario"]}
        return [
            {**row, "scenario": row["scenario"] or called.get(str(row["test"]), _short(str(row["test"])))}
            for row in self.rows
        ]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        """One line a scenario; of several kernels a table."""
        rows = self.told()
        if not rows:
            return
        from rttcheck.report.matrix import asked

        width = config.get_terminal_writer().fullwidth
        terminalreporter.section("TCP round trips")
        if len({asked(row) for row in rows}) > 1:
            from rttcheck.report.matrix_table import matrix_lines as lines_of
        else:
            from rttcheck.report.terminal import summary_lines as lines_of
        for line in lines_of(rows, width):
            terminalreporter.write_line(line)
        for path in (self.json, self.markdown):
            if path is not None:
                terminalreporter.write_line(f"written: {path}")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> object:
        """Write the files, when the exit status is final."""
        result = yield
        facts = [run.facts() for run in self.runs]
        if self.json is not None:
            from rttcheck.report.json_report import session_document

            document = session_document(self.told(), kernels=facts, status=int(session.exitstatus))
            self.json.write_text(document + "\n")
        if self.markdown is not None:
            from rttcheck.report.markdown import markdown

            # What CI gives its jobs for a summary is one file for all steps.
            shared = os.environ.get("GITHUB_STEP_SUMMARY") == str(self.markdown)
            with self.markdown.open("a" if shared else "w", encoding="utf-8") as file:
                file.write(markdown(self.told(), facts))
        return result


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


def _short(test: str) -> str:
    return test.rpartition("::")[2]


def _require_writable(option: str, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a"):
            pass
    except OSError as error:
        raise pytest.UsageError(f"{option} {path} cannot be written ({error.strerror}): name another file") from error
