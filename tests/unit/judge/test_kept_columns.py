"""A table reads as the array that it is a view of; its kept columns are copies that nobody can write to."""

from __future__ import annotations

import numpy as np
import pytest

from rttcheck.judge.table import EVENT_COLUMNS, WIRE_COLUMNS, Table
from rttcheck.record.event import EVENT
from rttcheck.record.packet import WIRE


def numbered(layout: np.dtype, rows: int) -> np.ndarray:
    """Rows of which every byte is another one's successor."""
    return np.arange(rows * layout.itemsize, dtype=np.uint64).astype(np.uint8).view(layout)


@pytest.mark.parametrize(("layout", "kept"), [(EVENT, EVENT_COLUMNS), (WIRE, WIRE_COLUMNS)])
@pytest.mark.parametrize("rows", [0, 1, 9_000])
def test_every_column_is_that_of_the_array(layout: np.dtype, kept: frozenset[str], rows: int) -> None:
    array = numbered(layout, rows)
    table = Table.of(array, kept)
    assert kept <= set(layout.names or ())
    for name in layout.names or ():
        assert type(table[name]) is np.ndarray
        assert table[name].tobytes() == array[name].tobytes(), name


def test_what_is_kept_is_contiguous_and_read_only() -> None:
    table = Table.of(numbered(WIRE, 10), ["seq"])
    assert table["seq"].flags.c_contiguous
    assert table["seq"] is table["seq"]
    with pytest.raises(ValueError, match="read-only"):
        table["seq"][0] = 1


def test_rows_slices_and_copies_are_not_tables_that_keep_columns() -> None:
    array = numbered(WIRE, 10)
    table = Table.of(array, ["seq"])
    assert type(table[2:5]) is np.ndarray
    assert table[np.array([7, 3])]["seq"].tolist() == array["seq"][[7, 3]].tolist()
    assert table[4]["seq"] == array["seq"][4]
    changed = table.copy()
    changed["seq"][:] = 5
    assert changed["seq"].tolist() == [5] * 10
    assert table["seq"].tolist() == array["seq"].tolist()
