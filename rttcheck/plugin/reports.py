"""What a session leaves for programs and people: the table of its scenarios, and the files that were asked for.

Owns when they are written and what becomes of a file that cannot be. What they look like is `rttcheck.report`'s.
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
    """Collects the scenarios' rows from reports, local ones and those of guests alike, and tells them at the end."""

    runs: Sequence[KernelRun]
    json: Path | None = None
    markdown: Path | None = None
    rows: SessionRows = field(init=False)
    notes: list[str] = field(default_factory=list)
    """What became of the files."""

    def __post_init__(self) -> None:
        self.rows = SessionRows(self.runs)

    @classmethod
    def of(cls, options: Options, runs: Sequence[KernelRun]) -> Reports:
        """The reports that ``options`` ask for; raises UsageError now for a file that cannot be written then."""
        for option, path in (("--rtt-json", options.json), ("--rtt-markdown", options.markdown)):
            if path is not None:
                _require_writable(option, path)
        return cls(runs, options.json, options.markdown)

    @property
    def _here(self) -> KernelRun | None:
        """The running kernel where this very process judges it, so that nobody else keeps its account."""
        return self.runs[0] if len(self.runs) == 1 and self.runs[0].is_host else None

    def pytest_sessionstart(self) -> None:
        """The running kernel's time begins."""
        if self._here is not None:
            self._here.started_s = time.monotonic()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Its first test follows."""
        if self._here is not None:
            self._here.attempt = 1
            self._here.first_test_s = time.monotonic()
            self._here.collected = tuple(item.nodeid for item in session.items)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what the report says of scenarios."""
        self.rows.add(report)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        """Write the files, when the exit status is final and the terminal's summary has not begun."""
        yield
        if self._here is not None:
            self._here.ended_s = time.monotonic()
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
        """One line a scenario; of several kernels a table. Then what became of the files."""
        rows = self.rows.told()
        writer = config.get_terminal_writer()
        if rows:
            from rttcheck.report.matrix import asked
            from rttcheck.report.matrix_table import matrix_lines
            from rttcheck.report.terminal import summary_lines

            terminalreporter.section("TCP round trips")
            if len({asked(row) for row in rows}) > 1:
                lines = matrix_lines(rows, writer.fullwidth, colour=writer.hasmarkup)
            else:
                # A test that passed and ran no scenario has nothing to show in a line of figures.
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
        path.write_text(session_document(self.rows.told(), kernels=facts, status=status) + "\n", encoding="utf-8")

    def _write_markdown(self, path: Path, status: int) -> None:  # noqa: ARG002  # as the other
        from rttcheck.report.markdown import markdown, placed

        text = markdown(self.rows.told(), [run.facts() for run in self.runs])
        # What CI gives its jobs for a summary is one file for all steps.
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
