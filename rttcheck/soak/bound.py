"""The upper confidence bound of a failure rate: the exact binomial (Clopper-Pearson) bound.

Trials are taken to be independent.
"""

from __future__ import annotations

from typing import Final

from rttcheck.judge.machine.chance import at_most

CONFIDENCE: Final = 0.95

_PRECISE: Final = 1e-12
"""The relative precision of the bound; for millions of trials the terms' logarithms are not more precise."""


def upper_bound(seen: int, trials: int, *, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided upper Clopper-Pearson bound of a share.

    It solves P(X <= seen) = 1 - confidence for X ~ Binomial(trials, p); for ``seen`` = 0 that is
    1 - (1 - confidence)**(1/trials). The limit of a two-sided 95 % interval is the one at ``confidence=0.975``. Without
    trials it is 1. Raises ValueError for a count outside 0 to ``trials``.

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
        if at_most(seen, trials, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high
