from __future__ import annotations

import numpy as np
import pytest

from rttcheck.judge.picture import Picture, in_buckets, in_steps
from rttcheck.record.histogram import Unit


def picture(filled: dict[int, int], allowed: set[int], unit: Unit = Unit.MS) -> Picture:
    return in_buckets([filled.get(index, 0) for index in range(17)], [index in allowed for index in range(17)], unit)


def test_expected_is_above_seen() -> None:
    assert picture({4: 98, 5: 2}, {4}).render(60, ascii_only=True).splitlines() == [
        "              expected . over seen #: data samples in each bucket",
        " 8 -    15ms |",
        "16 -    31ms |.......................... 100",
        "             |#########################   98",
        "32 -    63ms |",
        "             |#                            2  < not expected",
        "64 -   127ms |",
    ]


def test_a_long_stretch_of_empty_buckets_is_left_out() -> None:
    lines = picture({4: 98, 13: 2}, {4}).render(60, ascii_only=True).splitlines()
    assert [line.partition("|")[0].strip() for line in lines[4:7]] == ["32 -    63ms", "...", "4096 -  8191ms"]


def test_without_an_upper_bound_the_picture_ends_where_the_samples_do() -> None:
    bars = picture({4: 50, 6: 3}, set(range(4, 17))).bars
    assert [bar.label for bar in bars] == [
        "8 -    15ms",
        "16 -    31ms",
        "32 -    63ms",
        "64 -   127ms",
        "128 -   255ms",
    ]


def test_several_expected_buckets_may_each_hold_any_number() -> None:
    assert picture({4: 5, 5: 5}, {4, 5}).render(60).count(" any") == 2


def test_no_sample_makes_no_picture() -> None:
    assert picture({}, set()).bars == ()


def test_steps_begin_at_the_lower_bound() -> None:
    bars = in_steps(np.array([19_990] + [20_040] * 50 + [20_900]), 20_000, 20_120).bars
    assert [(bar.expected, bar.seen) for bar in bars[:3]] == [(False, 1), (True, 50), (True, 0)]
    assert bars[1].label.startswith("20000 - ")
    assert sum(bar.seen for bar in bars) == 52


@pytest.mark.parametrize("values", [[20_000], [20_120], [20_000, 20_120], [19_000], [90_000]])
def test_every_value_has_its_row(values: list[int]) -> None:
    bars = in_steps(np.array(values), 20_000, 20_120).bars
    assert sum(bar.seen for bar in bars) == len(values)
    assert sum(bar.seen for bar in bars if bar.expected) == sum(20_000 <= value <= 20_120 for value in values)


@pytest.mark.parametrize("width", [60, 80, 100])
def test_no_line_is_wider_than_it_may_be(width: int) -> None:
    lines = picture({4: 98_000, 13: 2}, {4}).render(width).splitlines()
    assert max(map(len, lines[1:])) <= width


def test_colour_marks_what_was_not_expected() -> None:
    text = picture({4: 98, 5: 2}, {4}).render(60, color=True)
    assert text.count("\x1b[32m") == text.count("\x1b[31m") == 1
