"""The statistics alone: what is called the same, what changed, and how often in vain."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rttcheck.compare.difference import NOT_SAME, ComparisonAnswer, certain, difference, runs_for
from rttcheck.compare.student import chance_beyond, quantile

CHANCE = 1e-6


@pytest.mark.parametrize(
    ("freedom", "chance", "t"),
    # Abramowitz and Stegun, table 26.10; the last by numerical integration of the density.
    [(1, 0.05, 12.706), (2, 0.05, 4.303), (5, 0.01, 4.032), (14, 0.01, 2.977), (30, 0.001, 3.646), (14, 1e-6, 8.218)],
)
def test_quantiles_are_those_of_the_tables(freedom: int, chance: float, t: float) -> None:
    assert quantile(chance, freedom) == pytest.approx(t, abs=6e-4)
    assert chance_beyond(t, freedom) == pytest.approx(chance, rel=2e-3)


def test_the_density_integrates_to_the_chance() -> None:
    freedom, t = 14, 8.218
    scale = math.gamma((freedom + 1) / 2) / (math.sqrt(freedom * math.pi) * math.gamma(freedom / 2))
    x = np.linspace(t, 400, 4_000_001)
    density = scale * (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
    assert 2 * float(((density[1:] + density[:-1]) / 2).sum() * (x[1] - x[0])) == pytest.approx(
        chance_beyond(t, freedom), rel=1e-4
    )


def compared(
    first: list[float], second: list[float], *, off: float = math.nan, margin: float = 1.0
) -> ComparisonAnswer:
    return difference(first, second, off_us=off, margin_us=margin, chance=CHANCE).answer


def test_three_microseconds_between_quiet_runs_are_a_change() -> None:
    assert compared([30.0, 30.1, 30.0, 29.9], [33.0, 33.1, 33.0, 32.9]) is ComparisonAnswer.CHANGED


def test_a_tenth_of_a_microsecond_is_the_same_however_well_it_is_known() -> None:
    assert compared([30.0, 30.01, 30.0, 30.01], [30.1, 30.11, 30.1, 30.11]) is ComparisonAnswer.SAME


def test_noisy_runs_cannot_tell_and_more_of_them_may() -> None:
    part = difference([30, 34, 27], [31, 29, 35], off_us=math.nan, margin_us=1.0, chance=CHANCE)
    assert part.answer is ComparisonAnswer.UNKNOWN
    assert part.more_runs
    assert "scatter" in part.reason


def test_runs_that_agree_by_luck_prove_no_change_where_their_samples_scatter() -> None:
    assert compared([30.0, 30.0, 30.0], [32.0, 32.0, 32.0]) is ComparisonAnswer.CHANGED
    assert compared([30.0, 30.0, 30.0], [32.0, 32.0, 32.0], off=1.0) is ComparisonAnswer.UNKNOWN


def test_one_run_that_met_a_pause_makes_no_change() -> None:
    assert compared([30.0] * 8, [30.0] * 7 + [430.0]) is ComparisonAnswer.UNKNOWN


def test_false_alarms_are_as_rare_as_said() -> None:
    """At a chance of 1 %, a margin of nothing and normal runs: 1 in 100, give or take four standard deviations."""
    chosen = np.random.default_rng(7)
    alarms = sum(
        difference(*chosen.normal(size=(2, 5)), off_us=math.nan, margin_us=0.0, chance=NOT_SAME).answer
        is ComparisonAnswer.CHANGED
        for _ in range(5_000)
    )
    assert 50 - 4 * math.sqrt(50) < alarms < 50 + 4 * math.sqrt(50)


def test_a_perfect_parting_is_as_likely_as_the_orders_that_part() -> None:
    assert certain([1, 1, 1], [2, 2, 2]) == pytest.approx(2 / 20)
    assert certain([0] * runs_for(1e-6), [1] * runs_for(1e-6)) <= 1e-6
    assert certain([0] * (runs_for(1e-6) - 1), [1] * (runs_for(1e-6) - 1)) > 1e-6
