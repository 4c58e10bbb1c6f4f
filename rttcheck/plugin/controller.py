"""The plugin in the process that the user started: where scenarios run, what header and summary say."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import pytest

from rttcheck.errors import RttcheckError
from rttcheck.plugin.fixtures import PROPERTY
from rttcheck.plugin.kernel_plan import KernelPlan, guests_of
from rttcheck.plugin.kernel_run import HOST, KERNEL_RUNS
from rttcheck.plugin.lost import LostTests
from rttcheck.plugin.options import Options

Row = dict[str, str | int | float]


def start(config: pytest.Config, options: Options) -> None:
    """Decide on kernels, and register what the session needs; several kernels, and guests, are workers of xdist's.

    Raises UsageError, with the sentence of the error behind it, for a kernel that cannot be had.
    """
    try:
        plan = KernelPlan.of(options)
    except RttcheckError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[KERNEL_RUNS] = plan.runs
    config.pluginmanager.register(Controller(list(plan.lines)), "rttcheck-controller")
    if plan.only_host:
        # With several kernels each test's id says which one it is of; here it is the class' name in a JUnit file.
        config.option.junitprefix = config.option.junitprefix or HOST
        return
    # xdist's own session would start all kernels at once; ours takes its place.
    config.option.dist = "no"
    config.option.numprocesses = None
    config.pluginmanager.register(KernelSessionStart(plan, options), "rttcheck-start")
    config.pluginmanager.register(LostTests(plan.runs), "rttcheck-lost")


@dataclass(frozen=True, slots=True, eq=False)
class KernelSessionStart:
    """Starts the session on kernels, when everybody else is configured and the header is written."""

    plan: KernelPlan
    options: Options

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionstart(self, session: pytest.Session) -> Generator[None]:
        """Register the session that starts the kernels in xdist's place, and boot the first of them."""
        yield
        from rttcheck.plugin.kernel_session import TOOK, KernelSession
        from rttcheck.plugin.seats import Seats, ThisMachine, in_turn, seats_here

        config = session.config
        reporter = config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None:
            reporter.showfspath = False

        def say(line: str) -> None:
            if reporter is not None and config.option.verbose >= 0:
                reporter.ensure_newline()
                reporter.write_line(f"rttcheck: {line}")

        cache = getattr(config, "cache", None)
        took_s = cache.get(TOOK, {}) if cache is not None else {}
        seats = Seats([ThisMachine(seats=self.options.jobs or seats_here(guests_of(self.plan.runs)))])
        config.option.dist = "each"
        kernels = KernelSession(config, in_turn(self.plan.runs, took_s), seats, say=say)
        config.pluginmanager.register(kernels, "dsession")
        kernels.start(session)


@dataclass(slots=True, eq=False)
class Controller:
    """Collects the scenarios' rows from reports, local ones and those of guests alike, and prints them."""

    header: list[str]
    rows: list[Row] = field(default_factory=list)

    def pytest_report_header(self) -> list[str]:
        """Kernel, clock, engine and probe, with the reasons."""
        return self.header

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the rows that a test's call left in its properties."""
        if report.when == "call":
            self.rows += rows_of(report.user_properties)

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Inconclusive has a word of its own: it is not passed, and it is not skipped either."""
        if (
            report.when == "call"
            and report.skipped
            and (PROPERTY + "outcome", "inconclusive") in report.user_properties
        ):
            return "inconclusive", "I", "INCONCLUSIVE"
        return None

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        """One line a scenario."""
        if not self.rows:
            return
        from rttcheck.report.terminal import summary_lines

        width = config.get_terminal_writer().fullwidth
        terminalreporter.section("TCP round trips")
        for line in summary_lines(self.rows, width):
            terminalreporter.write_line(line)


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
