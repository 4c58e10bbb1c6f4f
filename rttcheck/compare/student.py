"""Quantiles of Student's t distribution for whole degrees of freedom; neither Python nor numpy has them."""

from __future__ import annotations

import math
from functools import lru_cache


def chance_beyond(t: float, freedom: int) -> float:
    """Return the two-sided probability that a value with ``freedom`` degrees of freedom is farther from 0 than ``t``.

    Source: Abramowitz and Stegun, 26.7.3 and 26.7.4: finite sums in the angle of ``t``.
    """
    if freedom < 1:
        raise ValueError(f"{freedom} degrees of freedom: there must be 1 or more")
    angle = math.atan2(abs(t), math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    for number in range(2 + odd, freedom, 2):
        term *= cosine * cosine * (number - 1) / number
        total += term
    within = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return max(0.0, 1.0 - within)


@lru_cache(maxsize=256)
def quantile(chance: float, freedom: int) -> float:
    """Return the t with two-sided tail probability ``chance``, which is from 1e-12 up to 1."""
    if not 1e-12 <= chance <= 1:
        raise ValueError(f"a chance of {chance} is out of range: from 1e-12 up to 1")
    low, high = 0.0, 1.0
    while chance_beyond(high, freedom) > chance:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        if chance_beyond(middle, freedom) > chance:
            low = middle
        else:
            high = middle
    return high
