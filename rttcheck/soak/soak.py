"""Run a soak: one suite after the other, alternating the conditions, until all are done or the time is up.

Each suite is saved as soon as it is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rttcheck.errors import RttcheckError
from rttcheck.soak.code import code_digest
from rttcheck.soak.condition import Condition
from rttcheck.soak.display import Display
from rttcheck.soak.ledger import Ledger
from rttcheck.soak.session import SuiteRequest, run_suite
from rttcheck.soak.suite import SuiteResult


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakPlan:
    """``runs`` suites under each condition; none begins after ``seconds`` of host time (None: no limit)."""

    conditions: tuple[Condition, ...]
    runs: int
    seconds: float | None = None

    @property
    def suites(self) -> int:
        """The number of suites."""
        return self.runs * len(self.conditions)

    def left(self, ledger: Ledger) -> Iterator[Condition]:
        """Yield the conditions of the remaining suites, round by round."""
        for round_ in range(1, self.runs + 1):
            for condition in self.conditions:
                if ledger.done(condition) < round_:
                    yield condition


def run_soak(
    plan: SoakPlan, ledger: Ledger, display: Display, *, run: Callable[[SuiteRequest], SuiteResult] = run_suite
) -> KeyboardInterrupt | RttcheckError | None:
    """Run the rest of the plan and save it in the ledger; return what ended it early, or None.

    Reaching the time limit is not an early end. Raises RecordingError when the ledger cannot be written.
    """
    began = time.monotonic()
    ending: KeyboardInterrupt | RttcheckError | None = None
    try:
        for condition in plan.left(ledger):
            if plan.seconds is not None and time.monotonic() - began >= plan.seconds:
                display.line(f"time is up: {len(ledger.suites)} of {plan.suites} suites are done")
                break
            number = len(ledger.suites) + 1
            display.begin(number, condition)
            order = SuiteRequest(
                number=number,
                condition=condition,
                scenarios=ledger.scenarios,
                directory=ledger.directory / f"{number:04}",
                boot=ledger.boot,
            )
            suite = run(order)
            if code_digest() != ledger.code:
                raise RttcheckError(
                    f"rttcheck's own code changed while suite {number} ran, which therefore does not count: run the "
                    "soak from a copy that is not edited, such as a git worktree"
                )
            ledger.add(suite)
            display.end(suite)
    except (KeyboardInterrupt, RttcheckError) as error:
        ending = error
        ledger.ending = str(error) or "interrupted"
    ledger.save()
    return ending
