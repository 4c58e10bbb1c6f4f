"""Delay distribution tables for netem, and the definitions that the shipped ones are computed from.

An entry ``t`` means ``mu + t * sigma / 8192`` (``tabledist()`` in net/sched/sch_netem.c, NETEM_DIST_SCALE), and every
entry is equally likely. A table therefore has hard ends, and ``jitter`` is not a bound on the delay.

The files beside this module have the text format of iproute2's ``.dist`` files, so either can replace the
other. They are not copies: ``python -m rttcheck_netns.distribution NAME`` computes them from the definitions below.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from .errors import NetemInvalid

SCALE = 8192
"""NETEM_DIST_SCALE of include/uapi/linux/pkt_sched.h: the table entry that means one jitter above the delay."""

MAX_ENTRIES = 16384
"""NETEM_DIST_MAX of include/uapi/linux/pkt_sched.h."""

NAMED = ("normal", "pareto", "paretonormal")
"""The tables shipped here, named as iproute2 names them."""

_LOWEST, _HIGHEST = -(1 << 15), (1 << 15) - 1


@dataclass(frozen=True, slots=True)
class Distribution:
    """A table of equally likely deviations, in 1/8192 of the jitter; 1 to 16384 entries of 16 bits.

    Raises NetemInvalid when the table is empty, too long, or an entry does not fit.
    """

    name: str
    table: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.table) <= MAX_ENTRIES:
            raise NetemInvalid(
                f"distribution {self.name!r} has {len(self.table)} entries, netem accepts 1 to {MAX_ENTRIES}: "
                "write a table of another length"
            )
        for entry in (min(self.table), max(self.table)):
            if not _LOWEST <= entry <= _HIGHEST:
                raise NetemInvalid(
                    f"distribution {self.name!r} contains {entry}, an entry has 16 bits ({_LOWEST} to {_HIGHEST}): "
                    "use a larger jitter and smaller entries"
                )

    def __repr__(self) -> str:
        """Return the name and the size: the thousands of entries do not belong in a message or a recording."""
        return f"Distribution({self.name!r}, {len(self.table)} entries)"

    @classmethod
    def named(cls, name: str) -> Distribution:
        """Return one of the shipped tables. Raises NetemInvalid for a name that is not in `NAMED`."""
        return _shipped(name)

    @classmethod
    def read(cls, path: Path) -> Distribution:
        """Read a table in the text format of iproute2's ``.dist`` files: integers, and comments from ``#`` on.

        Raises NetemInvalid when the file cannot be read or contains something that is not an integer.
        """
        try:
            lines = path.read_text().splitlines()
            entries = tuple(int(word) for line in lines for word in line.partition("#")[0].split())
        except (OSError, ValueError) as problem:
            raise NetemInvalid(
                f"the distribution table {path} cannot be read ({problem}): it must hold integers as iproute2's do"
            ) from problem
        return cls(path.stem, entries)


@lru_cache(maxsize=len(NAMED))
def _shipped(name: str) -> Distribution:
    if name not in NAMED:
        raise NetemInvalid(
            f"there is no distribution {name!r}: write one of {', '.join(NAMED)}, or your own Distribution(name, table)"
        )
    return Distribution.read(Path(__file__).with_name("distributions") / f"{name}.dist")


def normal_table() -> tuple[int, ...]:
    """Return quantiles of the standard normal distribution, as iproute2's netem/normal.c defines them.

    The quantile of i/16384 (i = 0, 4, 8, ...) is the last x on a grid of 0.00005 from -10 whose distribution function
    rounds to i/16384. The grid is built by repeated addition, because the rounding of the sums decides the last digit.
    """
    return tuple(_clamp(quantile) for quantile in _normal_quantiles())


def _normal_quantiles() -> list[int]:
    quantiles = [0.0] * (MAX_ENTRIES + 1)
    x = -10.0
    while x < 10.05:
        quantiles[round(MAX_ENTRIES * (0.5 + 0.5 * math.erf(x / math.sqrt(2.0))))] = x
        x += 0.00005
    return [round(quantiles[i] * SCALE) for i in range(0, MAX_ENTRIES, 4)]


def pareto_table() -> tuple[int, ...]:
    """Return quantiles of a Pareto distribution of shape 3, centred, as iproute2's netem/pareto.c defines them.

    They are centred on the mean (1.5), scaled by 4/3 (the inverse of the variance) and cut at four jitters, which
    leaves a standard deviation of 0.82 jitters and a mean 0.03 jitters below the delay.
    """
    return tuple(_pareto(65536 - 16 * i) for i in range(4096))


def paretonormal_table() -> tuple[int, ...]:
    """Return a quarter of the normal quantile plus three quarters of Pareto's, as iproute2's netem/paretonormal.c does.

    Only the sum is cut to 16 bits, and the division is C's, towards zero.
    """
    return tuple(
        _clamp(math.trunc((normal + 3 * _pareto(65536 - 16 * i)) / 4)) for i, normal in enumerate(_normal_quantiles())
    )


def _pareto(part: int) -> int:
    quantile = math.pow(part / 65536.0, -1.0 / 3.0)
    return round(min((quantile - 1.5) * (4.0 / 3.0) * SCALE, float(_HIGHEST)))


def _clamp(value: int) -> int:
    return max(_LOWEST, min(_HIGHEST, value))


def table_text(name: str, table: Sequence[int]) -> str:
    """Return the table as the text of a ``.dist`` file: a comment with its origin, then eight entries a line."""
    rows = [" ".join(str(entry) for entry in table[i : i + 8]) for i in range(0, len(table), 8)]
    return (
        f"# The {name} distribution, computed by rttcheck_netns.distribution.{name}_table().\n" + "\n".join(rows) + "\n"
    )


if __name__ == "__main__":
    for asked in sys.argv[1:]:
        table = {"normal": normal_table, "pareto": pareto_table, "paretonormal": paretonormal_table}[asked]()
        sys.stdout.write(table_text(asked, table))
