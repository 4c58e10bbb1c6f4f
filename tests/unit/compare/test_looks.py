"""Rounds that grow from look to look: what is told is run no more, and the error rates hold for all looks together."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from rttcheck.cli.alternation import Alternation
from rttcheck.cli.compare import MOST_ROUNDS, ROUNDS, run_in_steps, steps_of
from rttcheck.cli.progress import ProgressLines
from rttcheck.cli.request import Event, RunRequest, ScenarioRequest
from rttcheck.compare.difference import NOT_SAME, ComparisonAnswer, difference
from rttcheck.compare.measured import DistributionName, Figure, MeasuredRun
from rttcheck.compare.student import chance_beyond
from rttcheck.judge.findings import Outcome
from tests.support.repeated_recordings import runs

LAG = DistributionName("client", "data", "arrival")
REQUEST = RunRequest(kernel="debian:6.12", clock="virtual", probe="auto", recordings="", scenarios=())


class Never:
    """A kernel that is never asked."""

    def events(self, request: RunRequest) -> Iterator[Event]:
        raise AssertionError(request)


class Planned(Alternation):
    """Rounds that come to planned figures, microseconds: run after run, the same on both sides."""

    def plan(self, scatter_us: dict[str, Sequence[float]], verdict: Outcome = Outcome.PASSED) -> None:
        self.scatter_us = scatter_us
        self.verdict = verdict
        self.asked: list[tuple[int, int, list[str]]] = []

    def run(self, wanted: Sequence[ScenarioRequest], first: int, last: int) -> None:
        self.asked.append((first, last, [one.name for one in wanted]))
        for one in wanted:
            sides = self.runs.setdefault(one.name, ([], []))
            for number in range(first, last + 1):
                planned = self.scatter_us[one.name]
                for side in sides:
                    side.append(measured(planned[number % len(planned)], self.verdict))


def measured(value_us: float, verdict: Outcome = Outcome.PASSED) -> MeasuredRun:
    """A run of which one figure is known."""
    return dataclasses.replace(
        runs()[0],
        figures={LAG: Figure(value_us, math.nan, 20)},
        counts={},
        outcomes={},
        reasons={},
        verdict=verdict,
    )


@pytest.fixture
def told() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def planned(told: io.StringIO) -> Planned:
    return Planned((REQUEST, REQUEST), (Never(), Never()), Path(), ProgressLines(told))


def wanted(*names: str) -> list[ScenarioRequest]:
    return [ScenarioRequest(keywords={"name": name}, source=name) for name in names]


def test_a_step_is_half_as_many_rounds_again_up_to_the_most() -> None:
    assert steps_of(ROUNDS, MOST_ROUNDS) == (8, 12, 18, 27, 36)
    assert steps_of(8, 8) == (8,)
    assert steps_of(8, 4) == (8,)
    assert steps_of(1, 4) == (1, 2, 3, 4)


def test_only_what_cannot_be_told_is_run_on_and_only_as_far_as_it_takes(planned: Planned, told: io.StringIO) -> None:
    # Half the runs at one value and half at another, 1.15 us apart: 8 rounds cannot tell 1 us, 12 can.
    planned.plan({"steady": [5.0], "scattered": [5.0, 6.15], "wild": [5.0, 15.0]})
    comparison = run_in_steps(planned, wanted("steady", "scattered", "wild"), (8, 12, 18, 24), None)
    assert planned.asked == [
        (1, 8, ["steady", "scattered", "wild"]),
        (9, 12, ["scattered", "wild"]),
        (13, 18, ["wild"]),
        (19, 24, ["wild"]),
    ]
    assert [scenario.answer for scenario in comparison.scenarios] == [
        ComparisonAnswer.SAME,
        ComparisonAnswer.SAME,
        ComparisonAnswer.UNKNOWN,
    ]
    assert [scenario.runs for scenario in comparison.scenarios] == [(8, 8), (12, 12), (24, 24)]
    assert "undecided after 12 rounds, running more: wild" in told.getvalue()


def test_runs_that_fail_the_judge_are_compared_as_long_as_others(planned: Planned) -> None:
    planned.plan({"scattered": [5.0, 6.15]}, Outcome.FAILED)
    comparison = run_in_steps(planned, wanted("scattered"), (8, 12, 18, 24), None)
    assert planned.asked == [(1, 8, ["scattered"]), (9, 12, ["scattered"])]
    assert comparison.answer is ComparisonAnswer.FAILED


def test_no_round_is_run_once_all_is_told(planned: Planned) -> None:
    planned.plan({"steady": [5.0]})
    run_in_steps(planned, wanted("steady"), (8, 12, 18, 24), None)
    assert planned.asked == [(1, 8, ["steady"])]


def test_the_false_alarm_rate_is_shared_among_the_looks(planned: Planned) -> None:
    planned.plan({"steady": [5.0]})
    rates = [run_in_steps(planned, wanted("steady"), steps, None).chance for steps in ((8,), (8, 12), (8, 12, 18, 24))]
    assert rates == pytest.approx([rates[0], rates[0] / 2, rates[0] / 4])


@pytest.mark.parametrize("looks", [1, 2, 3, 4, 6])
def test_all_looks_together_call_a_difference_as_large_as_the_margin_the_same_as_rarely_as_said(looks: int) -> None:
    runs_us = [4.0, 5.0, 6.0, 5.0]
    part = difference(runs_us, runs_us, off_us=math.nan, margin_us=9.0, chance=1e-6, looks=looks)
    assert part.answer is ComparisonAnswer.SAME
    error_us = math.sqrt((2 + 2) / 6 * (1 / 4 + 1 / 4))
    one_sided = chance_beyond(part.high_us / error_us, 6) / 2
    assert one_sided * looks <= NOT_SAME * 1.001
    assert one_sided * looks >= NOT_SAME * (0.999 if looks > 1 else 0.499)
