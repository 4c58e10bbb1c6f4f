"""Packets that are late in real time, with timers of the same seconds that are late or not."""

from __future__ import annotations

import dataclasses

import pytest

from rttcheck.judge.findings import Outcome
from rttcheck.judge.link.noise import at_least_of
from tests.support.planted_link import checked, finding, linked, shifted, timed

MS = 1_000_000
LATER = "link.never-late"


@pytest.mark.parametrize("way", ["out", "back"])
def test_in_real_time_half_of_the_packets_may_be_a_tenth_of_a_millisecond_late(way: str) -> None:
    def late(by_us: int, ticks_us: int = 30) -> Outcome:
        recording = timed(linked(clock="real"), lambda _: 1_000 * ticks_us, count=4_000)
        shift = shifted(recording, way, lambda rows, _: 1_000 * by_us + 0 * rows["tsval"])
        return finding(checked(shift), LATER).outcome

    assert late(90) is Outcome.PASSED
    assert late(200) is Outcome.FAILED
    # Two waits of 120 us are more; timers that are as late explain it, which is no proof.
    assert late(200, ticks_us=120) is Outcome.INCONCLUSIVE
    assert late(3_000, ticks_us=120) is Outcome.FAILED


def test_in_real_time_without_timers_late_packets_are_inconclusive() -> None:
    recording = linked(rtt="20ms", truth={"rtt": "26ms"}, clock="real")
    assert finding(checked(recording), LATER).outcome is Outcome.FAILED
    found = finding(checked(dataclasses.replace(recording, noise=recording.noise[:0])), LATER)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.message.endswith("but no timers were measured during the run")


@pytest.mark.parametrize("by_us", [200, 1_000])
def test_in_real_time_as_many_packets_are_late_as_timers_and_no_more(by_us: int) -> None:
    def late(every: int, ticks_every: int) -> Outcome:
        recording = timed(linked(clock="real"), lambda n: 1_000 * (30 if n % ticks_every else by_us + 50), count=4_000)
        for way in ("out", "back"):
            recording = shifted(recording, way, lambda rows, _: 1_000 * by_us * (rows["tsval"] % every == 3))
        return finding(checked(recording), LATER).outcome

    assert late(every=10, ticks_every=4_001) is Outcome.FAILED
    assert late(every=200, ticks_every=4_001) is Outcome.PASSED
    assert late(every=10, ticks_every=10) is Outcome.PASSED


def test_in_real_time_few_timers_are_inconclusive() -> None:
    recording = timed(linked(clock="real"), lambda _: 30_000, count=100)
    late = shifted(recording, "out", lambda rows, _: MS * (rows["tsval"] % 6 == 3))
    found = finding(checked(late), LATER)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "too few to decide" in found.message


def test_in_real_time_timers_of_the_control_runs_count_for_single_packets() -> None:
    recording = timed(linked(clock="real"), lambda _: 30_000, count=60)
    late = shifted(recording, "out", lambda rows, _: MS * (rows["tsval"] % 10 == 3))
    around = timed(late, lambda _: 30_000, count=4_000).noise
    assert finding(checked(dataclasses.replace(late, timers=around)), LATER).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("count", "drawn", "marked", "total", "chance"),
    [
        (0, 5, 3, 10, 1.0),
        # All three marked ones among the five drawn of ten: C(7, 2) / C(10, 5).
        (3, 5, 3, 10, 21 / 252),
        (2, 5, 3, 10, (21 + 105) / 252),
        (1, 9, 2, 10, 1.0),
    ],
)
def test_the_chance_of_so_many_marked_ones(count: int, drawn: int, marked: int, total: int, chance: float) -> None:
    assert at_least_of(count, drawn, marked, total) == pytest.approx(chance)


def test_in_real_time_the_cost_of_waking_up_is_inconclusive() -> None:
    recording = timed(linked(rtt="21ms", clock="real"), lambda _: 30_000, count=4_000)
    # Packets come every 2 ms: with 10.5 ms each way none leaves when another comes.
    shift = shifted(recording, "out", lambda rows, _: 150_000 + 0 * rows["tsval"])
    found = finding(checked(shift), LATER)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.message.endswith("less than 170 us may be the cost of waking up")
