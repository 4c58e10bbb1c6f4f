"""Tables are read by the names of their columns, whatever their order was."""

from __future__ import annotations

import numpy as np

from rttcheck.record.columns import read_columns

LAYOUT = np.dtype([("at_ns", "<i8"), ("seq", "<u4"), ("edges", "<u4", (2, 2)), ("pair", [("t", "<u4"), ("v", "<u4")])])


def test_the_layout_of_today_is_handed_on() -> None:
    table = np.zeros(3, LAYOUT)
    read, missing = read_columns(table, LAYOUT)
    assert read is table
    assert not missing


def test_order_does_not_matter_and_unknown_columns_are_left_out() -> None:
    older = np.zeros(2, [("novel", "<u2"), *reversed(LAYOUT.descr)])
    older["at_ns"], older["seq"], older["edges"][:, 1], older["pair"]["v"] = (-5, 6), (7, 8), (1, 2), (3, 4)
    read, missing = read_columns(older, LAYOUT)
    assert read.dtype == LAYOUT
    assert (read["at_ns"].tolist(), read["seq"].tolist()) == ([-5, 6], [7, 8])
    assert (read["edges"][0, 1].tolist(), read["pair"]["v"].tolist()) == ([1, 2], [3, 4])
    assert not missing


def test_missing_columns_are_named_and_hold_what_stands_for_nothing() -> None:
    read, missing = read_columns(np.zeros(2, [("edges", "<u4", (2, 2))]), LAYOUT, always=("edges",))
    assert missing == {"at_ns", "seq", "pair"}
    assert (read["at_ns"].tolist(), read["seq"].tolist()) == ([-1, -1], [0, 0])


def test_a_renamed_column_is_the_same() -> None:
    older = np.zeros(1, [("sequence" if name == "seq" else name, *rest) for name, *rest in LAYOUT.descr])
    older["sequence"] = 9
    read, missing = read_columns(older, LAYOUT, renamed={"sequence": "seq"})
    assert (read["seq"].tolist(), missing) == ([9], frozenset())
