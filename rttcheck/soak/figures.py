"""Evaluate many suites: failure rates with their bounds, problems, and medians that should agree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from rttcheck.soak.bound import CONFIDENCE, upper_bound
from rttcheck.soak.suite import ERROR, FAILED, INCONCLUSIVE, LOST, PASSED, CheckCount, ScenarioRun, SuiteResult

SAME_US: Final = 1
"""Largest difference of medians of a constant delay in virtual time that count as the same: a sample's unit."""

MEDIANS_MEAN: Final = (
    "medians that agree mean that runs repeat, not that they are correct: a fault in every run repeats as well. "
    "The verdicts show what is correct: they check each run against its own packets and the injected latency."
)
"""What medians of one kernel's runs do not show: that kernel measures all of them."""

ALL: Final = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The counts of the suites of one kernel, clock and load; ``all`` stands for any."""

    kernel: str
    clock: str
    load: str
    suites: int
    alarmed: int
    """Suites with a failure."""
    scenarios: int
    """Scenarios without the lost ones."""
    failed: int
    """Scenarios with a failure, errors included."""
    inconclusive: int
    lost: int
    checks: int
    failed_checks: int
    inconclusive_checks: int
    distinct: int
    """Scenario runs with different samples: in virtual time a run may repeat exactly."""
    over_wire_max_us: int | None
    over_wire_where: str
    """The scenario and the suite of the largest difference between a sample and the wire."""

    @property
    def answered(self) -> int:
        """Checks that passed or failed: inconclusive ones are excluded."""
        return self.checks - self.inconclusive_checks

    @property
    def per_thousand(self) -> float:
        """Failures per thousand checks."""
        return 1000 * self.failed_checks / self.answered if self.answered else 0.0

    @property
    def per_thousand_upper(self) -> float:
        """Upper bound of failures per thousand checks at `CONFIDENCE`, if checks are independent."""
        return 1000 * upper_bound(self.failed_checks, self.answered)

    @property
    def alarmed_upper(self) -> float:
        """Upper bound of the share of suites with a failure at `CONFIDENCE`, if suites are independent."""
        return upper_bound(self.alarmed, self.suites)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One problem of a scenario under one condition: how often it occurred, and the first occurrence."""

    kernel: str
    clock: str
    load: str
    scenario: str
    outcome: str
    check: str
    times: int
    message: str
    suite: int
    recording: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Median:
    """Medians of a constant-delay scenario's samples on one kernel and clock, over all suites, boots and loads.

    They show how well runs repeat. They are the kernel's own samples and do not show that they are correct.
    """

    release: str
    clock: str
    scenario: str
    runs: int
    smallest_us: int
    largest_us: int

    @property
    def same(self) -> bool:
        """Whether they agree to `SAME_US`: runs repeat, correct or not."""
        return self.largest_us - self.smallest_us <= SAME_US


def tallies(suites: Sequence[SuiteResult]) -> list[Tally]:
    """Return one tally per condition, by first suite; then one per clock that has several conditions."""
    found = []
    for condition in dict.fromkeys(suite.condition for suite in suites):
        chosen = [suite for suite in suites if suite.condition == condition]
        found.append(_tally(chosen, condition.kernel, condition.clock, condition.load))
    for clock in dict.fromkeys(suite.condition.clock for suite in suites):
        chosen = [suite for suite in suites if suite.condition.clock == clock]
        if len({suite.condition for suite in chosen}) > 1:
            found.append(_tally(chosen, ALL, clock, ALL))
    return found


def _tally(suites: Sequence[SuiteResult], kernel: str, clock: str, load: str) -> Tally:
    runs = [(suite, run) for suite in suites for run in suite.runs]
    checks = [check for suite in suites for check in suite.checks]
    bad = [(suite, run) for suite, run in runs if run.outcome in (FAILED, ERROR)]
    over = [
        (run.over_wire_max_us, suite.number, run.scenario) for suite, run in runs if run.over_wire_max_us is not None
    ]
    most = max(over, key=lambda one: one[0], default=None)
    return Tally(
        kernel=kernel,
        clock=clock,
        load=load,
        suites=len(suites),
        alarmed=len({suite.number for suite, _ in bad}),
        scenarios=sum(run.outcome != LOST for _, run in runs),
        failed=len(bad),
        inconclusive=sum(run.outcome == INCONCLUSIVE for _, run in runs),
        lost=sum(run.outcome == LOST for _, run in runs),
        checks=sum(check.passed + check.failed + check.inconclusive for check in checks),
        failed_checks=sum(check.failed for check in checks),
        inconclusive_checks=sum(check.inconclusive for check in checks),
        distinct=len({(suite.release, run.scenario, run.digest) for suite, run in runs if run.digest}),
        over_wire_max_us=most[0] if most is not None else None,
        over_wire_where=f"{most[2]} in suite {most[1]}" if most is not None else "",
    )


def troubles(suites: Iterable[SuiteResult]) -> list[Trouble]:
    """Return the problems, failures first, then by frequency."""
    groups: dict[tuple[object, ...], list[tuple[SuiteResult, ScenarioRun]]] = {}
    for suite in suites:
        for run in suite.runs:
            if run.outcome != PASSED:
                groups.setdefault((suite.condition, run.scenario, run.outcome, run.check), []).append((suite, run))
    found = [
        Trouble(
            **asdict(suite.condition),
            scenario=run.scenario,
            outcome=run.outcome,
            check=run.check,
            times=len(group),
            message=run.message,
            suite=suite.number,
            recording=run.recording,
        )
        for group in groups.values()
        for suite, run in group[:1]
    ]
    order = (FAILED, ERROR, LOST, INCONCLUSIVE)
    return sorted(found, key=lambda trouble: (order.index(trouble.outcome), -trouble.times))


def medians(suites: Iterable[SuiteResult]) -> list[Median]:
    """Return one entry per release, clock and constant-delay scenario, by first run."""
    groups: dict[tuple[str, str, str], list[int]] = {}
    for suite in suites:
        for run in suite.runs:
            if run.constant and run.median_us is not None:
                key = suite.release, suite.condition.clock, run.scenario
                groups.setdefault(key, []).append(run.median_us)
    return [
        Median(
            release=release,
            clock=clock,
            scenario=scenario,
            runs=len(values),
            smallest_us=min(values),
            largest_us=max(values),
        )
        for (release, clock, scenario), values in groups.items()
    ]


def checks(suites: Iterable[SuiteResult]) -> list[CheckCount]:
    """Return every check with its counts over ``suites``, by first suite."""
    groups: dict[tuple[str, str], list[CheckCount]] = {}
    for suite in suites:
        for check in suite.checks:
            groups.setdefault((check.layer, check.check), []).append(check)
    return [
        CheckCount(
            layer=layer,
            check=name,
            passed=sum(one.passed for one in group),
            failed=sum(one.failed for one in group),
            inconclusive=sum(one.inconclusive for one in group),
        )
        for (layer, name), group in groups.items()
    ]


def document(suites: Sequence[SuiteResult]) -> dict[str, Any]:
    """Return all results as plain values.

    ``confidence`` of the bounds; ``conditions``: each tally with ``failures_per_thousand``, its upper bound and that of
    the share of suites; ``not_passed``; ``medians`` with ``same``, and ``medians_mean``, what that means;
    ``checks`` by clock.
    """
    clocks = dict.fromkeys(suite.condition.clock for suite in suites)
    return {
        "confidence": CONFIDENCE,
        "conditions": [
            {
                **asdict(tally),
                "failures_per_thousand": tally.per_thousand,
                "failures_per_thousand_upper": tally.per_thousand_upper,
                "alarmed_suites_upper": tally.alarmed_upper,
            }
            for tally in tallies(suites)
        ],
        "not_passed": [asdict(trouble) for trouble in troubles(suites)],
        "medians_mean": MEDIANS_MEAN,
        "medians": [{**asdict(median), "same": median.same} for median in medians(suites)],
        "checks": {
            clock: [asdict(check) for check in checks(suite for suite in suites if suite.condition.clock == clock)]
            for clock in clocks
        },
    }
