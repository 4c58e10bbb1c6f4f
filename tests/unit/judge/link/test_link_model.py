"""The engine's model of times: against netem's arithmetic written by hand, number by number."""

from __future__ import annotations

import random

import numpy as np
import pytest

from rttcheck.judge.link.model import frame_lengths, netem_delay, netem_due
from rttcheck.record.packet import SYN, Point
from rttcheck_netns.distribution import NAMED, Distribution
from rttcheck_netns.netem import Netem
from tests.support.planted_link import netem_by_hand, packet, tabledist

MS = 1_000_000
WORDS = 1 << 32


def test_a_constant_delay_is_one_value() -> None:
    delay = netem_delay(Netem(delay_ns=7 * MS))
    assert delay.constant
    assert (delay.lowest_ns, delay.highest_ns, delay.mean_ns) == (7 * MS, 7 * MS, 7 * MS)
    assert delay.share_below(np.array([7 * MS, 7 * MS + 1])).tolist() == [0.0, 1.0]
    assert delay.share_up_to(np.array([7 * MS - 1, 7 * MS])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("jitter", [8 * MS, 1_500 * MS])
def test_a_uniform_delay_has_the_bias_of_the_kernels_modulo(jitter: int) -> None:
    netem = Netem(delay_ns=3_000 * MS, jitter_ns=jitter)
    delay = netem_delay(netem)
    assert (delay.lowest_ns, delay.highest_ns) == (3_000 * MS - jitter, 3_000 * MS + jitter - 1)
    whole, rest = divmod(WORDS, 2 * jitter)
    # All 2^32 words, summed: each remainder `whole` times, and those below `rest` once more.
    total = whole * (jitter * (2 * jitter - 1)) + rest * (rest - 1) // 2
    assert delay.mean_ns == pytest.approx(3_000 * MS - jitter + total / WORDS, abs=jitter / 1_000)
    for remainder in (0, 1, rest - 1, rest, rest + 1, jitter, 2 * jitter - 1):
        words = remainder * whole + min(remainder, rest)
        time_ns = np.array([3_000 * MS - jitter + remainder])
        assert delay.share_below(time_ns)[0] == pytest.approx(words / WORDS, abs=1e-15)
        last = words + whole + (remainder < rest)
        assert delay.share_up_to(time_ns)[0] == pytest.approx(last / WORDS, abs=1e-15)


def test_the_bias_of_a_wide_uniform_delay_is_no_trifle() -> None:
    """1.5 s: 2^32 is 1.43 times the span, so that 43 % of the remainders come up twice as often."""
    delay = netem_delay(Netem(delay_ns=3_000 * MS, jitter_ns=1_500 * MS))
    assert delay.share_below(np.array([3_000 * MS]))[0] == pytest.approx(0.65, abs=0.01)


@pytest.mark.parametrize("name", NAMED)
def test_a_table_gives_what_the_kernels_integers_give_for_each_entry(name: str) -> None:
    netem = Netem(delay_ns=90 * MS, jitter_ns=5_000_321, distribution=Distribution.named(name))
    assert netem.distribution is not None
    drawn = sorted(tabledist(netem, word) for word in range(len(netem.distribution.table)))
    delay = netem_delay(netem)
    assert delay.values_ns.astype(int).tolist() == drawn
    assert (delay.lowest_ns, delay.highest_ns) == (drawn[0], drawn[-1])
    middle = np.array([drawn[1_000]])
    assert delay.share_up_to(middle)[0] == pytest.approx(sum(each <= middle[0] for each in drawn) / len(drawn))
    assert delay.share_below(middle)[0] == pytest.approx(sum(each < middle[0] for each in drawn) / len(drawn))


def test_a_table_whose_size_divides_no_power_of_two_favours_its_first_entries() -> None:
    delay = netem_delay(Netem(delay_ns=MS, jitter_ns=8_192, distribution=Distribution("three", (5, -7, 9))))
    assert delay.values_ns.tolist() == [MS - 7, MS + 5, MS + 9]
    whole = WORDS // 3
    assert (delay.weights * WORDS).tolist() == [whole, whole + 1, whole]  # 2^32 is one more than three times that


def test_negative_delays_are_zero() -> None:
    delay = netem_delay(Netem(delay_ns=MS, jitter_ns=4 * MS))
    assert delay.lowest_ns == 0
    assert delay.values_ns.min() == 0
    assert delay.share_up_to(np.array([0]))[0] == pytest.approx(3 / 8, rel=1e-3)
    assert delay.share_below(np.array([0]))[0] == 0.0
    # Uniform over -3 to 5 ms, cut at 0: 25/16 ms in the mean.
    assert delay.mean_ns == pytest.approx(25 / 16 * MS, rel=1e-3)


@pytest.mark.parametrize(
    "netem",
    [Netem(delay_ns=10 * MS), Netem(delay_ns=10 * MS, rate_bytes=250_000), Netem(rate_bytes=1_000_000)],
    ids=["delay", "both", "rate"],
)
def test_packets_are_due_when_the_queue_by_hand_sends_them(netem: Netem) -> None:
    dice = random.Random(1)
    now, came = 0, []
    for _ in range(300):
        now += dice.choice((3_000, 200_000, 9 * MS))
        came.append((now, dice.choice((66, 1_514))))
    truth = [fate[0] for fate in netem_by_hand(netem, came, dice)]
    entered, lengths = (np.array(column, dtype=np.int64) for column in zip(*came, strict=True))
    assert netem_due(netem, entered, lengths, netem.delay_ns).tolist() == truth


def test_early_stamps_never_make_a_packet_due_later() -> None:
    netem = Netem(delay_ns=MS, rate_bytes=250_000)
    source = np.random.default_rng(2)
    entered = np.sort(source.integers(0, 500 * MS, 400))
    lengths = source.integers(60, 1_514, 400)
    due = netem_due(netem, entered, lengths, MS)
    early = np.sort(entered - source.integers(0, 5_000, 400))
    assert (netem_due(netem, early, lengths, MS) <= due).all()
    assert netem_due(netem, entered[:0], lengths[:0], MS).tolist() == []


def length(mtu: int = 1_500, family: int = 4, **fields: int) -> tuple[int, int]:
    row = packet("out", Point.LINK_NEAR, 0, 1, 0, outgoing=0)
    for name, value in fields.items():
        row[name] = value
    least, most = frame_lengths(row, family=family, mtu=mtu)
    return int(least[0]), int(most[0])


def test_frames_are_as_long_as_a_qdisc_counts_them() -> None:
    assert length(has_ts=0) == (54, 54)
    assert length(payload=1_448) == (1_514, 1_514)
    assert length(family=6) == (86, 86)
    assert length(sack_blocks=2) == (66 + 20, 66 + 20)
    assert length(flags=SYN) == (70, 94)  # 74 where windows are scaled, which no row tells


def test_a_packet_larger_than_the_mtu_counts_with_the_headers_of_all_segments() -> None:
    least, most = length(payload=3 * 1_448)
    assert least == 3 * 1_514
    assert most == 3 * 1_514 + 66
    assert length(payload=1_449)[0] == 1_449 + 2 * 66
