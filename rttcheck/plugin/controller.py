"""The plugin in the process that the user started: where scenarios run, what the header says."""

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
    """Decide on kernels, and register what the session needs; several kernels, and guests, are workers of xdist's.

    True when this very process is to run the tests.

    Raises UsageError, with the sentence of the error behind it, for a kernel that cannot be had.
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
        # With several kernels each test's id says which one it is of; here it is the class' name in a JUnit file.
        config.option.junitprefix = config.option.junitprefix or HOST
        return True
    # xdist's own session would start all kernels at once; ours takes its place.
    config.option.dist = "no"
    config.option.numprocesses = None
    config.pluginmanager.register(KernelSessionStart(plan, options, destinations), "rttcheck-start")
    config.pluginmanager.register(LostTests(plan.runs), "rttcheck-lost")
    return False


@dataclass(frozen=True, slots=True, eq=False)
class KernelSessionStart:
    """Starts the session on kernels, when everybody else is configured and the header is written."""

    plan: KernelPlan
    options: Options
    destinations: tuple[Destination, ...]
    resources: ExitStack = field(default_factory=ExitStack)

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionstart(self, session: pytest.Session) -> Generator[None]:
        """Register the session that starts the kernels in xdist's place."""
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
                # After the dots of tests, too, of which the reporter knows no file.
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
        """Leave other machines as they were."""
        self.resources.close()

    def pytest_unconfigure(self) -> None:
        """Also where the session did not begin."""
        self.resources.close()


@dataclass(frozen=True, slots=True, eq=False)
class Controller:
    """Says at the beginning what is judged, and calls an inconclusive scenario what it is."""

    header: list[str]

    def pytest_report_header(self) -> list[str]:
        """Kernel, clock, engine and probe, with the reasons."""
        return self.header

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Inconclusive has a word of its own: it is not passed, and it is not skipped either."""
        if (
            report.when == "call"
            and report.skipped
            and (PROPERTY + "outcome", "inconclusive") in report.user_properties
        ):
            return "inconclusive", "I", "INCONCLUSIVE"
        return None
