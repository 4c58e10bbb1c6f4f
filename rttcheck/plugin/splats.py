"""A kernel splat fails the test during which it was logged: the kernel's log is read around each test.

`rttcheck.kernel_log.reader` reads the log, `rttcheck.kernel_log.splat` finds splats in it.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from rttcheck.errors import AllowListError
from rttcheck.judge.findings import Layer
from rttcheck.judge.kernel import complaint
from rttcheck.kernel_log.allowed import ALLOWED, Allowed, read_allowed
from rttcheck.kernel_log.reader import KernelLog, open_kernel_log
from rttcheck.kernel_log.splat import Splat, not_allowed, splats
from rttcheck.plugin.host_judge import settle_now
from rttcheck.plugin.properties import PROPERTY
from rttcheck.plugin.worker import in_guest

SPLATS = pytest.StashKey[list[Splat]]()
"""A test's splats."""


@dataclass(slots=True, eq=False)
class SplatWatch:
    """Reads the kernel's log after each phase of each test, in the process that runs the tests."""

    allowed: tuple[Allowed, ...] = ()
    """The splats that the user allows."""
    log: KernelLog | None = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Keep the log open; messages before the first test are ignored."""
        with open_kernel_log() as log:
            self.log = log
            try:
                return (yield)
            finally:
                self.log = None

    def pytest_runtest_logstart(self) -> None:
        """Ignore messages between tests."""
        if self.log is not None:
            self.log.read()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Fail the phase of the test during which there was a splat."""
        report = yield
        if self.log is None:
            return report
        messages = self.log.take()
        if messages.lost:
            lost = f"at least {messages.lost} records were overwritten before they could be read"
            report.sections.append(("kernel log", lost))
        found = splats(messages.kernel_texts, os.uname().release, (*self.allowed, *ALLOWED))
        if found:
            # Whether the verdict has them decides what is reported.
            settle_now(item, report)
            item.stash.setdefault(SPLATS, []).extend(found)
            report_splats(report, found)
        return report


def report_splats(report: pytest.TestReport, found: Sequence[Splat]) -> None:
    """Add splats to a test's report; one that is not allowed makes it a failure, whatever its outcome was.

    A splat that the scenario's verdict reports already is not added as a second reason.
    """
    reported = (PROPERTY + "guilty", Layer.KERNEL.value) in report.user_properties
    for splat in found:
        note = f"kernel splat ({splat.kind})"
        if splat.allowed is not None:
            note += f", allowed until {splat.allowed.until}: {splat.allowed.reason}"
        report.sections.append((note, splat.render()))
        report.user_properties.append((PROPERTY + "splat", splat.name))
    unexpected = not_allowed(found)
    if not unexpected or reported:
        return
    sentence = complaint(unexpected, "during this test", shared=not in_guest())
    was = report.longrepr
    report.longrepr = sentence if not report.failed or was is None else f"{was}\n\n{sentence}"
    report.outcome = "failed"


def allowed_of(config: pytest.Config) -> tuple[Allowed, ...]:
    """Return the splats allowed with `--rtt-allow-splats`. Raises UsageError for an invalid file."""
    given = config.getoption("rtt_allow_splats")
    try:
        return read_allowed(Path(given)) if given else ()
    except AllowListError as error:
        raise pytest.UsageError(str(error)) from error
