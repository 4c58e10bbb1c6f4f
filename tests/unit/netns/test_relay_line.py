"""The relay's decisions, packet by packet: chances, due times, queues and rates, without a clock or a network."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import Counter

import pytest

from rttcheck_netns import Distribution, GilbertElliott, Netem, RandomLoss, StateLoss
from rttcheck_netns.relay.line import Admitted, Fate, Line

MS = 1_000_000
EVERYTHING = Netem(
    delay_ns=20 * MS,
    jitter_ns=3 * MS,
    distribution=Distribution.named("pareto"),
    loss=RandomLoss(5),
    duplicate=4,
    reorder=20,
    gap=3,
    limit=1 << 30,
)


def admitted(netem: Netem, seed: int, packets: int, *, gap_ns: int = MS, length: int = 100) -> list[list[Admitted]]:
    """What becomes of packets that come evenly, and for which there always is room."""
    line = Line(netem, seed)
    line.limit = 1 << 30
    return [line.admit(number * gap_ns, length) for number in range(packets)]


def held_ns(netem: Netem, packets: int = 20_000, seed: int = 1) -> list[int]:
    return [rows[0][0] - number * MS for number, rows in enumerate(admitted(netem, seed, packets))]


def losses(netem: Netem, packets: int, seed: int = 1) -> list[bool]:
    return [rows[0][1] is Fate.LOST for rows in admitted(netem, seed, packets)]


def test_a_packet_is_due_after_the_delay_to_the_nanosecond() -> None:
    assert admitted(Netem(delay_ns=333_333), 1, 3) == [[(n * MS + 333_333, Fate.PASSED, False)] for n in range(3)]


def test_without_an_impairment_a_packet_is_due_when_it_came() -> None:
    line = Line(None, 0)
    assert [line.admit(7, 1) for _ in range(5000)] == [[(7, Fate.PASSED, False)]] * 5000


def test_the_same_seed_gives_the_same_fates_whenever_packets_come() -> None:
    def fates(gap_ns: int, seed: int) -> list[list[tuple[int, Fate, bool]]]:
        return [
            [(due_ns and due_ns - number * gap_ns, fate, copy) for due_ns, fate, copy in rows]
            for number, rows in enumerate(admitted(EVERYTHING, seed, 3000, gap_ns=gap_ns))
        ]

    assert fates(MS, 7) == fates(12_345, 7)
    assert fates(MS, 7) != fates(MS, 8)


def test_a_full_queue_does_not_change_the_fate_of_later_packets() -> None:
    """The chances of a packet that finds no room are drawn all the same."""
    roomy, tight = Line(EVERYTHING, 7), Line(dataclasses.replace(EVERYTHING, limit=10), 7)
    for number in range(500):
        assert roomy.admit(number * MS, 100)
        tight.admit(number * MS, 100)
    tight.limit = 1 << 30
    for number in range(500, 1000):
        assert roomy.admit(number * MS, 100) == tight.admit(number * MS, 100)


def test_the_fates_of_a_seed_are_the_same_on_every_machine() -> None:
    lost = losses(Netem(loss=RandomLoss(10)), 100, seed=42)
    assert [number for number, gone in enumerate(lost) if gone] == [
        2,
        14,
        16,
        24,
        37,
        58,
        65,
        69,
        83,
        88,
        90,
        94,
        97,
        99,
    ]
    assert held_ns(Netem(delay_ns=10 * MS, jitter_ns=MS), 3, seed=42) == [9_565_716, 9_462_015, 10_553_517]


def test_uniform_jitter_stays_in_its_range_and_is_even() -> None:
    held = held_ns(Netem(delay_ns=10 * MS, jitter_ns=4 * MS))
    assert 6 * MS <= min(held) <= 6.01 * MS
    assert 13.99 * MS <= max(held) < 14 * MS
    # The mean of n uniform values has a standard deviation of 2 sigma / sqrt(12 n); five of them.
    assert abs(statistics.fmean(held) - 10 * MS) < 5 * 8 * MS / math.sqrt(12 * len(held))


def test_wide_uniform_jitter_has_no_bias() -> None:
    """netem's own is 24 ms short on average at 500 ms: 2**32 is no multiple of twice the jitter."""
    held = held_ns(Netem(delay_ns=1000 * MS, jitter_ns=500 * MS))
    assert abs(statistics.fmean(held) - 1000 * MS) < 5 * 1000 * MS / math.sqrt(12 * len(held))


@pytest.mark.parametrize("sigma", [MS, 4096, 8191, 12_345_678])
def test_a_table_is_drawn_from_with_the_kernels_rounding(sigma: int) -> None:
    table = (-32768, -4097, -1, 0, 1, 4095, 32767)
    held = set(held_ns(Netem(delay_ns=200 * MS, jitter_ns=sigma, distribution=Distribution("steps", table))))
    wanted = set()
    for entry in table:
        # tabledist() in C: truncating divisions of (sigma % 8192) * t, moved by half a divisor away from zero.
        moved = (sigma % 8192) * entry
        moved += 4096 if moved >= 0 else -4096
        wanted.add(200 * MS + math.trunc(moved / 8192) + (sigma // 8192) * entry)
    assert held == wanted


def test_every_entry_of_a_table_is_as_likely() -> None:
    held = Counter(held_ns(Netem(delay_ns=MS, jitter_ns=8192, distribution=Distribution("two", (0, 0, 0, 8192)))))
    share = held[MS + 8192] / held.total()
    assert abs(share - 0.25) < 5 * math.sqrt(0.25 * 0.75 / held.total())


def test_jitter_beyond_the_delay_never_makes_a_packet_early() -> None:
    held = held_ns(Netem(delay_ns=MS, jitter_ns=10 * MS), 1000)
    assert min(held) == 0
    assert max(held) > 10 * MS


@pytest.mark.parametrize("percent", [0.5, 10, 70])
def test_random_loss_has_its_share(percent: float) -> None:
    lost = losses(Netem(loss=RandomLoss(percent)), 20_000)
    chance = percent / 100
    assert abs(statistics.fmean(lost) - chance) < 5 * math.sqrt(chance * (1 - chance) / len(lost))


def test_correlated_loss_collapses_as_netems_does() -> None:
    """get_crandom() averages with the number before, so the extremes, which are what is lost, become rare."""
    share = statistics.fmean(losses(Netem(loss=RandomLoss(5, 25)), 50_000))
    assert 0.0010 < share < 0.0035


def test_certain_loss_loses_everything() -> None:
    assert all(losses(Netem(loss=RandomLoss(100)), 1000))


def test_the_state_model_loses_in_bursts_and_alone() -> None:
    runs = run_lengths(losses(Netem(loss=StateLoss(1, 50)), 100_000))
    # From "lost in burst" half of the packets leave: bursts of two on average, as many as chances to start one.
    assert abs(statistics.fmean(runs) - 2) < 0.2
    alone = run_lengths(losses(Netem(loss=StateLoss(0, 1, p14=2)), 50_000))
    assert set(alone) == {1}
    assert abs(len(alone) / 50_000 - 0.02 / 1.02) < 0.003


def test_a_burst_of_the_state_model_can_have_packets_that_come_through() -> None:
    lost = losses(Netem(loss=StateLoss(100, 0, p32=50, p23=50)), 20_000)
    assert lost[0]
    assert abs(statistics.fmean(lost) - 0.5) < 0.03


def test_gilbert_elliott_delivers_h_in_the_bad_state_and_loses_k_in_the_good_one() -> None:
    always_bad = losses(Netem(loss=GilbertElliott(100, 0, 30)), 20_000)
    assert abs(statistics.fmean(always_bad) - 0.7) < 0.02
    always_good = losses(Netem(loss=GilbertElliott(0, 100, 0, 10)), 20_000)
    assert abs(statistics.fmean(always_good) - 0.1) < 0.02
    runs = run_lengths(losses(Netem(loss=GilbertElliott(1, 25)), 100_000))
    assert abs(statistics.fmean(runs) - 4) < 0.5


def run_lengths(lost: list[bool]) -> list[int]:
    """How many packets are lost in a row, each time."""
    text = "".join("x" if gone else " " for gone in lost)
    return [len(run) for run in text.split()]


def test_a_copy_goes_first_and_has_a_delay_of_its_own() -> None:
    rows = admitted(Netem(delay_ns=10 * MS, jitter_ns=MS, duplicate=100), 1, 200)
    assert all([copy for _, _, copy in row] == [True, False] for row in rows)
    assert sum(row[0][0] != row[1][0] for row in rows) > 190


def test_lost_and_duplicated_at_once_is_one_packet() -> None:
    rows = admitted(Netem(delay_ns=MS, duplicate=100, loss=RandomLoss(100)), 1, 5)
    assert rows == [[(number * MS + MS, Fate.PASSED, False)] for number in range(5)]


def test_a_copy_can_be_lost_by_itself() -> None:
    rows = admitted(Netem(delay_ns=MS, duplicate=100, loss=RandomLoss(50)), 1, 400)
    seen = Counter(tuple((fate, copy) for _, fate, copy in row) for row in rows)
    assert seen.keys() == {
        ((Fate.PASSED, False),),
        ((Fate.LOST, True), (Fate.PASSED, False)),
        ((Fate.PASSED, True), (Fate.PASSED, False)),
    }


def test_with_a_gap_every_so_manieth_packet_overtakes() -> None:
    rows = admitted(Netem(delay_ns=10 * MS, reorder=100, gap=5), 1, 20)
    assert [rows.index(row) for row in rows if row[0][1] is Fate.REORDERED] == [4, 9, 14, 19]
    assert rows[4][0][0] == 4 * MS


def test_without_a_gap_reordering_is_by_chance() -> None:
    rows = admitted(Netem(delay_ns=10 * MS, reorder=25), 1, 20_000)
    share = statistics.fmean(row[0][1] is Fate.REORDERED for row in rows)
    assert abs(share - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 20_000)


def test_a_rate_spaces_packets_by_their_length() -> None:
    # 1,000,000 bytes/s: 1000 bytes take 1 ms; all come at once, then one when the line is free again.
    line = Line(Netem(delay_ns=10 * MS, rate_bytes=1_000_000), 0)
    assert [line.admit(0, length)[0][0] for length in (1000, 500, 1500)] == [11 * MS, 11 * MS + MS // 2, 13 * MS]
    assert line.admit(40 * MS, 1000)[0][0] == 51 * MS


def test_a_rate_takes_the_wait_in_the_queue_off_the_delay() -> None:
    """netem_enqueue(): ``delay -= last->time_to_send - now``."""
    line = Line(Netem(delay_ns=10 * MS, rate_bytes=1_000_000), 0)
    assert line.admit(0, 50_000)[0][0] == 60 * MS
    assert line.admit(MS, 1000)[0][0] == 61 * MS
    assert line.admit(55 * MS, 1000)[0][0] == 66 * MS


def test_a_rate_keeps_jittered_packets_in_order() -> None:
    due = [row[0][0] for row in admitted(Netem(delay_ns=20 * MS, jitter_ns=15 * MS, rate_bytes=10_000_000), 1, 500)]
    assert due == sorted(due)
    without = [row[0][0] for row in admitted(Netem(delay_ns=20 * MS, jitter_ns=15 * MS), 1, 500)]
    assert without != sorted(without)


def test_overhead_and_cells_count_for_the_rate() -> None:
    line = Line(Netem(rate_bytes=53_000, packet_overhead=10, cell_size=48, cell_overhead=5), 0)
    # 90 + 10 bytes are three cells of 53 bytes.
    assert line.admit(0, 90)[0][0] == 3 * MS


def test_the_limit_counts_what_waits() -> None:
    line = Line(Netem(delay_ns=10 * MS, limit=3), 0)
    fates = [line.admit(number, 100)[0][1] for number in range(5)]
    assert fates == [Fate.PASSED] * 3 + [Fate.OVERFLOW] * 2
    line.waiting -= 1
    assert [line.admit(9, 100)[0][1] for _ in range(2)] == [Fate.PASSED, Fate.OVERFLOW]


def test_copies_take_room_in_the_queue() -> None:
    line = Line(Netem(delay_ns=10 * MS, duplicate=100, limit=4), 0)
    assert [fate for _, fate, _ in line.admit(0, 100)] == [Fate.PASSED] * 2
    assert [fate for _, fate, _ in line.admit(0, 100)] == [Fate.PASSED] * 2
    assert [fate for _, fate, _ in line.admit(0, 100)] == [Fate.OVERFLOW]
    assert line.waiting == 4


def test_a_lost_packet_takes_no_room() -> None:
    line = Line(Netem(delay_ns=10 * MS, loss=RandomLoss(100), limit=1), 0)
    assert {line.admit(0, 100)[0][1] for _ in range(10)} == {Fate.LOST}
    assert line.waiting == 0
