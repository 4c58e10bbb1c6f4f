"""A kernel that complains fails the test in which it did: its log is read around each test.

Owns what a splat does to a test. Reading the log is `rttcheck.collect.kernel_log`'s, and knowing a splat is
`rttcheck.judge.splat`'s.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import dataclass

import pytest

from rttcheck.collect.kernel_log import KernelLog, open_kernel_log
from rttcheck.judge.splat import Splat, splats
from rttcheck.plugin.fixtures import PROPERTY
from rttcheck.plugin.worker import in_guest

SPLATS = pytest.StashKey[list[Splat]]()
"""Of a test: what the kernel complained of since it began."""


@dataclass(slots=True, eq=False)
class SplatWatch:
    """Reads the kernel's log after each part of each test; lives where the tests are run."""

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
        before = self.log.overwritten
        said = [record.text for record in self.log.read() if record.is_kernels]
        if self.log.overwritten > before:
            report.sections.append(("kernel log", "records were overwritten before they could be read"))
        found = splats(said, os.uname().release)
        if found:
            item.stash.setdefault(SPLATS, []).extend(found)
            tell(report, found)
        return report


def tell(report: pytest.TestReport, found: tuple[Splat, ...]) -> None:
    """Put ``found`` into a test's report; what is not allowed makes it a failure, whatever it was before."""
    for splat in found:
        note = f"kernel splat ({splat.kind})"
        if splat.allowed is not None:
            note += f", allowed: {splat.allowed.reason}"
        report.sections.append((note, splat.render()))
        report.user_properties.append((PROPERTY + "splat", splat.title))
    guilty = [splat for splat in found if splat.allowed is None]
    if not guilty:
        return
    whose = "" if in_guest() else " (this is the machine's own kernel: another program may have caused it)"
    sentence = f"the kernel complained during this test{whose}: {guilty[0].title}"
    if len(guilty) > 1:
        sentence += f", and {len(guilty) - 1} times more"
    was = report.longrepr
    report.longrepr = sentence if not report.failed or was is None else f"{was}\n\n{sentence}"
    report.outcome = "failed"
