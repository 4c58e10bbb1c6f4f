"""The session's reports: the table of scenarios on the terminal, and the JSON and Markdown files.

`rttcheck.report` formats them. This module writes them, and reports files that cannot be written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rttcheck.plugin.kernel_run import KernelRun
from rttcheck.plugin.options import Options
from rttcheck.plugin.rows import SessionRows


@dataclass(slots=True, eq=False)
class Reports:
    """Collects the scenarios' rows from the reports of local tests and of guests, and reports them at the end."""

    runs: Sequence[KernelRun]
    json: Path | None = None
    markdown: Path | None = None
    rows: SessionRows = field(init=False)
    notes: list[str] = field(default_factory=list)
    """A line for each file, written or not."""

    def __post_init__(self) -> None:
        self.rows = SessionRows(self.runs)

    @classmethod
    def of(cls, options: Options, runs: Sequence[KernelRun]) -> Reports:
        """Return the reports that ``options`` request. Raises UsageError at once for a file that cannot be written."""
        for option, path in (("--rtt-json", options.json), ("--rtt-markdown", options.markdown)):
            if path is not None:
                _require_writable(option, path)
        return cls(runs, options.json, options.markdown)

    @property
    def _local_run(self) -> KernelRun | None:
        """The running kernel if this process judges it, so that its state is recorded here; else None."""
        return self.runs[0] if len(self.runs) == 1 and self.runs[0].is_host else None

    def pytest_sessionstart(self) -> None:
        """Record the start of the running kernel."""
        if self._local_run is not None:
            self._local_run.started_s = time.monotonic()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Record its tests, and the start of the first."""
        if self._local_run is not None:
            self._local_run.attempt = 1
            self._local_run.first_test_s = time.monotonic()
            self._local_run.collected = tuple(item.nodeid for item in session.items)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the report's rows."""
        self.rows.add(report)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        """Write the files, after the exit status is final and before the terminal's summary."""
        yield
        if self._local_run is not None:
            self._local_run.ended_s = time.monotonic()
        for path, write in ((self.json, self._write_json), (self.markdown, self._write_markdown)):
            if path is None:
                continue
            try:
                write(path, int(session.exitstatus))
            except OSError as error:
                self.notes.append(f"{path} could not be written ({error.strerror}): make room, or name another file")
                if not session.exitstatus:
                    session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
            else:
                self.notes.append(f"written: {path}")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        """Print a line per scenario, or a table for several kernels, then a line per file."""
        rows = self.rows.ordered()
        writer = config.get_terminal_writer()
        if rows:
            from rttcheck.report.matrix import asked
            from rttcheck.report.matrix_table import matrix_lines
            from rttcheck.report.terminal import summary_lines

            terminalreporter.section("TCP round trips")
            if len({asked(row) for row in rows}) > 1:
                lines = matrix_lines(rows, writer.fullwidth, colour=writer.hasmarkup)
            else:
                # A test that passed and ran no scenario has no figures to print.
                lines = summary_lines(
                    [row for row in rows if row["outcome"] != "passed" or "injected" in row], writer.fullwidth
                )
            for line in lines:
                terminalreporter.write_line(line)
        for note in self.notes:
            terminalreporter.write_line(f"rttcheck: {note}")

    def _write_json(self, path: Path, status: int) -> None:
        from rttcheck.report.json_report import session_document

        facts = [run.facts() for run in self.runs]
        path.write_text(session_document(self.rows.ordered(), kernels=facts, status=status) + "\n", encoding="utf-8")

    def _write_markdown(self, path: Path, status: int) -> None:  # noqa: ARG002  # same parameters as _write_json
        from rttcheck.report.markdown import markdown, placed

        text = markdown(self.rows.ordered(), [run.facts() for run in self.runs])
        # The job summary of GitHub is one file for all steps.
        if os.environ.get("GITHUB_STEP_SUMMARY") and Path(os.environ["GITHUB_STEP_SUMMARY"]).absolute() == path:
            with path.open("a", encoding="utf-8") as file:
                file.write(text)
            return
        before = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        path.write_text(placed(text, before), encoding="utf-8")


def _require_writable(option: str, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a"):
            pass
    except OSError as error:
        raise pytest.UsageError(f"{option} {path} cannot be written ({error.strerror}): name another file") from error
