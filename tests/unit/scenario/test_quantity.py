from __future__ import annotations

import pytest

from rttcheck.errors import ScenarioError
from rttcheck.scenario.quantity import parse_count, parse_flag, parse_percent, parse_rate


@pytest.mark.parametrize(
    ("text", "bits"),
    [("20mbit", 20_000_000), ("1.5kbit", 1_500), ("64bit", 64), ("1Gbit", 10**9), ("2mbit/s", 2_000_000)],
)
def test_a_rate_is_read_in_bits_a_second(text: str, bits: int) -> None:
    assert parse_rate(text, what="rate") == bits


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (20, "has no unit"),
        ("20", "has no unit"),
        ("20mbps", 'write bits a second, such as rate="20mbit"'),
        ("7bit", "is less than a byte a second"),
        ("-1mbit", "is less than a byte a second"),
        ("fast", "rate='fast' is not understood: write a string such as rate=\"20mbit\""),
        (True, "is not understood"),
    ],
)
def test_what_is_no_rate_is_refused_with_the_remedy(value: object, sentence: str) -> None:
    with pytest.raises(ScenarioError) as refusal:
        parse_rate(value, what="rate")
    assert sentence in str(refusal.value)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (0.01, 'write it with a percent sign, such as loss="0.01%"'),
        ("5", 'write it with a percent sign, such as loss="5%"'),
        ("101%", "give a share from 0% to 100%"),
        ("-1%", "give a share from 0% to 100%"),
    ],
)
def test_what_is_no_share_is_refused_with_the_remedy(value: object, sentence: str) -> None:
    with pytest.raises(ScenarioError) as refusal:
        parse_percent(value, what="loss")
    assert sentence in str(refusal.value)


def test_a_share_is_read_in_percent() -> None:
    assert [parse_percent(text, what="loss") for text in ("0%", "1.5 %", "100%")] == [0, 1.5, 100]


def test_a_count_has_a_range_and_is_no_bool() -> None:
    assert parse_count(5, what="count", least=1, most=5) == 5
    for value in (0, 6, True, "5", 5.0):
        with pytest.raises(ScenarioError, match="count="):
            parse_count(value, what="count", least=1, most=5)


def test_a_flag_is_true_or_false_and_nothing_else() -> None:
    assert parse_flag(False, what="offloads") is False
    with pytest.raises(ScenarioError, match="neither true nor false"):
        parse_flag("no", what="offloads")


def test_a_rate_of_nothing_is_no_limit() -> None:
    assert parse_rate("0mbit", what="rate") == 0


def test_a_share_that_netem_rounds_to_none_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"loss='0.00000001%' is less than netem can tell from none.* or leave it"):
        parse_percent("0.00000001%", what="loss")
    assert parse_percent("0.00000003%", what="loss") > 0
