"""The bound on a share: values that are known, and what makes a bound one."""

from __future__ import annotations

import math

import pytest

from rttcheck.soak.bound import upper_bound


@pytest.mark.parametrize("trials", [1, 10, 300, 75_600, 10_000_000])
def test_nothing_seen_has_a_closed_form(trials: int) -> None:
    assert upper_bound(0, trials) == pytest.approx(-math.expm1(math.log(0.05) / trials), rel=1e-7)


def test_nothing_in_three_hundred_is_the_rule_of_three() -> None:
    assert 1000 * upper_bound(0, 300) == pytest.approx(9.936, abs=0.001)


@pytest.mark.parametrize(
    ("seen", "trials", "confidence", "bound"),
    [
        # One-sided 95 %: beta.ppf(0.95, seen + 1, trials - seen); two-sided: beta.ppf(0.975, ...), as tables have it.
        (1, 10, 0.95, 0.394163),
        (1, 10, 0.975, 0.445016),
        (5, 10, 0.975, 0.812914),
        (0, 10, 0.975, 0.308497),
        (9, 10, 0.95, 0.994884),
    ],
)
def test_values_from_tables(seen: int, trials: int, confidence: float, bound: float) -> None:
    assert upper_bound(seen, trials, confidence=confidence) == pytest.approx(bound, abs=2e-6)


@pytest.mark.parametrize(("seen", "trials"), [(1, 7), (3, 40), (12, 60), (59, 60)])
def test_at_the_bound_so_few_have_the_chance_that_is_left(seen: int, trials: int) -> None:
    share = upper_bound(seen, trials)
    chance = sum(math.comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(seen + 1))
    assert chance == pytest.approx(0.05, rel=1e-8)


def test_many_failures_of_many_are_no_more_than_the_normal_approximation_says() -> None:
    share, trials = 0.3, 50_000
    bound = upper_bound(round(share * trials), trials)
    assert bound == pytest.approx(share + 1.6449 * math.sqrt(share * (1 - share) / trials), abs=2e-5)


def test_no_trials_and_failures_only_bound_nothing() -> None:
    assert upper_bound(0, 0) == 1.0
    assert upper_bound(4, 4) == 1.0


@pytest.mark.parametrize(("seen", "trials"), [(3, 2), (-1, 2)])
def test_more_than_there_were_is_refused(seen: int, trials: int) -> None:
    with pytest.raises(ValueError, match="not a count"):
        upper_bound(seen, trials)
