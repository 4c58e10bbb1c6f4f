"""The plugin in the process that the user started: where scenarios run, what header and summary say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from rttcheck.collect.choices import AUTO
from rttcheck.errors import RttcheckError
from rttcheck.plugin.fixtures import PROPERTY
from rttcheck.plugin.options import Options

if TYPE_CHECKING:
    from rttcheck.collect.selection import Pair

Row = dict[str, str | int | float]


def start(config: pytest.Config, options: Options) -> None:
    """Decide on a kernel and register what the session needs; guests are handed to xdist as gateways.

    Raises UsageError, with the sentence of the error behind it, for a kernel that cannot be had.
    """
    kernels, clock = options.kernels, options.clock or "virtual"
    reasons: tuple[str, ...] = ("asked for with --rtt-kernel",)
    probe = "the first that works" if options.probe == AUTO else options.probe
    engine = "netem" if options.engine == AUTO else options.engine
    try:
        if not kernels:
            from rttcheck.collect.capabilities import capabilities
            from rttcheck.kernels.choice import choose_kernel

            choice = choose_kernel(capabilities())
            kernels, reasons = (choice.kernel,), choice.reasons
            clock = options.clock or choice.clock
        if kernels == ("host",):
            if options.clock == "virtual":
                raise pytest.UsageError(
                    "--rtt-clock virtual was asked for and the kernel is the running one, whose time is real: "
                    "name a guest's kernel, as in --rtt-kernel debian:6.12"
                )
            pair = require_host(options.engine, options.probe)
            header = [
                f"rttcheck: kernel host, clock real, engine {pair.engine}, probe {pair.probe}, which sees {pair.sees} "
                f"({'; '.join(reasons)})"
            ]
        else:
            from rttcheck.plugin.guests import Guests

            guests = Guests.prepare(config, options, kernels, clock)
            config.pluginmanager.register(guests, "rttcheck-guests")
            header = [
                f"rttcheck: kernel {guest.kernel} ({guest.release}), clock {clock}, engine {engine}, "
                f"probe {probe} ({'; '.join(reasons)})"
                for guest in guests.planned
            ]
    except RttcheckError as error:
        raise pytest.UsageError(str(error)) from error
    config.pluginmanager.register(Controller(header), "rttcheck-controller")


def require_host(engine: str, probe: str) -> Pair:
    """What to judge the running kernel with; CapabilityError, naming all that is missing, where it cannot be judged."""
    from rttcheck.collect.capabilities import host_capabilities
    from rttcheck.collect.selection import select

    return select(host_capabilities(), engine, probe)


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
