"""Whether two lists of figures, one a run, come from one and the same distribution: an interval, and what it proves.

It owns the statistics and their false-alarm rate. What the figures are of it does not know.

The unit is the run. The difference of the two means has an interval by Student's t, with the variance that both lists
show between runs. Two levels: what is called *changed* must be so but for a chance that all comparisons of two kernels
share (Bonferroni), with at least the variance that the runs' own samples explain, since runs may agree more closely
than they can know; and what is called *same* must lie within the margin with 99 %. Neither is *cannot tell*. Who looks
several times, each time at more runs, shares both levels among the looks.
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
"""How likely any difference at all is called a change, in the comparison of a kernel with itself."""

NOT_SAME: Final = 1e-2
"""How likely a difference as large as the margin is called the same, at most, in all looks at it together."""

LEAST_RUNS: Final = 3
"""On each side: from two runs no variance is known to speak of."""


class ComparisonAnswer(StrEnum):
    """What a comparison proves."""

    SAME = "same"
    """Both sides have it. Right or wrong: what both share cannot be seen by comparing."""
    CHANGED = "changed"
    FAILED = "failed"
    """Of a scenario: nothing has changed, and the judge fails runs of a side, each by itself."""
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The second list less the first, microseconds."""

    answer: ComparisonAnswer
    first_us: float
    second_us: float
    low_us: float
    """Of the interval for the difference: at the level of a change where there is one, else at that of the same."""
    high_us: float
    margin_us: float
    runs: tuple[int, int]
    reason: str = ""
    """Why it cannot be told."""
    more_runs: bool = False
    """Whether more runs might tell."""

    @property
    def by_us(self) -> float:
        """The difference itself."""
        return self.second_us - self.first_us

    def render(self) -> str:
        """The figures in a line."""
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
    """Compare two lists of figures, each of `LEAST_RUNS` or more.

    ``off_us`` is the standard error of one figure by its run's own samples (NaN: unknown), ``margin_us`` the smallest
    difference that counts, ``chance`` how likely this one look may call a change what is none, ``looks`` how often in
    all the same is looked at, with ever more runs.
    """
    first, second = np.asarray(first_us, dtype=np.float64), np.asarray(second_us, dtype=np.float64)
    runs = len(first), len(second)
    freedom = sum(runs) - 2
    squares = float(((first - first.mean()) ** 2).sum() + ((second - second.mean()) ** 2).sum())
    variance = squares / freedom
    # That runs agree by luck must not prove a change; where they agree and nothing has changed it does no harm.
    granted = variance if math.isnan(off_us) else max(variance, off_us**2)
    surely, nearly = (
        quantile(level, freedom) * math.sqrt(spread * (1 / runs[0] + 1 / runs[1]))
        # A difference lies on one side of the margin: of an interval's two tails one can be wrong. Two looks are free.
        for level, spread in ((chance, granted), (min(1.0, 2 / looks) * NOT_SAME, variance))
    )
    by = float(second.mean() - first.mean())

    def told(answer: ComparisonAnswer, half: float, reason: str = "", *, more: bool = False) -> Difference:
        return Difference(
            answer=answer, first_us=float(first.mean()), second_us=float(second.mean()), low_us=by - half,
            high_us=by + half, margin_us=margin_us, runs=runs, reason=reason, more_runs=more,
        )  # fmt: skip

    if abs(by) + nearly <= margin_us:
        return told(ComparisonAnswer.SAME, nearly)
    if abs(by) >= margin_us and abs(by) > surely:
        return told(ComparisonAnswer.CHANGED, surely)
    return told(
        ComparisonAnswer.UNKNOWN,
        nearly,
        f"runs of one kernel scatter by {math.sqrt(granted):.1f} us, too much to tell {margin_us:g} us in "
        f"{min(runs)} runs",
        more=True,
    )


def certain(first: Sequence[int], second: Sequence[int]) -> float:
    """How likely such a perfect parting of two lists is by chance: all values of one list above all of the other.

    If nothing differs, every order of the runs is equally likely, whatever their distribution.
    """
    return 2 / math.comb(len(first) + len(second), len(first))


def runs_for(chance: float) -> int:
    """How many runs on each side make `certain` of a perfect parting."""
    runs = LEAST_RUNS
    while 2 / math.comb(2 * runs, runs) > chance:
        runs += 1
    return runs
