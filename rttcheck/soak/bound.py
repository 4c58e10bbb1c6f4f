"""How often something may happen that was seen so many times in so many trials: the exact binomial bound.

Owns the arithmetic. It knows nothing of checks, and takes the trials for independent: whether they are is the reader's
question.
"""

from __future__ import annotations

from math import exp, lgamma, log, log1p
from typing import Final

CONFIDENCE: Final = 0.95

_PRECISE: Final = 1e-12
"""Of the bound itself; the terms' logarithms are not known any better for millions of trials."""

_NEGLIGIBLE: Final = 1e-16


def upper_bound(seen: int, trials: int, *, confidence: float = CONFIDENCE) -> float:
    """The one-sided upper Clopper-Pearson bound of a share: a true share above it would show more with ``confidence``.

    It solves P(X <= seen) = 1 - confidence for X ~ Binomial(trials, p): 1 - (1 - confidence)**(1/trials) where nothing
    was seen. The limit of a two-sided interval of 95 % is the one at ``confidence=0.975``. No trials give 1.

    Source: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
    Biometrika 26 (1934).
    """
    if not 0 <= seen <= trials:
        raise ValueError(f"{seen} of {trials} trials is no count")
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

    Summed from the largest term down, each from the one before it, until what is left changes nothing.
    """
    ways = lgamma(trials + 1) - lgamma(seen + 1) - lgamma(trials - seen + 1)
    term = whole = exp(ways + seen * log(share) + (trials - seen) * log1p(-share))
    for k in range(seen, 0, -1):
        term *= k / (trials - k + 1) * (1 - share) / share
        whole += term
        if term < whole * _NEGLIGIBLE:
            break
    return whole
