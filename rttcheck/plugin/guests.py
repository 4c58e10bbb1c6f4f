"""Guests as workers of the session: each kernel is one xdist gateway whose Python runs in a booted guest.

What xdist does not know is that a guest can hang, and that a dead guest is no failed test: a watchdog in host time ends
a guest that reports nothing for too long, and the tests it took with it are *lost*, with the tail of its console and an
exit status of their own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rttcheck.plugin.fixtures import PROPERTY
from rttcheck.plugin.options import Options

EXIT_LOST = 20
"""Exit status of a session that lost a guest; pytest's own end at 6."""


@dataclass(slots=True, eq=False)
class GuestPlan:
    """One guest of the session: what is booted, where its console goes, what has become of it."""

    kernel: str
    release: str
    gateway: str
    console: Path
    started_s: float = 0.0
    ready_s: float = 0.0
    heard_s: float = 0.0
    collected: tuple[str, ...] = ()
    finished: set[str] = field(default_factory=set)
    lost: str = ""
    done: bool = False


@dataclass(slots=True, eq=False)
class Guests:
    """Controller-side keeper of the session's guests."""

    planned: list[GuestPlan]
    config: pytest.Config
    boot_deadline_s: float
    test_deadline_s: float
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _watchdog: threading.Thread | None = None
    _closing: bool = False

    @classmethod
    def prepare(cls, config: pytest.Config, options: Options, kernels: Sequence[str], clock: str) -> Guests:
        """Fetch the kernels and point xdist at one gateway each.

        Raises KernelError for a kernel that does not exist or cannot be fetched.
        """
        from rttcheck.kernels.archive import fetch
        from rttcheck.kernels.gateway import GuestSettings, gateway_spec
        from rttcheck.kernels.spec import KernelSpec

        options.recordings.mkdir(parents=True, exist_ok=True)
        consoles = options.recordings.parent / "consoles"
        consoles.mkdir(exist_ok=True)
        planned = []
        for kernel in kernels:
            release = fetch(KernelSpec.parse(kernel)).release
            console = consoles / f"{release}.log"
            settings = GuestSettings(
                kernel=kernel,
                clock=clock,
                console=console,
                shared=options.recordings,
                boot_deadline_s=options.boot_deadline_s,
            )
            planned.append(GuestPlan(kernel=kernel, release=release, gateway=gateway_spec(settings), console=console))
        config.option.tx = [guest.gateway for guest in planned]
        config.option.dist = "each"
        config.option.numprocesses = None
        config.option.maxworkerrestart = "0"
        return cls(
            planned=planned,
            config=config,
            boot_deadline_s=options.boot_deadline_s,
            test_deadline_s=options.test_deadline_s,
        )

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionstart(self) -> Iterator[None]:
        """Boot: xdist opens the gateways in here; a guest that never answers must not look like a crash of pytest."""
        self._say(
            f"booting {', '.join(guest.kernel for guest in self.planned)} (deadline {self.boot_deadline_s:.0f} s)"
        )
        for guest in self.planned:
            guest.started_s = time.monotonic()
        try:
            yield
        except (EOFError, OSError) as error:
            guest = self._silent()
            pytest.exit(_obituary(guest, f"did not boot ({error or type(error).__name__})"), returncode=EXIT_LOST)
        self._watchdog = threading.Thread(target=self._watch, name="rttcheck-watchdog", daemon=True)
        self._watchdog.start()

    def pytest_testnodeready(self, node: Any) -> None:
        """A guest has imported pytest and goes on to collect."""
        guest = self._of(node)
        guest.ready_s = time.monotonic()
        self._heard(guest)
        self._say(f"{guest.kernel} is up after {guest.ready_s - guest.started_s:.1f} s")

    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        """What is going to be run there; what of it never reports is lost."""
        guest = self._of(node)
        guest.collected = tuple(ids)
        self._heard(guest)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A sign of life."""
        node = getattr(report, "node", None)
        if node is None:
            return
        guest = self._of(node)
        if report.when == "teardown":
            guest.finished.add(report.nodeid)
        self._heard(guest)

    @pytest.hookimpl(tryfirst=True)
    def pytest_testnodedown(self, node: Any, error: object | None) -> None:
        """A gateway closed: in good order, or because its guest is gone."""
        guest = self._of(node)
        with self._changed:
            guest.done = True
            self._changed.notify_all()
        if error is not None and not guest.lost:
            guest.lost = f"its guest ended in mid-run ({error})"

    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport) -> None:
        """The test that was running when a guest went: lost, with the console's last lines."""
        guest = next((guest for guest in self.planned if guest.lost and crashitem not in guest.finished), None)
        if guest is None:
            return
        guest.finished.add(crashitem)
        report.longrepr = _obituary(guest, guest.lost)
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
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if any(guest.lost for guest in self.planned):
            session.exitstatus = EXIT_LOST

    def _watch(self) -> None:
        """End guests that have said nothing for longer than a test may take."""
        with self._changed:
            while not self._closing:
                waiting = [guest for guest in self.planned if guest.heard_s and not guest.done]
                due = min((guest.heard_s + self.test_deadline_s for guest in waiting), default=None)
                now = time.monotonic()
                if due is None or due > now:
                    self._changed.wait(None if due is None else due - now)
                    continue
                for guest in waiting:
                    if guest.heard_s + self.test_deadline_s <= now:
                        guest.lost = f"it reported nothing for {self.test_deadline_s:.0f} s"
                        guest.done = True
                        self._end(guest)

    def _end(self, guest: GuestPlan) -> None:
        from rttcheck.kernels.gateway import end_guest

        end_guest(guest.console)

    def _heard(self, guest: GuestPlan) -> None:
        with self._changed:
            guest.heard_s = time.monotonic()
            self._changed.notify_all()

    def _of(self, node: Any) -> GuestPlan:
        index = [spec.id for spec in node.nodemanager.specs].index(node.gateway.id)
        return self.planned[index]

    def _silent(self) -> GuestPlan:
        return next((guest for guest in self.planned if not guest.ready_s), self.planned[0])

    def _say(self, line: str) -> None:
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None and self.config.option.verbose >= 0:
            reporter.write_line(f"rttcheck: {line}")


def _obituary(guest: GuestPlan, cause: str) -> str:
    from rttcheck.kernels.console import console_tail

    return (
        f"the guest {guest.kernel} was lost: {cause}; the end of its console ({guest.console}):\n"
        f"{console_tail(guest.console)}"
    )
