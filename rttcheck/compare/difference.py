"""Test whether two lists of values, one per run, have the same mean: the interval of the difference, and the answer.

The unit is the run. The interval of the difference of the two means is Student's t, with the variance between runs.
There are two levels. *changed* has a false-alarm rate that all comparisons of two kernels share (Bonferroni); its
variance is at least that of the runs' own samples, since runs may agree by chance. *same* means within the margin with
99 % confidence. Anything else is *cannot tell*. Repeated looks at a growing number of runs share both levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from rttcheck.compare.student import quantile

FALSE_ALARM: Final = 1e-3
"""Probability of any false change in the comparison of a kernel with itself."""

NOT_SAME: Final = 1e-2
"""Highest probability that a difference as large as the margin is called the same, in all looks together."""

LEAST_RUNS: Final = 3
"""On each side: two runs do not give a usable variance."""


class ComparisonAnswer(StrEnum):
    """The answer of a comparison."""

    SAME = "same"
    """Both sides agree, correct or not: a shared fault is invisible to a comparison."""
    CHANGED = "changed"
    FAILED = "failed"
    """Of a scenario: nothing has changed, and runs of a side failed by themselves."""
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The second list minus the first, microseconds."""

    answer: ComparisonAnswer
    first_us: float
    second_us: float
    low_us: float
    """Of the interval of the difference, at the level of *changed* if it is the answer, else of *same*."""
    high_us: float
    margin_us: float
    runs: tuple[int, int]
    reason: str = ""
    """Why it is undecided."""
    more_runs: bool = False
    """Whether more runs might decide."""

    @property
    def by_us(self) -> float:
        """The difference of the means."""
        return self.second_us - self.first_us

    def render(self) -> str:
        """Return the values as one line."""
        return (
            f"{self.first_us:.1f} us and {self.second_us:.1f} us: {self.by_us:+.1f} us "
            f"({self.low_us:+.1f} to {self.high_us:+.1f})"
        )


def difference(
    first_us: Sequence[float],
    second_us: Sequence[float],
    *,
    off_us: float,
    margin_us: float,
    chance: float,
    looks: int = 1,
) -> Difference:
    """Compare two lists of values, each of `LEAST_RUNS` or more.

    ``off_us`` is the standard error of one value from its run's own samples (NaN: unknown), ``margin_us`` the smallest
    relevant difference, ``chance`` the false-alarm rate of this look, ``looks`` the total number of looks at a growing
    number of runs.
    """
    first, second = np.asarray(first_us, dtype=np.float64), np.asarray(second_us, dtype=np.float64)
    runs = len(first), len(second)
    freedom = sum(runs) - 2
    squares = float(((first - first.mean()) ** 2).sum() + ((second - second.mean()) ** 2).sum())
    variance = squares / freedom
    # Runs that agree by chance must not make a change significant; for *same* their agreement does no harm.
    allowed = variance if math.isnan(off_us) else max(variance, off_us**2)
    surely, nearly = (
        quantile(level, freedom) * math.sqrt(spread * (1 / runs[0] + 1 / runs[1]))
        # Only one tail of the interval can be wrong about the margin; therefore two looks cost nothing.
        for level, spread in ((chance, allowed), (min(1.0, 2 / looks) * NOT_SAME, variance))
    )
    by = float(second.mean() - first.mean())

    def result(answer: ComparisonAnswer, half: float, reason: str = "", *, more: bool = False) -> Difference:
        return Difference(
            answer=answer, first_us=float(first.mean()), second_us=float(second.mean()), low_us=by - half,
            high_us=by + half, margin_us=margin_us, runs=runs, reason=reason, more_runs=more,
        )  # fmt: skip

    if abs(by) + nearly <= margin_us:
        return result(ComparisonAnswer.SAME, nearly)
    if abs(by) >= margin_us and abs(by) > surely:
        return result(ComparisonAnswer.CHANGED, surely)
    return result(
        ComparisonAnswer.UNKNOWN,
        nearly,
        f"runs of one kernel scatter by {math.sqrt(allowed):.1f} us, too much to resolve {margin_us:g} us in "
        f"{min(runs)} runs",
        more=True,
    )


def certain(first: Sequence[int], second: Sequence[int]) -> float:
    """Return the probability that two lists separate completely by chance: all of one above all of the other.

    Under the null hypothesis every order of the runs is equally likely, whatever their distribution.
    """
    return 2 / math.comb(len(first) + len(second), len(first))


def runs_for(chance: float) -> int:
    """Return how many runs per side make a complete separation significant at ``chance``."""
    runs = LEAST_RUNS
    while 2 / math.comb(2 * runs, runs) > chance:
        runs += 1
    return runs
