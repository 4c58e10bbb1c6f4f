"""The plugin in the process that the user started: decide where scenarios run, and print the header."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from rttcheck.errors import RttcheckError
from rttcheck.plugin.kernel_plan import KernelPlan, guests_of
from rttcheck.plugin.kernel_run import HOST, KERNEL_RUNS
from rttcheck.plugin.lost import LostTests
from rttcheck.plugin.options import Options
from rttcheck.plugin.properties import PROPERTY
from rttcheck.plugin.reports import Reports

if TYPE_CHECKING:
    from rttcheck.remote.destination import Destination


def start(config: pytest.Config, options: Options) -> bool:
    """Choose the kernels and register the plugins of the session; guests, and several kernels, are xdist workers.

    Returns whether this process runs the tests itself. Raises UsageError for a kernel that cannot be used.
    """
    try:
        plan = KernelPlan.of(options)
    except RttcheckError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[KERNEL_RUNS] = plan.runs
    destinations: tuple[Destination, ...] = ()
    if options.machines:
        from rttcheck.plugin.machines import destinations_of

        destinations = destinations_of(config, options, plan.runs)
    config.pluginmanager.register(Controller(list(plan.lines)), "rttcheck-controller")
    config.pluginmanager.register(Reports.of(options, plan.runs), "rttcheck-reports")
    if plan.only_host:
        # With several kernels each test's id has its kernel; here the class name in a JUnit file has it.
        config.option.junitprefix = config.option.junitprefix or HOST
        return True
    # xdist's own session would start all kernels at once; KernelSession replaces it.
    config.option.dist = "no"
    config.option.numprocesses = None
    config.pluginmanager.register(KernelSessionStart(plan, options, destinations), "rttcheck-start")
    config.pluginmanager.register(LostTests(plan.runs), "rttcheck-lost")
    return False


@dataclass(frozen=True, slots=True, eq=False)
class KernelSessionStart:
    """Starts the session on kernels, after all plugins are configured and the header is printed."""

    plan: KernelPlan
    options: Options
    destinations: tuple[Destination, ...]
    resources: ExitStack = field(default_factory=ExitStack)

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionstart(self, session: pytest.Session) -> Generator[None]:
        """Register the session that starts the kernels instead of xdist's."""
        yield
        from rttcheck.plugin.kernel_session import TOOK, KernelSession
        from rttcheck.plugin.slots import LocalMachine, SessionMachine, Slots, guest_slots, start_order

        config = session.config
        reporter = config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None:
            reporter.showfspath = False

        def say(line: str) -> None:
            if reporter is not None and config.option.verbose >= 0:
                reporter.ensure_newline()
                # Also after the dots of tests, for which the reporter has no file.
                if config.get_terminal_writer().width_of_current_line:
                    reporter.write_line("")
                reporter.write_line(f"rttcheck: {line}")

        cache = getattr(config, "cache", None)
        took_s = cache.get(TOOK, {}) if cache is not None else {}
        jobs = self.options.jobs
        places: list[SessionMachine] = [
            LocalMachine(slots=guest_slots(guests_of(self.plan.runs)) if jobs is None else jobs)
        ]
        if self.destinations:
            from rttcheck.plugin.machines import machines

            places += self.resources.enter_context(machines(config, self.destinations, self.plan.runs, say=say))
        slots = Slots(places)
        config.option.dist = "each"
        kernels = KernelSession(session, start_order(self.plan.runs, took_s), slots, say=say)
        config.pluginmanager.register(kernels, "dsession")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Clean up the other machines."""
        self.resources.close()

    def pytest_unconfigure(self) -> None:
        """Clean up also if the session did not begin."""
        self.resources.close()


@dataclass(frozen=True, slots=True, eq=False)
class Controller:
    """Prints the header and gives inconclusive scenarios an outcome of their own."""

    header: list[str]

    def pytest_report_header(self) -> list[str]:
        """Return a line for each kernel: clock, engine, probe and the reasons."""
        return self.header

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Report inconclusive as an outcome of its own: neither passed nor skipped."""
        if (
            report.when == "call"
            and report.skipped
            and (PROPERTY + "outcome", "inconclusive") in report.user_properties
        ):
            return "inconclusive", "I", "INCONCLUSIVE"
        return None
