"""How far chance goes: counts, sums and ranks that are rarer than a stated chance, each bound true for any number.

It owns the arithmetic of chance and nothing else; no approximation for large numbers is in it. Where the exact figure
is not at hand the bound is on the safe side: what it calls rare is rarer still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, lgamma, log, log1p

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_TILTS = np.concatenate((np.geomspace(1e-4, 0.05, 24, endpoint=False), np.geomspace(0.05, 40, 160)))
"""How much sums are tilted in search of the sharpest bound; any one gives a true bound."""

_RANKS = 40
"""How many places of a sorted sample are looked at: more cost more than they find."""


@dataclass(frozen=True, slots=True, eq=False)
class Law:
    """What one draw may be, and the logarithms of its exponential moments for each of the tilts, up and down."""

    least: float
    most: float
    upward: Floats
    downward: Floats

    @classmethod
    def of(cls, values: Floats, weights: Floats) -> Law:
        """Of one of ``values``, each as likely as its weight; weights sum to 1."""
        moments = []
        for tilts in (_TILTS, -_TILTS):
            scaled = tilts[:, None] * values[None, :]
            largest = scaled.max(axis=1)
            moments.append(largest + np.log(np.exp(scaled - largest[:, None]) @ weights))
        return cls(float(values.min()), float(values.max()), moments[0], moments[1])


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """``number`` independent draws by one law."""

    number: int
    law: Law


def at_least(count: int, number: int, share: float) -> float:
    """The chance that of ``number`` independent events, each of probability ``share``, ``count`` or more happen."""
    if count <= 0:
        return 1.0
    if count > number or share <= 0:
        return 0.0
    if share >= 1:
        return 1.0
    if count <= number * share:
        return 1.0 - _upper(number - count + 1, number, 1 - share)
    return _upper(count, number, share)


def at_most(count: int, number: int, share: float) -> float:
    """The chance that ``count`` or fewer of ``number`` events of probability ``share`` happen."""
    return at_least(number - count, number, 1 - share)


def _upper(count: int, number: int, share: float) -> float:
    """The sum of the binomial terms from ``count`` on, which fall from there: it is above the mean."""
    if count > number:
        return 0.0
    first = (
        lgamma(number + 1) - lgamma(count + 1) - lgamma(number - count + 1)
        + count * log(share) + (number - count) * log1p(-share)
    )  # fmt: skip
    total, term = 1.0, 1.0
    odds = share / (1 - share)
    for place in range(count, number):
        term *= (number - place) / (place + 1) * odds
        total += term
        if term < total * 1e-16:
            break
    return min(1.0, exp(first) * total)


def usual_counts(number: int, share: float, chance: float) -> tuple[int, int]:
    """The least and the most of ``number`` events that are not rarer than ``chance`` on their side."""
    least, most = 0, number
    low, high = 0, number
    while low < high:  # the smallest count such that so few or fewer are not rare
        middle = (low + high) // 2
        low, high = (low, middle) if at_most(middle, number, share) >= chance else (middle + 1, high)
    least = low
    low, high = 0, number
    while low < high:  # the largest count such that so many or more are not rare
        middle = (low + high + 1) // 2
        low, high = (middle, high) if at_least(middle, number, share) >= chance else (low, middle - 1)
    most = low
    return least, most


def usual_sum(parts: Sequence[Draws], chance: float) -> tuple[float, float]:
    """A sum of all draws that is below the first or above the second is rarer than ``chance``.

    Chernoff's bound with the draws' own moments: ``P(S >= s) <= exp(K(t) - t s)`` for every ``t``, at its sharpest.
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
    """Places (from 1) of a sorted sample of ``number``, dense at both ends: the tails tell as much as the middle."""
    if number <= _RANKS:
        return np.arange(1, number + 1)
    logit = np.linspace(-log(number), log(number), _RANKS)
    places = np.rint(1 + (number - 1) / (1 + np.exp(-logit))).astype(np.intp)
    return np.unique(np.concatenate(([1, number], places)))


def rarest_low(shares: Floats) -> tuple[float, int]:
    """How small a sorted sample is for numbers that are evenly spread over 0 to 1: the chance of its rarest rank.

    The chance that some rank is as small as that by chance is at most the one returned: each rank's own is exact (so
    many draws below a value), and there are so many ranks looked at. With it the rank, counted from 1.
    """
    ordered = np.sort(shares)
    ranks = ranks_of(len(ordered))
    chances = [at_least(int(rank), len(ordered), float(ordered[rank - 1])) for rank in ranks]
    if not chances:
        return 1.0, 0
    place = int(np.argmin(chances))
    return min(1.0, chances[place] * len(ranks)), int(ranks[place])
