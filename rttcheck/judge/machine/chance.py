"""Probabilities of counts, sums and ranks: binomial tails, Chernoff's bound, and order statistics.

Each result holds for any number, without large-number approximations. Where it is not exact it is on the safe side: the
true probability is smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, lgamma, log, log1p

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_TILTS = np.concatenate((np.geomspace(1e-4, 0.05, 24, endpoint=False), np.geomspace(0.05, 40, 160)))
"""The tilts ``t`` that are tried for the sharpest Chernoff bound; each one gives a valid bound."""

_RANKS = 40
"""The number of ranks of a sorted sample that are tested: more cost more than they find."""


@dataclass(frozen=True, slots=True, eq=False)
class Law:
    """The law of one draw: its range, and the logarithms of its exponential moments for each tilt, up and down."""

    least: float
    most: float
    upward: Floats
    downward: Floats

    @classmethod
    def of(cls, values: Floats, weights: Floats) -> Law:
        """Return the law of a draw from ``values`` with these weights, which sum to 1."""
        moments = []
        for tilts in (_TILTS, -_TILTS):
            scaled = tilts[:, None] * values[None, :]
            largest = scaled.max(axis=1)
            moments.append(largest + np.log(np.exp(scaled - largest[:, None]) @ weights))
        return cls(float(values.min()), float(values.max()), moments[0], moments[1])


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """``number`` independent draws from one law."""

    number: int
    law: Law


def at_least(count: int, number: int, share: float) -> float:
    """Return P(X >= count) for X ~ Binomial(number, share)."""
    if count <= 0:
        return 1.0
    if count > number or share <= 0:
        return 0.0
    if share >= 1:
        return 1.0
    if count <= number * share:
        return 1.0 - _tail(number - count + 1, number, log1p(-share), log(share))
    return _tail(count, number, log(share), log1p(-share))


def at_most(count: int, number: int, share: float) -> float:
    """Return P(X <= count) for X ~ Binomial(number, share)."""
    if count >= number:
        return 1.0
    if count < 0 or share >= 1:
        return 0.0
    if share <= 0:
        return 1.0
    if count >= number * share:
        return 1.0 - _tail(count + 1, number, log(share), log1p(-share))
    return _tail(number - count, number, log1p(-share), log(share))


def _tail(count: int, number: int, log_share: float, log_rest: float) -> float:
    """Return the sum of the binomial terms from ``count``, above the mean, on; arguments are log(p) and log(1 - p)."""
    if count > number:
        return 0.0
    first = (
        lgamma(number + 1) - lgamma(count + 1) - lgamma(number - count + 1)
        + count * log_share + (number - count) * log_rest
    )  # fmt: skip
    total, term = 1.0, 1.0
    odds = exp(log_share - log_rest)
    for place in range(count, number):
        term *= (number - place) / (place + 1) * odds
        total += term
        if term < total * 1e-16:
            break
    return min(1.0, exp(first) * total)


def usual_counts(number: int, share: float, chance: float) -> tuple[int, int]:
    """Return the fewest and the most of ``number`` events that are not rarer than ``chance`` on their side."""
    low, high = 0, number
    while low < high:  # the smallest count with P(X <= count) >= chance
        middle = (low + high) // 2
        low, high = (low, middle) if at_most(middle, number, share) >= chance else (middle + 1, high)
    least = low
    low, high = 0, number
    while low < high:  # the largest count with P(X >= count) >= chance
        middle = (low + high + 1) // 2
        low, high = (middle, high) if at_least(middle, number, share) >= chance else (low, middle - 1)
    return least, low


def usual_sum(parts: Sequence[Draws], chance: float) -> tuple[float, float]:
    """Return bounds of the sum of all draws: a sum beyond either of them is rarer than ``chance``.

    Chernoff's bound with the draws' own moments: ``P(S >= s) <= exp(K(t) - t s)`` for every ``t``, the sharpest used.
    """
    log_chance = -log(chance)
    upward, downward = np.zeros(len(_TILTS)), np.zeros(len(_TILTS))
    for part in parts:
        upward += part.number * part.law.upward
        downward += part.number * part.law.downward
    upper = float(((upward + log_chance) / _TILTS).min())
    lower = float((-(downward + log_chance) / _TILTS).max())
    return (
        max(lower, sum(part.number * part.law.least for part in parts)),
        min(upper, sum(part.number * part.law.most for part in parts)),
    )


def ranks_of(number: int) -> npt.NDArray[np.intp]:
    """Return the ranks, from 1, of a sorted sample that are tested, dense at both ends for sensitivity in the tails."""
    if number <= _RANKS:
        return np.arange(1, number + 1)
    logit = np.linspace(-log(number), log(number), _RANKS)
    places = np.rint(1 + (number - 1) / (1 + np.exp(-logit))).astype(np.intp)
    return np.unique(np.concatenate(([1, number], places)))


def rarest_low(shares: Floats) -> tuple[float, int]:
    """Test whether numbers are too small for a uniform distribution over 0 to 1: return a probability and a rank.

    The rank, from 1, is the rarest of the sorted sample. Its own probability is exact (binomial); the returned one is
    multiplied by the number of ranks tested, an upper bound for any rank being as rare.
    """
    ordered = np.sort(shares)
    ranks = ranks_of(len(ordered))
    chances = [at_least(int(rank), len(ordered), float(ordered[rank - 1])) for rank in ranks]
    if not chances:
        return 1.0, 0
    place = int(np.argmin(chances))
    return min(1.0, chances[place] * len(ranks)), int(ranks[place])
