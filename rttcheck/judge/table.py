"""A table of events or packets that keeps the columns which are read often as arrays of their own.

A row of a structured array is 280 bytes for an event and 104 for a packet: reading one column of it moves all of the
table through the processor's caches. The columns that are read several times are copied once, in blocks of rows.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import numpy as np

EVENT_COLUMNS: Final = frozenset(
    [
        "timestamp_ns", "tcp_mstamp_us", "sk", "generation", "first_rtt_us", "sack_rtt_us", "last_rtt_us", "rs_rtt_us",
        "sample_us", "srtt_us", "mdev_us", "mdev_max_us", "rttvar_us", "rtt_seq", "snd_una", "snd_nxt", "delivered",
        "flag", "hz", "taken", "hook", "saw_tstamp",
    ]
)  # fmt: skip
"""The columns of events that the judge reads three times or more: 120 bytes a row."""

WIRE_COLUMNS: Final = frozenset(["time_ns", "point", "outgoing", "flags"])
"""The columns of packets that the judge reads ten times or more: 11 bytes a row."""

_BLOCK: Final = 1 << 12
"""Rows at a time, so that a row is in the processor's cache when its next column is copied."""


class Table(np.ndarray):
    """A structured array; some of its columns are copies, which nobody can write to.

    What is selected from it (rows, a slice, a copy) is an ordinary array of rows.
    """

    _kept: frozenset[str]
    _columns: dict[str, np.ndarray]

    @classmethod
    def of(cls, array: np.ndarray, kept: Collection[str]) -> Table:
        """Return a view of ``array`` that keeps the columns ``kept`` from the first time that one of them is read."""
        table = array.view(cls)
        table._kept = frozenset(kept)
        return table

    def __array_finalize__(self, other: np.ndarray | None) -> None:
        """Keep no columns in what NumPy makes from a table."""
        self._kept, self._columns = frozenset(), {}

    def __getitem__(self, key: Any) -> Any:
        """Return a column, which is a copy where it is kept, or what NumPy selects."""
        if isinstance(key, str) and key in self._kept:
            if not self._columns:
                self._columns = _copied(self.view(np.ndarray), self._kept)
            return self._columns[key]
        found = super().__getitem__(key)
        return found.view(np.ndarray) if isinstance(found, np.ndarray) else found


def _copied(array: np.ndarray, names: Collection[str]) -> dict[str, np.ndarray]:
    columns = {name: np.empty(array.shape, dtype=array.dtype[name]) for name in names}
    for at in range(0, len(array), _BLOCK):
        rows = array[at : at + _BLOCK]
        for name, column in columns.items():
            column[at : at + _BLOCK] = rows[name]
    for column in columns.values():
        column.setflags(write=False)
    return columns
