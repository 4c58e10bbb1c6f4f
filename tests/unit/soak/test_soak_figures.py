"""Counting over suites: what belongs together, what counts as a failure, what counts apart."""

from __future__ import annotations

import json

import pytest

from rttcheck.soak.bound import upper_bound
from rttcheck.soak.figures import checks, document, medians, tallies, troubles
from tests.support.soaked import BAD, BUSY, GONE, GOOD, QUIET, REAL, UNSURE, suite, with_median


def test_conditions_are_counted_apart_and_together_by_clock() -> None:
    found = tallies(
        [
            suite(1),
            suite(2, [GOOD, BAD], condition=BUSY),
            suite(3, [GOOD, UNSURE], condition=REAL),
            suite(4, [BAD]),
        ]
    )
    assert [(one.kernel, one.clock, one.load, one.suites, one.alarmed) for one in found] == [
        ("debian:6.12", "virtual", "none", 2, 1),
        ("debian:6.12", "virtual", "busy", 1, 1),
        ("debian:6.12", "real", "none", 1, 0),
        ("all", "virtual", "all", 3, 2),
    ]
    assert [(one.checks, one.failed_checks, one.inconclusive_checks) for one in found] == [
        (40, 1, 0),
        (40, 1, 0),
        (40, 0, 1),
        (80, 2, 0),
    ]


def test_the_rate_is_of_checks_that_came_to_an_answer() -> None:
    (tally,) = tallies([suite(1, [GOOD, BAD, UNSURE])])
    assert tally.answered == 59
    assert tally.per_thousand == pytest.approx(1000 / 59)
    assert tally.per_thousand_upper == pytest.approx(1000 * upper_bound(1, 59))
    assert tally.alarmed_upper == 1.0


def test_what_was_lost_is_neither_a_scenario_nor_a_check() -> None:
    (tally,) = tallies([suite(1, [GOOD, GONE])])
    assert (tally.scenarios, tally.lost, tally.failed, tally.inconclusive) == (1, 1, 0, 0)
    assert (tally.checks, tally.failed_checks, tally.alarmed) == (20, 0, 0)


def test_nothing_judged_is_no_rate_and_no_bound() -> None:
    (tally,) = tallies([suite(1, [GONE])])
    assert (tally.per_thousand, tally.per_thousand_upper) == (0.0, 1000.0)


def test_a_run_repeated_to_the_last_sample_is_counted_once_as_distinct() -> None:
    (tally,) = tallies([suite(1), suite(2), suite(3, [with_median(40_031)])])
    assert (tally.scenarios, tally.distinct) == (3, 2)


def test_the_largest_difference_to_the_wire_has_its_place() -> None:
    (tally,) = tallies([suite(1), suite(2, [GOOD, BAD])])
    assert (tally.over_wire_max_us, tally.over_wire_where) == (812, "loss in suite 2")


def test_troubles_are_told_once_failures_first_with_the_first_recording() -> None:
    found = troubles([suite(1, [UNSURE, GONE]), suite(2, [UNSURE, BAD]), suite(3, [BAD], condition=BUSY)])
    assert [(one.outcome, one.scenario, one.load, one.times, one.suite) for one in found] == [
        ("failed", "loss", "none", 1, 2),
        ("failed", "loss", "busy", 1, 3),
        ("lost", "bbr", "none", 1, 1),
        ("inconclusive", "step", "none", 2, 1),
    ]
    assert found[0].recording == "/kept/loss.rttrec"
    assert found[0].message == "2 of 9 are above"


def test_medians_are_compared_over_loads_and_suites_but_not_over_kernels_or_clocks() -> None:
    found = medians(
        [
            suite(1, [with_median(40_030)]),
            suite(2, [with_median(40_032)], condition=BUSY),
            suite(3, [with_median(40_900)], condition=REAL),
            suite(4, [with_median(40_031)], release="6.1.0"),
            suite(5, [with_median(40_032)], release="6.1.0"),
        ]
    )
    assert [(one.release, one.clock, one.runs, one.smallest_us, one.largest_us, one.same) for one in found] == [
        ("6.12.117", "virtual", 2, 40_030, 40_032, False),
        ("6.12.117", "real", 1, 40_900, 40_900, True),
        ("6.1.0", "virtual", 2, 40_031, 40_032, True),
    ]


def test_a_delay_that_varies_has_no_median_to_agree_on() -> None:
    assert medians([suite(1, [BAD])]) == []


def test_checks_keep_their_names() -> None:
    found = {
        one.check: (one.passed, one.failed, one.inconclusive) for one in checks([suite(1, [GOOD, BAD, UNSURE])] * 2)
    }
    assert found == {"not above": (2, 2, 2), "the others": (114, 0, 0)}


def test_the_document_is_plain_and_has_the_bounds() -> None:
    told = json.loads(json.dumps(document([suite(1, [GOOD, BAD]), suite(2, condition=REAL)])))
    assert told["confidence"] == 0.95
    first = told["conditions"][0]
    assert (first["kernel"], first["clock"], first["load"]) == (QUIET.kernel, QUIET.clock, QUIET.load)
    assert first["failures_per_thousand"] == pytest.approx(25)
    assert first["failures_per_thousand_upper"] == pytest.approx(1000 * upper_bound(1, 40))
    assert first["alarmed_suites_upper"] == 1.0
    assert told["medians"][0]["same"] is True
    assert "not that they are correct" in told["medians_mean"]
    assert told["not_passed"][0]["recording"] == BAD.recording
    assert set(told["checks"]) == {"virtual", "real"}
