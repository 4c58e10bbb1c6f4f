from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rttcheck.errors import ScenarioError
from rttcheck.scenario.duration import format_ns, format_us, parse_ns, parse_us


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("40ms", 40_000_000),
        ("1.5ms", 1_500_000),
        ("150us", 150_000),
        ("150µs", 150_000),
        (" 2 s ", 2_000_000_000),
        ("0.5min", 30_000_000_000),
        ("7ns", 7),
        (".25ms", 250_000),
        ("0ms", 0),
        ("-0ms", 0),
        (timedelta(milliseconds=40), 40_000_000),
        (timedelta(microseconds=3), 3_000),
    ],
)
def test_a_time_with_a_unit_is_read_exactly(text: str | timedelta, nanoseconds: int) -> None:
    assert parse_ns(text, what="rtt") == nanoseconds


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (40, 'rtt=40 has no unit: write rtt="40ms" if milliseconds are meant'),
        (1.5, 'rtt=1.5 has no unit: write rtt="1.5ms" if milliseconds are meant'),
        ("40", 'rtt="40" has no unit: write rtt="40ms" if milliseconds are meant'),
        ("-5ms", 'rtt="-5ms" is negative, and a time cannot be: give it 0 or more'),
        (timedelta(milliseconds=-5), "a time cannot be negative"),
        ("40msec", 'has the unknown unit "msec": use one of ns, us, ms, s, min'),
        ("forty", 'rtt="forty" is not a time: write a number and a unit, such as rtt="40ms"'),
        ("", 'rtt="" is not a time'),
        ("1.0000001us", "is not a whole number of nanoseconds"),
        (True, "rtt=True is not a time"),
        (None, "rtt=None is not a time"),
        ([40], "rtt=[40] is not a time"),
    ],
)
def test_what_is_no_time_is_refused_with_the_remedy(value: object, sentence: str) -> None:
    with pytest.raises(ScenarioError) as refusal:
        parse_ns(value, what="rtt")
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_microseconds_refuse_a_part_of_one() -> None:
    assert parse_us("1.25ms", what="interval") == 1_250
    with pytest.raises(ScenarioError, match="not a whole number of microseconds"):
        parse_us("1500ns", what="interval")


@given(st.integers(min_value=0, max_value=10**15))
def test_what_is_written_reads_back(nanoseconds: int) -> None:
    assert parse_ns(format_ns(nanoseconds), what="rtt") == nanoseconds


@pytest.mark.parametrize(
    ("microseconds", "text"), [(40_000, "40ms"), (1_500, "1.5ms"), (150, "150us"), (0, "0ms"), (2_000_000, "2s")]
)
def test_a_time_is_written_in_its_largest_unit(microseconds: int, text: str) -> None:
    assert format_us(microseconds) == text
