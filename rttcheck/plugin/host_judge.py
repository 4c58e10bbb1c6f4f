"""Judging outside of a guest, as the guest sees it: recordings are handed over, verdicts come back when asked for.

`rttcheck.plugin.guest_verdicts` is the other end of the channel.
"""

from __future__ import annotations

import pickle
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rttcheck.errors import JudgingError
from rttcheck.plugin.verdict_report import Pending, add_properties, mark, settle

if TYPE_CHECKING:
    from rttcheck.judging.result import Judged

JUDGE_INPUT = "rttcheck_judge"
"""The key in xdist's ``workerinput`` of the channel to the controller."""


@dataclass(slots=True, eq=False)
class HostJudge:
    """The controller as the judge of this guest's recordings.

    Waiting has no deadline here, because a guest in virtual time that waits goes through its timers in no time: the
    controller has one, and the launcher ends a guest that is silent for too long.
    """

    channel: Any
    """The execnet channel: (number, path, reproduce, wanted) goes out, (number, answer) comes back."""
    handed_over: dict[Path, int] = field(default_factory=dict)
    """The recordings whose verdicts were not asked for."""
    count: int = 0

    def judged(self, path: Path, reproduce: str) -> Judged:
        """Have a recording judged and return the verdict. Raises JudgingError, or the judge's own error."""
        self.count += 1
        self.channel.send((self.count, str(path), reproduce, True))
        return self._answer(self.count)

    def hand_over(self, path: Path, reproduce: str) -> int:
        """Have a recording judged; return its number."""
        self.count += 1
        self.handed_over[path] = self.count
        self.channel.send((self.count, str(path), reproduce, False))
        return self.count

    def claim(self, number: int) -> Judged:
        """Return the verdict on a recording that was handed over. Raises as `judged` does."""
        self.channel.send((number, "", "", True))
        return self._answer(number)

    def keep_until_judged(self, path: Path | None) -> None:
        """Wait until an earlier recording at ``path`` is judged: the next one replaces it."""
        number = None if path is None else self.handed_over.pop(path, None)
        if number is not None:
            self.channel.send((number, "", "", True))
            self.channel.receive()

    def _answer(self, number: int) -> Judged:
        answered, answer = self.channel.receive()
        assert answered == number
        if isinstance(answer, str):
            raise JudgingError(answer)
        judged: Judged = pickle.loads(answer)
        return judged


HOST_JUDGE = pytest.StashKey[HostJudge]()
"""In the ``config.stash`` of a guest whose recordings are judged outside."""

_HELD = pytest.StashKey[tuple[Pending, Any]]()
"""Of a test: the verdict that is to come, and what pytest shows if it fails."""


def hold(item: pytest.Item, pending: Pending, shown: Any) -> None:
    """Let the test's report wait for its verdict."""
    item.stash[_HELD] = (pending, shown)


def settle_now(item: pytest.Item, report: pytest.TestReport) -> None:
    """Wait for the test's verdict, if it is to come, and put it into the report."""
    held = item.stash.get(_HELD, None)
    if held is None or report.when != "call":
        return
    del item.stash[_HELD]
    pending, shown = held
    # What is reported of a failure that is not the verdict's stays.
    own = (report.outcome, report.longrepr) if not report.passed else None
    mark(report, pending, shown)
    judged: Judged | str
    try:
        judged = item.config.stash[HOST_JUDGE].claim(pending.number)
    except JudgingError as error:
        judged = str(error)
    else:
        # The teardown's report has the test's properties, too.
        add_properties(item.user_properties, judged, pending)
    settle(report, judged, item.config)
    if own is not None:
        if report.failed:
            report.sections.append(("verdict", str(report.longrepr)))
        report.outcome, report.longrepr = own


class HeldReports:
    """Marks the reports of tests whose verdicts are to come; registered in such guests."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Mark a passed report. Another one, as of a warning that is an error, gets its verdict at once."""
        report = yield
        if report.when == "call" and not report.passed:
            settle_now(item, report)
        held = item.stash.get(_HELD, None)
        if held is not None and report.when == "call":
            del item.stash[_HELD]
            mark(report, *held)
        return report
