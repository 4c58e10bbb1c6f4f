"""Probabilities, against sums of all possible outcomes in exact fractions."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import comb

import numpy as np
import pytest

from rttcheck.judge.machine.chance import Draws, Law, at_least, at_most, ranks_of, rarest_low, usual_counts, usual_sum


def exactly(count: int, number: int, share: Fraction) -> Fraction:
    """The chance of ``count`` or more."""
    return sum((comb(number, k) * share**k * (1 - share) ** (number - k) for k in range(count, number + 1)), Fraction())


@pytest.mark.parametrize("share", [Fraction(1, 1000), Fraction(3, 100), Fraction(1, 2), Fraction(97, 100)])
@pytest.mark.parametrize("number", [1, 2, 17, 60])
def test_binomial_tails_are_exact(number: int, share: Fraction) -> None:
    for count in range(number + 1):
        truth = exactly(count, number, share)
        assert at_least(count, number, float(share)) == pytest.approx(float(truth), rel=1e-9)
        assert at_most(count, number, float(share)) == pytest.approx(
            float(1 - exactly(count + 1, number, share)), rel=1e-7, abs=1e-15
        )


def test_tails_far_out_keep_their_digits() -> None:
    assert at_least(200, 1_000, 0.03) == pytest.approx(float(exactly(200, 1_000, Fraction(3, 100))), rel=1e-9)
    assert at_least(60_000, 1_000_000, 0.05) < 1e-300
    assert at_least(100, 100_000, 0.5) == 1.0
    assert at_least(0, 10, 0.5) == 1.0
    assert (at_least(1, 10, 0.0), at_least(10, 10, 1.0), at_least(11, 10, 0.5)) == (0.0, 1.0, 0.0)


@pytest.mark.parametrize(("number", "share"), [(50, Fraction(1, 10)), (80, Fraction(1, 2)), (30, Fraction(1, 100))])
def test_usual_counts_are_all_that_are_not_rare(number: int, share: Fraction) -> None:
    chance = Fraction(1, 1000)
    least, most = usual_counts(number, float(share), float(chance))
    assert [count for count in range(number + 1) if exactly(count, number, share) < chance] == list(
        range(most + 1, number + 1)
    )
    assert [count for count in range(number + 1) if 1 - exactly(count + 1, number, share) < chance] == list(
        range(least)
    )


def test_at_probability_zero_no_event_is_usual() -> None:
    assert usual_counts(100, 0.0, 1e-7) == (0, 0)


def test_sums_beyond_the_usual_are_rarer_than_the_chance_and_not_by_far() -> None:
    values, weights = np.array([-1.0, 0.0, 2.0]), np.array([0.5, 0.3, 0.2])
    number, chance = 9, 1e-3
    lowest, highest = usual_sum([Draws(number, Law.of(values, weights))], chance)
    below = above = 0.0
    for drawn in product(range(3), repeat=number):
        total, share = values[list(drawn)].sum(), weights[list(drawn)].prod()
        below += share * (total < lowest)
        above += share * (total > highest)
    assert 0 < above < chance
    assert below < chance
    assert highest < 18
    assert lowest == -9  # nine times the least is drawn once in 512 times: that is not rare


def test_sums_of_unlike_draws_are_bounded_together() -> None:
    coin, dice = np.array([0.0, 1.0]), np.arange(1.0, 7.0)
    parts = [Draws(8, Law.of(coin, np.full(2, 1 / 2))), Draws(3, Law.of(dice, np.full(6, 1 / 6)))]
    lowest, highest = usual_sum(parts, 1e-3)
    spread = np.array([1.0])
    for values, times in ((np.array([0.5, 0.5]), 8), (np.concatenate(([0.0], np.full(6, 1 / 6))), 3)):
        for _ in range(times):
            spread = np.convolve(spread, values)
    sums = np.arange(len(spread))
    assert 0 < spread[sums > highest].sum() < 1e-3
    assert 0 < spread[sums < lowest].sum() < 1e-3


def test_tested_ranks_include_both_ends() -> None:
    assert ranks_of(5).tolist() == [1, 2, 3, 4, 5]
    ranks = ranks_of(100_000)
    assert ranks[:4].tolist() == [1, 2, 3, 4]
    assert ranks[-4:].tolist() == [99_997, 99_998, 99_999, 100_000]
    assert len(ranks) <= 42


def test_shares_that_are_too_small_anywhere_are_found() -> None:
    even = (np.arange(200) + 0.5) / 200
    assert rarest_low(even)[0] == 1.0
    assert rarest_low(even * 0.6)[0] < 1e-12
    assert rarest_low(np.concatenate(([1e-9], even)))[0] < 1e-4
    assert rarest_low(np.sqrt(even))[0] == 1.0  # too large is not too small
    assert rarest_low(np.zeros(0)) == (1.0, 0)


def test_uniform_shares_are_hardly_ever_called_rare() -> None:
    source = np.random.default_rng(4)
    rare = sum(rarest_low(source.random(50))[0] < 0.05 for _ in range(400))
    assert rare <= 400 * 0.05
    assert rare > 0
