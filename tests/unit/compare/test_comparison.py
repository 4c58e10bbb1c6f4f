"""A kernel against itself is the same; three microseconds in any stage are found, proven and put down to that stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import combinations

import pytest

from rttcheck.compare.comparison import Comparison, compare
from rttcheck.compare.difference import ComparisonAnswer
from rttcheck.compare.measured import TOTAL, DistributionName, MeasuredRun
from rttcheck.compare.path import STAGES
from rttcheck.judge.findings import Outcome
from rttcheck.record.recording import Recording
from rttcheck.report.comparison import comparison_markdown, comparison_text, origin_text
from tests.support.delayed_stage import with_longer
from tests.support.repeated_recordings import recorded, runs

WHOLE = DistributionName("client", "data", TOTAL)


@pytest.fixture
def recordings() -> list[Recording]:
    return list(recorded())


@pytest.fixture
def measured() -> list[MeasuredRun]:
    return list(runs())


def compared(first: Sequence[MeasuredRun], second: Sequence[MeasuredRun]) -> Comparison:
    return compare({"rtt-100ms": (first, second)})


def test_a_kernel_against_itself_never_changed_whichever_runs_are_on_which_side(measured: list[MeasuredRun]) -> None:
    answers = []
    for chosen in combinations(range(8), 4):
        first = [measured[place] for place in chosen]
        second = [measured[place] for place in range(8) if place not in chosen]
        comparison = compared(first, second)
        answers.append(comparison.answer)
        data = [part for name, part in comparison.scenarios[0].distributions.items() if name == WHOLE]
        assert [part.answer for part in data] == [ComparisonAnswer.SAME]
    assert len(answers) == 70
    assert ComparisonAnswer.CHANGED not in answers


@pytest.mark.parametrize("stage", STAGES)
def test_three_microseconds_are_proven_and_put_down_to_their_stage(
    stage: str, recordings: list[Recording], measured: list[MeasuredRun]
) -> None:
    slower = [MeasuredRun.of(with_longer(stage, recording, 3)) for recording in recordings[4:]]
    scenario = compared(measured[:4], slower).scenarios[0]
    assert scenario.answer is ComparisonAnswer.CHANGED
    part = scenario.distributions[WHOLE]
    assert part.answer is ComparisonAnswer.CHANGED
    assert 2.8 < part.by_us < 3.2
    assert 0 < part.low_us < 3 < part.high_us
    assert list(scenario.origin(WHOLE)) == [stage]
    assert 2.8 < scenario.origin(WHOLE)[stage] < 3.2
    for other in STAGES:
        found = scenario.distributions[DistributionName("client", "data", other)]
        assert found.answer is (ComparisonAnswer.CHANGED if other == stage else ComparisonAnswer.SAME)
    assert WHOLE in scenario.heads()
    assert f", of which {stage} +" in origin_text(scenario, WHOLE)


def test_a_change_that_takes_from_one_stage_what_it_gives_to_another_is_found(
    recordings: list[Recording], measured: list[MeasuredRun]
) -> None:
    moved = []
    for recording in recordings[4:]:
        events = recording.events.copy()
        # Taken later, of the stamp that is later as well: the sample is the same.
        kept = events["tcp_mstamp_us"] != 0
        events["tcp_mstamp_us"][kept] += 3
        events["timestamp_ns"][kept] += 3_000
        moved.append(MeasuredRun.of(dataclasses.replace(recording, events=events)))
    scenario = compared(measured[:4], moved).scenarios[0]
    assert scenario.distributions[WHOLE].answer is ComparisonAnswer.SAME
    assert scenario.distributions[DistributionName("client", "data", "sender")].by_us == pytest.approx(-3, abs=0.2)
    assert scenario.distributions[DistributionName("client", "data", "arrival")].by_us == pytest.approx(3, abs=0.2)
    assert scenario.answer is ComparisonAnswer.CHANGED
    assert "CHANGED: client's data: sender" in comparison_text(compared(measured[:4], moved), ("one", "other"))


def changed_runs(known: Sequence[MeasuredRun], **fields: object) -> list[MeasuredRun]:
    return [dataclasses.replace(run, **fields) for run in known]  # type: ignore[arg-type]  # any field


def test_nothing_is_compared_across_clocks(measured: list[MeasuredRun]) -> None:
    other = changed_runs(measured[4:], clock="real", settings={**measured[4].settings, "clock": "real"})
    scenario = compared(measured[:4], other).scenarios[0]
    assert scenario.answer is ComparisonAnswer.UNKNOWN
    assert "clocks differ" in scenario.blocked


def test_nothing_is_compared_across_settings(measured: list[MeasuredRun]) -> None:
    lacking = {name: value for name, value in measured[4].settings.items() if name != "net.ipv4.tcp_rto_min_us"}
    assert len(lacking) < len(measured[4].settings)
    assert not compared(measured[:4], changed_runs(measured[4:], settings=lacking)).scenarios[0].blocked
    other = {**lacking, "net.ipv4.tcp_sack": "0"}
    scenario = compared(measured[:4], changed_runs(measured[4:], settings=other)).scenarios[0]
    assert scenario.blocked == "settings differ (net.ipv4.tcp_sack: 0 or 1)"


def test_what_a_kernel_lacks_is_no_setting(recordings: list[Recording]) -> None:
    knob = "net.ipv4.tcp_pingpong_thresh"
    assert recordings[0].sysctls[knob] == "1"
    lacking = dataclasses.replace(recordings[0], sysctls={**recordings[0].sysctls, knob: "absent"})
    assert knob not in MeasuredRun.of(lacking).settings


def test_two_runs_are_too_few(measured: list[MeasuredRun]) -> None:
    assert compared(measured[:4], measured[4:6]).scenarios[0].blocked.startswith("too few runs: 4 and 2")


def with_outcome(known: Sequence[MeasuredRun], *outcomes: Outcome) -> list[MeasuredRun]:
    return [
        dataclasses.replace(run, outcomes={"karn": one}, reasons={"karn": f"it {one}"}, titles={"karn": "Karn"})
        for run, one in zip(known, outcomes, strict=True)
    ]


PASSED, FAILED, OPEN = Outcome.PASSED, Outcome.FAILED, Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("first", "second", "answer", "reason"),
    [
        ((PASSED,) * 4, (PASSED,) * 4, ComparisonAnswer.SAME, ""),
        ((FAILED,) * 4, (FAILED,) * 4, ComparisonAnswer.SAME, ""),
        ((PASSED,) * 4, (FAILED,) * 4, ComparisonAnswer.CHANGED, "it failed"),
        ((FAILED,) * 4, (PASSED,) * 4, ComparisonAnswer.CHANGED, "it failed"),
        ((PASSED, OPEN, PASSED, PASSED), (PASSED,) * 4, ComparisonAnswer.SAME, ""),
        ((PASSED,) * 4, (PASSED, FAILED, PASSED, PASSED), ComparisonAnswer.UNKNOWN, "in some runs only (0 and 1)"),
        ((PASSED,) * 4, (OPEN,) * 4, ComparisonAnswer.UNKNOWN, "0 runs of the second kernel"),
    ],
)
def test_a_check_has_changed_where_all_runs_say_so(
    first: tuple[Outcome, ...],
    second: tuple[Outcome, ...],
    answer: ComparisonAnswer,
    reason: str,
    measured: list[MeasuredRun],
) -> None:
    sides = with_outcome(measured[:4], *first), with_outcome(measured[4:], *second)
    (check,) = compared(*sides).scenarios[0].checks
    assert check.answer is answer
    assert reason in check.reason


def judged_as(known: Sequence[MeasuredRun], *verdicts: Outcome) -> list[MeasuredRun]:
    """The runs with other verdicts, and checks and figures that are the same in all of them."""
    return [
        dataclasses.replace(
            known[0], outcomes={}, reasons={}, titles={}, verdict=one, reason="" if one is PASSED else f"it {one}"
        )
        for one in verdicts
    ]


@pytest.mark.parametrize(
    ("first", "second", "answer"),
    [
        ((PASSED,) * 4, (PASSED,) * 4, ComparisonAnswer.SAME),
        ((OPEN,) * 4, (PASSED,) * 4, ComparisonAnswer.SAME),
        ((FAILED,) * 4, (FAILED,) * 4, ComparisonAnswer.FAILED),
        ((PASSED,) * 4, (FAILED,) * 4, ComparisonAnswer.FAILED),
        ((PASSED, PASSED, FAILED, PASSED), (PASSED,) * 4, ComparisonAnswer.FAILED),
    ],
)
def test_sides_that_do_not_differ_are_not_called_the_same_where_runs_fail_the_judge(
    first: tuple[Outcome, ...], second: tuple[Outcome, ...], answer: ComparisonAnswer, measured: list[MeasuredRun]
) -> None:
    comparison = compared(judged_as(measured, *first), judged_as(measured, *second))
    (scenario,) = comparison.scenarios
    assert (scenario.answer, comparison.answer) == (answer, answer)
    assert scenario.differences is ComparisonAnswer.SAME


def test_a_change_is_told_beside_the_verdicts_of_runs_that_fail(
    recordings: list[Recording], measured: list[MeasuredRun]
) -> None:
    slower = changed_runs(
        [MeasuredRun.of(with_longer("sender", one, 3)) for one in recordings[4:]], verdict=FAILED, reason="so"
    )
    comparison = compared(measured[:4], slower)
    assert comparison.answer is ComparisonAnswer.CHANGED
    text = comparison_text(comparison, ("one", "other"))
    assert "FAILED: runs of B, judged by themselves: 4 failed: so" in text
    assert "runs of A, judged" not in text


def test_what_the_sides_share_is_said_not_to_be_seen(measured: list[MeasuredRun]) -> None:
    comparison = compared(judged_as(measured, OPEN, *[PASSED] * 3), judged_as(measured, *[PASSED] * 4))
    for text in (comparison_text(comparison, ("one", "other")), comparison_markdown(comparison, ("one", "other"))):
        assert "a fault that both share is invisible to a comparison" in text
        assert "Verdicts on the runs of each side: A 3 passed, 1 inconclusive; B 4 passed." in text
        assert "inconclusive: runs of A, judged by themselves: 3 passed, 1 inconclusive: it inconclusive" in text


def test_sides_that_cannot_be_compared_still_have_their_verdicts(measured: list[MeasuredRun]) -> None:
    few = compared(measured[:4], changed_runs(measured[4:6], verdict=FAILED, reason="so")).scenarios[0]
    assert few.blocked
    assert few.answer is ComparisonAnswer.FAILED


@pytest.mark.parametrize(
    ("first", "second", "answer"),
    [
        ([60] * 4, [60] * 4, ComparisonAnswer.SAME),
        ([60] * 4, [61] * 4, ComparisonAnswer.UNKNOWN),
        ([60] * 14, [61] * 14, ComparisonAnswer.CHANGED),
        ([60] * 4, [60, 60, 61, 60], ComparisonAnswer.UNKNOWN),
        ([60, 61, 60, 60], [60, 60, 61, 60], None),
    ],
)
def test_a_count_has_changed_where_chance_would_not_part_the_runs(
    first: list[int], second: list[int], answer: ComparisonAnswer | None, measured: list[MeasuredRun]
) -> None:
    sides = [
        [dataclasses.replace(measured[0], counts={"samples": value}) for value in side] for side in (first, second)
    ]
    counts = compared(*sides).scenarios[0].counts
    assert [count.answer for count in counts] == ([] if answer is None else [answer])
