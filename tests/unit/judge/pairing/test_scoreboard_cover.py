"""Numbers, times and pieces on sorted lines: each operation on whole arrays against a plain implementation."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.exchange import Exchange, Traffic
from benchmarks.planted import SECOND, Connection, plant
from rttcheck.judge.pairing import ends
from rttcheck.judge.pairing.cover import cut_at, earliest_cover, segment_edges
from rttcheck.judge.pairing.ends import REACH, by_group_and_time, keys, packets_of, sequence_keys
from rttcheck.judge.pairing.pairs import pair
from tests.support.pairing_by_hand import Board, pair_by_hand

PIECES = 40
NOTHING = 2**31 - 1

intervals = st.lists(st.tuples(st.integers(0, PIECES), st.integers(0, PIECES)), max_size=30)


@given(spans=intervals)
def test_the_first_of_all_intervals_that_cover_a_piece(spans: list[tuple[int, int]]) -> None:
    start, stop = (np.array([span[side] for span in spans], dtype=np.intp) for side in (0, 1))
    cover = earliest_cover(start, stop, np.arange(len(spans), dtype=np.int32), PIECES)
    expected = [
        min((name for name, (low, high) in enumerate(spans) if low <= piece < high), default=NOTHING)
        for piece in range(PIECES)
    ]
    assert cover.tolist() == expected


@given(
    lengths=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 12)), min_size=1, max_size=8),
    edges=st.lists(st.integers(-2, 90), max_size=12),
    longest=st.integers(1, 8),
    whole=st.booleans(),
)
def test_pieces_are_cut_as_by_hand(lengths: list[tuple[int, int]], edges: list[int], longest: int, whole: bool) -> None:
    board, at = Board(mss=longest), 0
    for row, (gap, length) in enumerate(lengths):
        board.send(at + gap, at + gap + length, 0, row)
        at += gap + length
    start, end = np.array(board.starts), np.array(board.ends)
    name = np.arange(len(start))
    wanted = np.array(edges, dtype=np.int64)
    if whole:
        for edge in edges:
            board.cut(edge)
    else:
        board.cut_to_segments(set(edges))
        wanted = segment_edges(wanted, start, end, np.full(len(start), longest))
    start, end, name = cut_at(wanted, start, end, name)
    assert (start.tolist(), end.tolist(), name.tolist()) == (board.starts, board.ends, board.rows)


@given(
    steps=st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=20), min_size=1, max_size=4),
    initial=st.integers(0, 2**32 - 1),
)
def test_numbers_are_offsets_of_their_own_life(steps: list[list[int]], initial: int) -> None:
    offsets = [np.cumsum(np.array(life, dtype=np.int64)) for life in steps]
    life = np.repeat(np.arange(len(steps), dtype=np.int32), [len(one) for one in steps])
    firsts = (initial + np.arange(len(steps)) * 1_000_000_007) % 2**32
    offset = np.concatenate(offsets)
    numbers = ((offset + firsts[life]) % 2**32).astype(np.uint32)
    found = sequence_keys(numbers, life, firsts.astype(np.uint32))
    assert found.tolist() == keys(life, offset).tolist()


def test_numbers_that_grow_too_far_stay_in_their_own_life() -> None:
    life = np.repeat(np.arange(3, dtype=np.int32), 1_000)
    for step in (2**31 - 1, 2**31 + 1):
        numbers = (np.arange(3_000, dtype=np.uint64) * np.uint64(step) % np.uint64(2**32)).astype(np.uint32)
        numbers[1_000:2_000] = 7
        found = sequence_keys(numbers, life, np.zeros(3, dtype=np.uint32))
        assert found[1_000:2_000].tolist() == [int(keys(life[1_000:1_001], 7)[0])] * 1_000
        for one in (0, 2):
            middle = int(keys(np.array([one]), 0)[0])
            assert (abs(found[life == one] - middle) < REACH).all()


@pytest.mark.parametrize("block", [1, 3, 1_000])
@given(rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=20), far=st.booleans())
def test_the_order_is_by_group_then_by_time_then_as_it_was(block: int, rows: list[tuple[int, int]], far: bool) -> None:
    group = np.array([one for one, _ in rows], dtype=np.int32) * (70_000 if far else 1) - 1
    time = np.array([moment for _, moment in rows])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ends, "_BLOCK", block)
        order = by_group_and_time(group, time)
    expected = sorted(range(len(rows)), key=lambda row: (rows[row], row))
    assert (list(range(len(rows))) if order is None else order.tolist()) == expected


def test_packets_are_those_asked_for_in_the_order_asked_for() -> None:
    wire = plant([Connection(exchange=Exchange(Traffic(writes=5, answer=1)).run())]).wire
    for rows in ([3, 4, 5], [3, 5, 4, 6], [6], [2, 2], [5, 4, 3], []):
        row = np.array(rows, dtype=np.int32)
        assert packets_of(wire, row).tobytes() == wire[row].tobytes()


def test_packets_in_any_order_and_years_apart_are_paired_as_by_hand() -> None:
    """A life and a time of ninety years in nanoseconds do not fit into one number."""
    exchange = Exchange(Traffic(writes=20, write=1_448, window=6, loss=0.1)).run()
    planted = plant(
        [
            Connection(exchange=exchange, client_port=40_000 + place, start_ns=start_ns)
            for place, start_ns in enumerate((SECOND, 2**61, 2**61 + 2**60 + SECOND))
        ]
    )
    assert pair(planted.events, planted.wire, planted.flows).ack.tolist() == planted.ack.tolist()
    random = np.random.default_rng(1)
    wire, events = random.permutation(planted.wire), random.permutation(planted.events)
    pairs, expected = pair(events, wire, planted.flows), pair_by_hand(events, wire, planted.flows)
    assert pairs.ack.tolist() == expected["ack"]
    assert pairs.first.tolist() == expected["first"]
    assert max(later - earlier for earlier, later in pairwise(sorted(wire["time_ns"].tolist()))) > 2**59
