"""Suites made by hand, for the tests to count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rttcheck.soak.condition import Condition
from rttcheck.soak.suite import CheckCount, ScenarioRun, SuiteResult

QUIET = Condition("debian:6.12", "virtual", "none")
BUSY = Condition("debian:6.12", "virtual", "busy")
REAL = Condition("debian:6.12", "real", "none")

GOOD = ScenarioRun(
    scenario="rtt-40ms", outcome="passed", constant=True, median_us=40_030, over_wire_max_us=9, digest="aa"
)
BAD = ScenarioRun(
    scenario="loss",
    outcome="failed",
    check="sample: not above",
    message="2 of 9 are above",
    recording="/kept/loss.rttrec",
    median_us=20_031,
    over_wire_max_us=812,
    digest="bb",
)
UNSURE = ScenarioRun(
    scenario="step", outcome="inconclusive", check="nominal: bucket", message="too noisy", recording="/kept/step.rttrec"
)
GONE = ScenarioRun(scenario="bbr", outcome="lost", message="the guest was lost")


def suite(
    number: int,
    runs: Sequence[ScenarioRun] = (GOOD,),
    *,
    condition: Condition = QUIET,
    release: str = "6.12.117",
    checks: int = 20,
) -> SuiteResult:
    """A suite whose scenarios have ``checks`` checks each, of which a bad one failed one."""
    held = {
        outcome: sum(run.outcome == outcome for run in runs) for outcome in ("passed", "failed", "inconclusive", "lost")
    }
    judged = len(runs) - held["lost"]
    return SuiteResult(
        number=number,
        condition=condition,
        release=release,
        seconds=12.5,
        status=0,
        runs=tuple(runs),
        checks=(
            CheckCount(
                layer="sample",
                check="not above",
                passed=judged - held["failed"] - held["inconclusive"],
                failed=held["failed"],
                inconclusive=held["inconclusive"],
            ),
            CheckCount(layer="nominal", check="the others", passed=judged * (checks - 1)),
        ),
    )


def with_median(median_us: int) -> ScenarioRun:
    """A good run with this median."""
    return replace(GOOD, median_us=median_us, digest=f"{median_us:x}")
