"""The buckets, the table's text, and the unit that keeps histograms apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rttcheck.errors import RttcheckError
from rttcheck.record.histogram import (
    BUCKETS,
    LAST_BUCKET,
    Histogram,
    HistogramError,
    Unit,
    bounds,
    bucket_label,
    bucket_of,
    buckets_of,
)

EXAMPLE = """\
rtt distribution:                 84
                     0 -     1ms: 0        0.0000
                     2 -     3ms: 0        0.0000
                     4 -     7ms: 0        0.0000
                     8 -    15ms: 0        0.0000
                    16 -    31ms: 82       0.9761
                    32 -    63ms: 1        0.0119
                    64 -   127ms: 1        0.0119
                   128 -   255ms: 0        0.0000
                   256 -   511ms: 0        0.0000
"""

values = st.integers(min_value=0, max_value=1 << 40)
counts = st.lists(st.integers(min_value=0, max_value=1 << 32), min_size=BUCKETS, max_size=BUCKETS).map(tuple)
units = st.sampled_from(Unit)


def nettrace_bucket(value: int) -> int:
    """The loop of nettrace's ``update_stats_log()``, written down again."""
    bucket, edge = 0, 2
    while bucket < LAST_BUCKET and value >= edge:
        edge <<= 1
        bucket += 1
    return bucket


def probe_bucket(value: int) -> int:
    """The shifts of the probe's own ``bucket_of()``, as a kernel's ``fls()`` would do it."""
    if value >= 65536:
        return 16
    bucket = 0
    for shift in (8, 4, 2, 1):
        if value >> shift:
            bucket += shift
            value >>= shift
    return bucket


@given(value=values)
def test_every_value_lies_in_exactly_one_bucket(value: int) -> None:
    holding = [
        index
        for index in range(BUCKETS)
        for lowest, highest in [bounds(index)]
        if lowest <= value and (highest is None or value <= highest)
    ]
    assert holding == [bucket_of(value)]


@given(value=st.one_of(values, st.integers(min_value=0, max_value=1 << 17)))
def test_a_bucket_is_what_nettrace_and_the_probe_compute(value: int) -> None:
    assert bucket_of(value) == nettrace_bucket(value) == probe_bucket(value)


@pytest.mark.parametrize("index", range(1, BUCKETS))
def test_a_bucket_begins_at_a_power_of_two_and_the_value_below_is_in_the_one_before(index: int) -> None:
    assert bucket_of(1 << index) == index
    assert bucket_of((1 << index) - 1) == index - 1
    assert bounds(index)[0] == 1 << index


def test_the_first_bucket_holds_zero_and_one_and_the_last_all_from_65536() -> None:
    assert bounds(0) == (0, 1)
    assert bounds(LAST_BUCKET) == (65536, None)
    assert (bucket_of(0), bucket_of(1), bucket_of(65535), bucket_of(1 << 60)) == (0, 0, 15, 16)


@given(samples=st.lists(values, max_size=50), unit=units)
def test_an_array_of_samples_is_counted_as_each_of_them_is(samples: list[int], unit: Unit) -> None:
    expected = [bucket_of(sample // unit.microseconds) for sample in samples]
    assert buckets_of(samples, unit).tolist() == expected
    assert Histogram.of(samples, unit).counts == tuple(expected.count(index) for index in range(BUCKETS))


def test_milliseconds_are_cut_off_before_they_are_counted() -> None:
    assert Histogram.of([31_999], Unit.MS).counts[4] == 1
    assert Histogram.of([32_000], Unit.MS).counts[5] == 1
    assert Histogram.of([31_999], Unit.US).counts[14] == 1


def test_a_value_that_means_no_sample_is_refused() -> None:
    with pytest.raises(HistogramError, match="-1, which means 'no sample'"):
        Histogram.of([20_000, -1], Unit.MS)
    with pytest.raises(HistogramError, match="-1, which means 'no sample'"):
        bucket_of(-1)


def test_the_table_is_nettraces_to_the_byte() -> None:
    samples = [20_500] * 82 + [45_000, 64_000]
    assert Histogram.of(samples, Unit.MS).render() == EXAMPLE


def test_the_same_samples_in_microseconds_have_the_unit_us() -> None:
    text = Histogram.of([20_500] * 3 + [70_000], Unit.US).render()
    assert text.splitlines()[0] == "rtt distribution:                 4"
    assert text.splitlines()[-3:] == [
        "                 16384 - 32767us: 3        0.7500",
        "                 32768 - 65535us: 0        0.0000",
        "                      >= 65536us: 1        0.2500",
    ]


def test_lines_end_with_the_last_count_but_never_before_bucket_8() -> None:
    assert len(Histogram.of([], Unit.MS).render().splitlines()) == 10
    assert len(Histogram.of([511_000], Unit.MS).render().splitlines()) == 10
    assert len(Histogram.of([512_000], Unit.MS).render().splitlines()) == 11
    assert len(Histogram.of([1 << 40], Unit.US).render().splitlines()) == 18


def test_shares_are_cut_after_four_decimals() -> None:
    third = Histogram.of([1_000, 2_000, 2_000], Unit.MS)
    assert (third.share(0), third.share(1), third.share(2)) == ("0.3333", "0.6666", "0.0000")
    assert Histogram.of([1], Unit.US).share(0) == "1.0000"
    assert Histogram.of([], Unit.US).share(0) == "0.0000"


def test_the_label_of_a_bucket_is_padded_as_in_the_table() -> None:
    assert bucket_label(0, Unit.MS) == "0 -     1ms"
    assert bucket_label(15, Unit.US) == "32768 - 65535us"
    assert bucket_label(16, Unit.US) == ">= 65536us"


@given(table=counts, unit=units)
def test_a_table_that_was_printed_is_read_back_as_it_was(table: tuple[int, ...], unit: Unit) -> None:
    histogram = Histogram(unit, table)
    assert Histogram.parse(histogram.render()) == histogram


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("16 -    31ms", "16 -    32ms"), "line 6 of a table is"),
        (("16 -    31ms", "17 -    31ms"), "line 6 of a table is"),
        (("0.9761", "0.9762"), "line 6 of a table is"),
        (("                 84", "                 85"), "line 1 of a table is"),
        (("82      ", "82     "), "line 6 of a table is"),
        (("rtt distribution:", "latency distribution:"), "begin with"),
        (("   64 -   127ms", "   64 -   127us"), "in ms, us"),
        (("                   256 -   511ms: 0        0.0000\n", ""), "10 lines and 9"),
        (("                     8 -    15ms: 0        0.0000\n", ""), "line 5 of a table is"),
        (("0.0119\n", "0.0119\nWARN: lost\n"), "expected to hold a bucket"),
        (("1        0.0119", "-1       0.0119"), "expected to hold a bucket"),
    ],
)
def test_a_table_that_nettrace_would_not_print_is_refused(change: tuple[str, str], complaint: str) -> None:
    broken = EXAMPLE.replace(*change, 1)
    assert broken != EXAMPLE
    with pytest.raises(HistogramError, match=complaint):
        Histogram.parse(broken)


def test_a_table_with_empty_lines_after_its_last_count_is_refused() -> None:
    with pytest.raises(HistogramError, match="10 lines and 11"):
        Histogram.parse(EXAMPLE + "                   512 -  1023ms: 0        0.0000\n")


def test_two_tables_in_one_text_are_refused() -> None:
    with pytest.raises(HistogramError, match="line 11"):
        Histogram.parse(EXAMPLE + EXAMPLE)


def test_units_never_meet() -> None:
    in_ms, in_us = Histogram.of([20_000], Unit.MS), Histogram.of([20_000], Unit.US)
    with pytest.raises(HistogramError, match="us was compared with one in ms"):
        assert in_ms == in_us
    with pytest.raises(HistogramError, match="us was compared with one in ms"):
        assert in_ms != in_us
    with pytest.raises(HistogramError, match="ms was added to one in us"):
        in_us + in_ms
    with pytest.raises(HistogramError, match="ms was subtracted from one in us"):
        in_us - in_ms
    assert issubclass(HistogramError, RttcheckError)


@given(one=counts, other=counts, unit=units)
def test_what_was_added_can_be_taken_away_again(one: tuple[int, ...], other: tuple[int, ...], unit: Unit) -> None:
    first, second = Histogram(unit, one), Histogram(unit, other)
    assert (first + second) - second == first
    assert (first + second).total == first.total + second.total
    assert hash(first) == hash(Histogram(unit, one))
    assert (first == second) is (one == other)


def test_a_histogram_takes_seventeen_counts_from_a_map() -> None:
    assert Histogram.of_counts(np.arange(17, dtype=np.uint64), Unit.MS).counts == tuple(range(17))
    with pytest.raises(HistogramError, match="17 counts"):
        Histogram.of_counts([1] * 16, Unit.MS)
    with pytest.raises(HistogramError, match="none of them below 0"):
        Histogram.of([], Unit.MS) - Histogram.of([1], Unit.MS)


def test_a_histogram_equals_nothing_else() -> None:
    assert Histogram.of([], Unit.MS) != "rtt distribution:"


@pytest.mark.parametrize("index", [-1, 17])
def test_there_are_no_buckets_beyond(index: int) -> None:
    with pytest.raises(HistogramError, match="buckets 0 to 16"):
        bounds(index)
