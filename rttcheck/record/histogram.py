"""The log2 histogram of round-trip times, in nettrace's buckets and nettrace's layout.

The unit is part of a histogram's identity: counts of milliseconds and of microseconds are never mixed. Whether a tool
printed the right unit over its table is checked elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from rttcheck.errors import RttcheckError

BUCKETS = 17
"""nettrace since 86e5474 (2025-10-22); 16 before, where the table had no line ``>= 65536``."""

LAST_BUCKET = BUCKETS - 1

_EDGES = np.array([1 << exponent for exponent in range(1, BUCKETS)], dtype=np.int64)
"""The lowest value of buckets 1 to 16: 2, 4, ... 65536."""

_ALWAYS_SHOWN = 9
"""Buckets 0 to 8 are printed even when they and all later ones are empty."""

HEADER = "rtt distribution:"
_HEADER_LINE = re.compile(rf"{re.escape(HEADER)} +(\d+)")
_BUCKET_LINE = re.compile(r" *(?:(\d+) - +(\d+)|>= (\d+))(us|ms): (\d+) +(\d+\.\d{4})")


class HistogramError(RttcheckError, ValueError):
    """Units were mixed, a value is no sample, or a text is not a table; the message says which and where."""


class Unit(Enum):
    """The unit of a histogram's scale."""

    US = "us"
    MS = "ms"

    @property
    def microseconds(self) -> int:
        """Microseconds in one unit."""
        return 1 if self is Unit.US else 1000


def bucket_of(value: int) -> int:
    """Return the bucket of ``value`` (in the histogram's unit): 0 and 1 in bucket 0, 2^i to 2^(i+1)-1 in i, more in 16.

    Source: nettrace's ``update_stats_log()``. Raises HistogramError below 0, which the kernel uses for "no sample".
    """
    if value < 0:
        raise HistogramError(f"a bucket was asked for {value}, which means 'no sample': leave such values out")
    return min(max(int(value).bit_length() - 1, 0), LAST_BUCKET)


def bounds(index: int) -> tuple[int, int | None]:
    """Return the lowest and highest value of bucket ``index``, both included; the last bucket has no highest.

    Raises HistogramError for an index that is not 0 to 16.
    """
    if not 0 <= index <= LAST_BUCKET:
        raise HistogramError(f"bucket {index} was asked for and a histogram has the buckets 0 to {LAST_BUCKET}")
    lowest = 0 if index == 0 else 1 << index
    return lowest, None if index == LAST_BUCKET else (1 << (index + 1)) - 1


def buckets_of(values_us: npt.ArrayLike, unit: Unit) -> npt.NDArray[np.intp]:
    """Return the bucket of each value, given in microseconds; milliseconds are truncated first, as in nettrace.

    Raises HistogramError when a value is below 0.
    """
    values = np.asarray(values_us, dtype=np.int64)
    if values.size and int(values.min()) < 0:
        raise HistogramError(
            f"a histogram was asked for the value {int(values.min())}, which means 'no sample': leave such values out"
        )
    return np.searchsorted(_EDGES, values // unit.microseconds, side="right")


def bucket_label(index: int, unit: Unit) -> str:
    """Return the bucket as nettrace writes it: ``16 -    31ms``, or ``>= 65536ms`` for the last."""
    lowest, highest = bounds(index)
    if highest is None:
        return f">= {lowest}{unit.value}"
    return f"{lowest} - {highest:5d}{unit.value}"


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Seventeen counts and the unit they are counted in.

    Histograms of different units cannot be compared or added: HistogramError.
    """

    unit: Unit
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.counts) != BUCKETS or min(self.counts) < 0:
            raise HistogramError(
                f"a histogram was made of {self.counts}: it takes {BUCKETS} counts, none of them below 0"
            )

    @classmethod
    def of(cls, values_us: npt.ArrayLike, unit: Unit) -> Histogram:
        """Count samples given in microseconds. Raises HistogramError when one is below 0."""
        counted = np.bincount(buckets_of(values_us, unit), minlength=BUCKETS)
        return cls(unit, tuple(int(count) for count in counted))

    @classmethod
    def of_counts(cls, counts: Iterable[int], unit: Unit) -> Histogram:
        """Build a histogram from the 17 counts of a kernel-side map."""
        return cls(unit, tuple(int(count) for count in counts))

    @property
    def total(self) -> int:
        """How many samples were counted."""
        return sum(self.counts)

    def __add__(self, other: Histogram) -> Histogram:
        self._require_unit_of(other, "added to")
        return Histogram(
            self.unit, tuple(mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True))
        )

    def __sub__(self, other: Histogram) -> Histogram:
        """Return the counts since ``other``, an earlier state of the same cumulative table."""
        self._require_unit_of(other, "subtracted from")
        return Histogram(
            self.unit, tuple(mine - theirs for mine, theirs in zip(self.counts, other.counts, strict=True))
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        self._require_unit_of(other, "compared with")
        return self.counts == other.counts

    def __hash__(self) -> int:
        return hash((self.unit, self.counts))

    def _require_unit_of(self, other: Histogram, verb: str) -> None:
        if self.unit is not other.unit:
            raise HistogramError(
                f"a histogram in {other.unit.value} was {verb} one in {self.unit.value}: "
                "make both of the same samples in the same unit"
            )

    def share(self, index: int) -> str:
        """Return the bucket's share of the total as nettrace prints it: four decimals, truncated."""
        total = self.total
        whole, rest = divmod(self.counts[index], total) if total else (0, 0)
        return f"{whole}.{rest * 10000 // total if total else 0:04d}"

    def render(self) -> str:
        """Return the table as nettrace prints it (``stats_poll_handler()``), one line a bucket, ended by a newline.

        Empty buckets after the last count are left out from bucket 9 on.
        """
        filled = [index for index, count in enumerate(self.counts) if count]
        shown = max(_ALWAYS_SHOWN, filled[-1] + 1 if filled else 0)
        lines = [f"{HEADER:<34}{self.total}"]
        lines += [
            f"{bucket_label(index, self.unit):>32}: {self.counts[index]:<8d} {self.share(index)}"
            for index in range(shown)
        ]
        return "\n".join(lines) + "\n"

    @classmethod
    def parse(cls, text: str) -> Histogram:
        """Read one table that nettrace printed, in the unit that the table names.

        A table of a version with 16 buckets reads the same: it has no line for bucket 16. Raises HistogramError when
        the text is not exactly what nettrace would print for these counts: wrong ranges, a total or a share that
        does not follow from the counts, missing lines, extra lines or another order.
        """
        lines = text.removesuffix("\n").split("\n")
        header = _HEADER_LINE.fullmatch(lines[0])
        if header is None:
            raise HistogramError(f"a table was expected to begin with '{HEADER}' and a total, found '{lines[0]}'")
        counts: list[int] = []
        units: set[str] = set()
        for number, line in enumerate(lines[1:], start=2):
            bucket = _BUCKET_LINE.fullmatch(line)
            if bucket is None:
                raise HistogramError(f"line {number} of a table was expected to hold a bucket, found '{line}'")
            units.add(bucket[4])
            counts.append(int(bucket[5]))
        if len(units) != 1 or len(counts) > BUCKETS:
            raise HistogramError(
                f"a table was expected to have up to {BUCKETS} buckets in one unit, found {len(counts)} buckets in "
                f"{', '.join(sorted(units)) or 'no unit'}: pass one table at a time"
            )
        table = cls(Unit(units.pop()), tuple(counts) + (0,) * (BUCKETS - len(counts)))
        _refuse_difference(lines, table.render().removesuffix("\n").split("\n"))
        return table


def _refuse_difference(found: Sequence[str], expected: Sequence[str]) -> None:
    """Raise HistogramError naming the first line of ``found`` that differs from ``expected``."""
    for number, (seen, due) in enumerate(zip(found, expected, strict=False), start=1):
        if seen != due:
            raise HistogramError(f"line {number} of a table is '{seen}' and its counts would print '{due}'")
    if len(found) != len(expected):
        raise HistogramError(
            f"a table of these counts has {len(expected)} lines and {len(found)} were found: pass exactly one table"
        )
