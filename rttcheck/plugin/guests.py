"""Guests as workers of the session: each kernel is one xdist gateway whose Python runs in a booted guest.

What xdist does not know is that a dead guest is no failed test: the tests it took with it are *lost*, with the tail of
its console and an exit status of their own. Whether a guest is dead or stuck its launcher finds out, in host time.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rttcheck.errors import RecordingError
from rttcheck.kernels.guest import EXIT_LOST, GuestSettings, gateway_spec
from rttcheck.plugin.fixtures import PROPERTY
from rttcheck.plugin.options import Options, make_recordings


@dataclass(slots=True, eq=False)
class GuestPlan:
    """One guest of the session: what is booted, where its console goes, what has become of it."""

    kernel: str
    release: str
    gateway: str
    console: Path
    ready: bool = False
    collected: tuple[str, ...] = ()
    finished: set[str] = field(default_factory=set)
    lost: str = ""


@dataclass(slots=True, eq=False)
class Guests:
    """Controller-side keeper of the session's guests."""

    planned: list[GuestPlan]
    config: pytest.Config
    _started_s: float = 0.0

    @classmethod
    def prepare(cls, config: pytest.Config, options: Options, kernels: Sequence[str], clock: str) -> Guests:
        """Fetch the kernels and point xdist at one gateway each.

        Raises KernelError for a kernel that does not exist or cannot be fetched.
        """
        from rttcheck.kernels.archive import fetch
        from rttcheck.kernels.spec import KernelSpec

        planned = []
        for number, kernel in enumerate(kernels):
            release = fetch(KernelSpec.parse(kernel)).release
            console = _new_console(options, release)
            settings = GuestSettings(
                kernel=kernel,
                clock=clock,
                console=console,
                rw=options.recordings,
                boot_s=options.boot_deadline_s,
                silence_s=options.test_deadline_s,
            )
            gateway = gateway_spec(settings, name=f"guest{number}")
            planned.append(GuestPlan(kernel=kernel, release=release, gateway=gateway, console=console))
        config.option.tx = [guest.gateway for guest in planned]
        config.option.dist = "each"
        config.option.numprocesses = None
        # A guest that died is not started again behind the user's back: what it took with it is told.
        config.option.maxworkerrestart = "0"
        return cls(planned=planned, config=config)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionstart(self) -> Generator[None]:
        """Boot: xdist opens the gateways in here; a guest that never answers must not look like a crash of pytest."""
        self._say(f"booting {', '.join(guest.kernel for guest in self.planned)}")
        self._started_s = time.monotonic()
        try:
            yield
        except (EOFError, OSError):
            # What execnet says is that its pipe has ended; why the launcher has said on standard error.
            guest = next((guest for guest in self.planned if not guest.ready), self.planned[0])
            guest.lost = "it did not boot"
            pytest.exit(obituary(guest, guest.lost), returncode=EXIT_LOST)

    def pytest_testnodeready(self, node: Any) -> None:
        """A guest has imported pytest and goes on to collect."""
        guest = self._of(node)
        guest.ready = True
        self._say(f"{guest.kernel} is up after {self._elapsed_s():.1f} s")

    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        """What is going to be run there; what of it never reports is lost."""
        guest = self._of(node)
        guest.collected = tuple(ids)
        self._say(f"{guest.kernel} begins with its first test after {self._elapsed_s():.1f} s")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Strike the test off the list of what may still be lost."""
        node = getattr(report, "node", None)
        if node is not None and report.when == "teardown":
            self._of(node).finished.add(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_testnodedown(self, node: Any, error: object | None) -> None:
        """A gateway closed: in good order, or because its guest is gone."""
        if error is not None:
            self._of(node).lost = f"its guest ended in mid-run ({error})"

    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport) -> None:
        """The test that was running when a guest went: lost, with the console's last lines."""
        guest = next((guest for guest in self.planned if guest.lost and crashitem not in guest.finished), None)
        if guest is None:
            return
        guest.finished.add(crashitem)
        report.longrepr = obituary(guest, guest.lost)
        report.user_properties.append((PROPERTY + "outcome", "lost"))

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Lost has a word of its own: neither passed nor failed."""
        if (PROPERTY + "outcome", "lost") in report.user_properties:
            return "lost", "L", "LOST"
        return None

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name what a lost guest took with it."""
        for report in terminalreporter.stats.get("lost", ()):
            terminalreporter.section("guest lost", red=True)
            terminalreporter.write_line(str(report.longrepr))
        for guest in self.planned:
            if guest.lost:
                untold = [nodeid for nodeid in guest.collected if nodeid not in guest.finished]
                terminalreporter.write_line(
                    f"LOST {guest.kernel}: {guest.lost}; {len(untold)} more tests were not run there; "
                    f"console: {guest.console}"
                )

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A session that lost a guest says so in its exit status, whatever its other tests did."""
        if any(guest.lost for guest in self.planned):
            session.exitstatus = EXIT_LOST

    def _of(self, node: Any) -> GuestPlan:
        return next(guest for number, guest in enumerate(self.planned) if node.gateway.id == f"guest{number}")

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started_s

    def _say(self, line: str) -> None:
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None and self.config.option.verbose >= 0:
            reporter.write_line(f"rttcheck: {line}")


def _new_console(options: Options, release: str) -> Path:
    """An empty file for a guest's console, beside the recordings that the guest will write."""
    console = options.recordings.parent / "consoles" / f"{release}.log"
    try:
        make_recordings(options)
        console.parent.mkdir(exist_ok=True)
        console.write_bytes(b"")
    except OSError as error:
        raise RecordingError(
            f"{error.filename or console} cannot be written ({error.strerror}): name another directory with "
            "--rtt-recordings"
        ) from error
    return console


def obituary(guest: GuestPlan, cause: str) -> str:
    """Why a guest is lost, and the last it said."""
    from rttcheck.kernels.console import read_console_tail

    return (
        f"the guest {guest.kernel} was lost: {cause}; the end of its console ({guest.console}):\n"
        f"{read_console_tail(guest.console)}"
    )
