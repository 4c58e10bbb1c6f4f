"""The exact binomial upper bound of a rate, from a count of events and trials. Trials are assumed independent."""

from __future__ import annotations

from math import exp, lgamma, log, log1p
from typing import Final

CONFIDENCE: Final = 0.95

_PRECISE: Final = 1e-12
"""Relative precision of the bound; for millions of trials the logarithms of the terms are not more precise."""

_NEGLIGIBLE: Final = 1e-16


def upper_bound(seen: int, trials: int, *, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided upper Clopper-Pearson bound of a share, at ``confidence``.

    It solves P(X <= seen) = 1 - confidence for X ~ Binomial(trials, p): 1 - (1 - confidence)**(1/trials) where ``seen``
    is 0. The limit of a two-sided interval of 95 % is the one at ``confidence=0.975``. No trials give 1.

    Source: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
    Biometrika 26 (1934).
    """
    if not 0 <= seen <= trials:
        raise ValueError(f"{seen} of {trials} trials is not a count")
    if seen == trials:
        return 1.0
    low, high = seen / trials, 1.0
    while high - low > _PRECISE * high:
        middle = (low + high) / 2
        if _at_most(seen, trials, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _at_most(seen: int, trials: int, share: float) -> float:
    """P(X <= seen) for X ~ Binomial(trials, share), where ``share`` is more than seen / trials and less than 1.

    Summed from the largest term down, each from the previous one, until the rest is negligible.
    """
    ways = lgamma(trials + 1) - lgamma(seen + 1) - lgamma(trials - seen + 1)
    term = whole = exp(ways + seen * log(share) + (trials - seen) * log1p(-share))
    for k in range(seen, 0, -1):
        term *= k / (trials - k + 1) * (1 - share) / share
        whole += term
        if term < whole * _NEGLIGIBLE:
            break
    return whole
