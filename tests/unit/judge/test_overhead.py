"""Quiet spells by hand, and against the plain way to find them."""

from __future__ import annotations

import itertools
import random

import numpy as np

from rttcheck.judge.overhead import longest_spell


def plain(passing: list[int], begin: int, end: int) -> int:
    moments = [begin, *(moment for moment in passing if begin < moment < end), end]
    return max(later - earlier for earlier, later in itertools.pairwise(moments))


def spells(passing: list[int], pairs: list[tuple[int, int]]) -> list[int]:
    begin, end = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return [int(spell) for spell in longest_spell(np.array(passing, dtype=np.int64), begin, end)]


def test_without_a_packet_the_whole_time_is_quiet() -> None:
    assert spells([], [(10, 60)]) == [50]
    assert spells([10, 60], [(10, 60)]) == [50]


def test_each_packet_breaks_the_quiet() -> None:
    assert spells([20, 50], [(10, 60)]) == [30]
    assert spells([20], [(10, 60)]) == [40]
    assert spells([50, 55], [(10, 60)]) == [40]


def test_what_ends_before_it_begins_is_negative() -> None:
    assert spells([5, 20], [(30, 10)]) == [-20]


def test_as_the_plain_way_has_it() -> None:
    dice = random.Random(7)
    for _ in range(300):
        passing = sorted(dice.randrange(100) for _ in range(dice.randrange(12)))
        pairs = [
            (begin, begin + dice.randrange(50)) for begin in (dice.randrange(90) for _ in range(1 + dice.randrange(8)))
        ]
        assert spells(passing, pairs) == [plain(passing, *pair) for pair in pairs], (passing, pairs)
