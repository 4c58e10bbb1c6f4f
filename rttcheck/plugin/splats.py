"""A kernel that complains fails the test in which it did: its log is read around each test.

Owns what a splat does to a test. Reading the log is `rttcheck.kernel_log.reader`'s, and knowing a splat is
`rttcheck.kernel_log.splat`'s.
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
from rttcheck.kernel_log.splat import Splat, splats
from rttcheck.plugin.properties import PROPERTY
from rttcheck.plugin.worker import in_guest

SPLATS = pytest.StashKey[list[Splat]]()
"""Of a test: what the kernel complained of since it began."""


@dataclass(slots=True, eq=False)
class SplatWatch:
    """Reads the kernel's log after each part of each test; lives where the tests are run."""

    allowed: tuple[Allowed, ...] = ()
    """What the user allows."""
    log: KernelLog | None = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Keep the log open: what was said before the first test is nobody's."""
        with open_kernel_log() as log:
            self.log = log
            try:
                return (yield)
            finally:
                self.log = None

    def pytest_runtest_logstart(self) -> None:
        """Between tests, what is said is nobody's."""
        if self.log is not None:
            self.log.read()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Fail the part of the test in which the kernel complained."""
        report = yield
        if self.log is None:
            return report
        heard = self.log.take()
        if heard.lost:
            lost = f"at least {heard.lost} records were overwritten before they could be read"
            report.sections.append(("kernel log", lost))
        found = splats(heard.kernel_texts, os.uname().release, (*self.allowed, *ALLOWED))
        if found:
            item.stash.setdefault(SPLATS, []).extend(found)
            tell(report, found)
        return report


def tell(report: pytest.TestReport, found: Sequence[Splat]) -> None:
    """Put ``found`` into a test's report; what is not allowed makes it a failure, whatever it was before.

    What a scenario's verdict has told already is not told as a second reason.
    """
    told = (PROPERTY + "guilty", Layer.KERNEL.value) in report.user_properties
    for splat in found:
        note = f"kernel splat ({splat.kind})"
        if splat.allowed is not None:
            note += f", allowed until {splat.allowed.until}: {splat.allowed.reason}"
        report.sections.append((note, splat.render()))
        report.user_properties.append((PROPERTY + "splat", splat.name))
    guilty = [splat for splat in found if splat.allowed is None]
    if not guilty or told:
        return
    sentence = complaint(guilty, "during this test", shared=not in_guest())
    was = report.longrepr
    report.longrepr = sentence if not report.failed or was is None else f"{was}\n\n{sentence}"
    report.outcome = "failed"


def allowed_of(config: pytest.Config) -> tuple[Allowed, ...]:
    """What the user allows, with `--rtt-allow-splats`. Raises UsageError, with the sentence of the error behind it."""
    given = config.getoption("rtt_allow_splats")
    try:
        return read_allowed(Path(given)) if given else ()
    except AllowListError as error:
        raise pytest.UsageError(str(error)) from error
