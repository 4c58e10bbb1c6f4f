"""Show the progress of a soak on standard error: a bar on a terminal, one line per suite elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from rttcheck.soak.condition import Condition
from rttcheck.soak.suite import ERROR, FAILED, INCONCLUSIVE, LOST, PASSED, SuiteResult


class Display(Protocol):
    """Shows how far a soak has got."""

    def begin(self, number: int, condition: Condition) -> None:
        """A suite begins; ``number`` counts all suites of this soak, also from before a --resume."""

    def end(self, suite: SuiteResult) -> None:
        """The suite is done."""

    def line(self, text: str) -> None:
        """Write ``text`` on a line that stays."""


def summary(suite: SuiteResult, planned: int) -> str:
    """Return one suite's result as a line."""
    checks = sum(check.passed + check.failed + check.inconclusive for check in suite.checks)
    parts = [f"{suite.count(PASSED)} of {len(suite.runs)} scenarios passed", f"{checks} checks"]
    parts += [
        f"{suite.count(outcome)} {outcome}" for outcome in (FAILED, ERROR, INCONCLUSIVE, LOST) if suite.count(outcome)
    ]
    return f"suite {suite.number} of {planned} ({suite.condition}): {', '.join(parts)}; {suite.seconds:.0f} s"


class SuiteLines:
    """Progress for pipes and files."""

    def __init__(self, to: TextIO, planned: int) -> None:
        self._to = to
        self._planned = planned

    def begin(self, number: int, condition: Condition) -> None:
        """Do nothing: a suite has one line, at its end."""

    def end(self, suite: SuiteResult) -> None:
        """Write the suite's line."""
        self.line(summary(suite, self._planned))

    def line(self, text: str) -> None:
        """Write ``text`` at once."""
        print(f"rttcheck: {text}", file=self._to, flush=True)


@contextmanager
def shown_soak(planned: int, done: int, *, terminal: bool) -> Iterator[Display]:
    """Yield the display of a soak of ``planned`` suites, ``done`` of which ran before a --resume."""
    if not terminal:
        yield SuiteLines(sys.stderr, planned)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(
        *columns, TextColumn("{task.description}"), console=console, transient=True, refresh_per_second=2
    ) as progress:
        task = progress.add_task("", total=planned, completed=done)
        failures = 0

        class ProgressBar:
            def begin(self, number: int, condition: Condition) -> None:
                description = f"suite {number}: {condition}; {failures} failed checks so far"
                progress.update(task, description=escape(description))

            def end(self, suite: SuiteResult) -> None:
                nonlocal failures
                failures += suite.failed_checks
                progress.advance(task)
                if suite.count(PASSED) < len(suite.runs):
                    self.line(summary(suite, planned))

            def line(self, text: str) -> None:
                console.print(Text(text), soft_wrap=True)

        yield ProgressBar()
