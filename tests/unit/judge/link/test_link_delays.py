"""Random delays that are as configured, and that are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rttcheck.judge.findings import Finding, Outcome
from rttcheck.judge.link.delays import DelaySample, check_delays
from rttcheck.judge.link.model import Delay, netem_delay
from rttcheck_netns.distribution import Distribution
from rttcheck_netns.netem import Netem
from tests.support.planted_link import START_NS, checked, failed, finding, linked, shifted

MS = 1_000_000
AROUND, SCATTER, SHAPE, ALONG = "link.delay-mean", "link.delay-scatter", "link.delay-distribution", "link.delay-steady"

NORMAL: dict[str, Any] = {"rtt": "80ms", "jitter": "5ms", "distribution": "normal"}
UNIFORM: dict[str, Any] = {"rtt": "40ms", "jitter": "8ms"}


@pytest.mark.parametrize("keywords", [NORMAL, UNIFORM, {**NORMAL, "distribution": "paretonormal"}])
@pytest.mark.parametrize("dice", range(4))
def test_delays_as_configured_pass(keywords: dict[str, Any], dice: int) -> None:
    checks = checked(linked(**keywords, dice=dice, count=100 + 200 * dice))
    assert failed(checks) == []
    assert sum(each.key.startswith("link.delay-") for each in checks.findings) == 4


FAULTS: dict[str, tuple[dict[str, Any], dict[str, Any], str, int]] = {
    "5 % more": (NORMAL, {**NORMAL, "rtt": "84ms"}, AROUND, 200),
    "5 % less": (NORMAL, {**NORMAL, "rtt": "76ms"}, AROUND, 200),
    "1 ms more": (NORMAL, {**NORMAL, "rtt": "82ms"}, AROUND, 900),
    "1 ms less": (NORMAL, {**NORMAL, "rtt": "78ms"}, AROUND, 900),
    "half the jitter": (NORMAL, {**NORMAL, "jitter": "2500us"}, SCATTER, 60),
    "half the uniform jitter": (UNIFORM, {**UNIFORM, "jitter": "4ms"}, SCATTER, 100),
    "a third more jitter": (NORMAL, {**NORMAL, "jitter": "6700us"}, SCATTER, 200),
    "uniform for normal": (NORMAL, {"rtt": "80ms", "jitter": "5ms"}, SCATTER, 100),
    "pareto for normal": (NORMAL, {**NORMAL, "distribution": "pareto"}, SHAPE, 100),
    "normal for uniform": (
        {**UNIFORM, "jitter": "4ms"},
        {"rtt": "40ms", "jitter": "4ms", "distribution": "normal"},
        SCATTER,
        100,
    ),
    "uniform of the same spread for normal": (NORMAL, {"rtt": "80ms", "jitter": "8660us"}, SHAPE, 900),
}


@pytest.mark.parametrize("name", FAULTS)
def test_other_delays_are_found(name: str) -> None:
    asked, real, check, count = FAULTS[name]
    found = finding(checked(linked(**asked, truth=real, count=count)), check)
    assert found.outcome is Outcome.FAILED, found.seen
    assert "false alarm in 1 of 1,000,000 runs" in found.expected


def test_a_delay_that_moves_in_mid_run_is_found_though_its_mean_is_right() -> None:
    recording = linked(**NORMAL, count=400)
    middle = START_NS + 400 * MS
    for way in ("out", "back"):
        recording = shifted(recording, way, lambda _, left: np.where(left < middle, -2 * MS, 2 * MS))
    checks = checked(recording)
    assert finding(checks, AROUND).outcome is Outcome.PASSED
    found = finding(checks, ALONG)
    assert found.outcome is Outcome.FAILED
    assert " half: the mean of 200 delays is " in found.message


def test_a_fault_of_both_directions_shows_in_both_together() -> None:
    checks = checked(linked(**NORMAL, truth={**NORMAL, "rtt": "83800us"}, count=200, dice=3))
    assert finding(checks, AROUND).message.startswith("both ways: the mean of 400 delays is +")


def test_what_the_machine_adds_is_no_shift_of_the_delays() -> None:
    """8 us on a jitter of 40 us is a fifth of it."""
    keywords: dict[str, Any] = {"rtt": "2ms", "jitter": "40us", "count": 900}
    assert failed(checked(linked(**keywords, late_ns=8_000))) == []


def test_in_real_time_longer_delays_are_inconclusive_and_shorter_ones_fail() -> None:
    def noisy(share: float, check: str = AROUND) -> Finding:
        """So many in ten of the packets are late by 30 ms."""
        recording = linked(**NORMAL, clock="real", count=400)
        for way in ("out", "back"):
            recording = shifted(recording, way, lambda rows, _: 30 * MS * (rows["tsval"] % 100 < 10 * share))
        return finding(checked(recording), check)

    assert noisy(0).outcome is Outcome.PASSED
    assert noisy(0.3).outcome is Outcome.PASSED
    assert noisy(0.3, SHAPE).outcome is Outcome.PASSED
    assert noisy(6).outcome is Outcome.INCONCLUSIVE
    assert "which the machine may have caused" in noisy(6).message
    early = linked(**NORMAL, truth={**NORMAL, "rtt": "76ms"}, clock="real", count=400)
    assert finding(checked(early), AROUND).outcome is Outcome.FAILED


def test_two_packets_are_too_few() -> None:
    checks = checked(linked(rtt=None, out={"delay": "40ms", "jitter": "8ms"}, count=2))
    assert finding(checks, AROUND).outcome is Outcome.INCONCLUSIVE
    assert "2 packets are too few" in finding(checks, AROUND).message


@pytest.mark.parametrize(
    ("more", "words"),
    [({"delay_correlation": "30%"}, "delays are correlated"), ({"rate": "5mbit"}, "behind a rate")],
)
def test_dependent_delays_are_checked_against_their_bounds_only(more: dict[str, Any], words: str) -> None:
    checks = checked(linked(**UNIFORM, **more))
    assert not [each for each in checks.findings if each.key.startswith("link.delay-")]
    assert any(words in note for note in checks.notes)


@pytest.mark.parametrize(("place", "words"), [(0, "out: the shortest "), (-1, "out: the longest ")])
def test_a_few_delays_too_many_at_one_end_are_found_by_their_rank(place: int, words: str) -> None:
    delay = netem_delay(Netem(delay_ns=40 * MS, jitter_ns=5 * MS, distribution=Distribution.named("normal")))
    held = np.random.default_rng(2).choice(delay.values_ns, 300).astype(np.int64)
    held[:12] = np.sort(delay.values_ns)[place]
    around, _, shape, _ = check_delays([DelaySample(way="out", delay=delay, least_ns=held, most_ns=held)], virtual=True)
    assert around.outcome is Outcome.PASSED
    assert shape.outcome is Outcome.FAILED
    assert shape.message.startswith(words)


def test_steps_have_delays_of_their_own() -> None:
    wide = netem_delay(Netem(delay_ns=40 * MS, jitter_ns=8 * MS))
    narrow = netem_delay(Netem(delay_ns=20 * MS, jitter_ns=2 * MS))
    source = np.random.default_rng(7)

    def sample(delay: Delay, drawn: Delay) -> DelaySample:
        held = source.choice(drawn.values_ns, 150).astype(np.int64)
        return DelaySample(way="out", delay=delay, least_ns=held, most_ns=held + 5_000)

    assert [each.outcome for each in check_delays([sample(wide, wide), sample(narrow, narrow)], virtual=True)] == [
        Outcome.PASSED
    ] * 4
    mixed_up = check_delays([sample(wide, narrow), sample(narrow, wide)], virtual=True)
    assert {each.outcome for each in mixed_up} == {Outcome.FAILED}


@pytest.mark.parametrize(
    "netem",
    [
        Netem(delay_ns=40 * MS, jitter_ns=5 * MS, distribution=Distribution.named("normal")),
        Netem(delay_ns=40 * MS, jitter_ns=8 * MS),
    ],
    ids=["normal", "uniform"],
)
def test_sound_delays_hardly_ever_fail(netem: Netem) -> None:
    """None of a hundred runs of four checks may fail: at 1 in 1,000,000 a check that happens in 1 of 2,500."""
    delay = netem_delay(netem)
    source = np.random.default_rng(11)
    for _ in range(100):
        held = source.choice(delay.values_ns, 60).astype(np.int64)
        samples = [DelaySample(way="out", delay=delay, least_ns=held, most_ns=held)]
        assert {each.outcome for each in check_delays(samples, virtual=True)} == {Outcome.PASSED}


def test_one_packet_later_than_possible_is_a_matter_of_lateness_alone() -> None:
    recording = linked(jitter="1ms")
    rows = recording.wire
    number = rows["seq"][rows["point"] == 2][7]
    entered_ns = rows["time_ns"][(rows["point"] == 1) & (rows["seq"] == number)].min()

    def late(left: np.ndarray, times_ns: np.ndarray) -> np.ndarray:
        # 11 ms is the longest. Two packets of a run may be up to 100 us late.
        return np.where(left["seq"] == number, 11_090_000 - (times_ns - entered_ns), 0)

    checks = checked(shifted(recording, "out", late))
    assert finding(checks, "link.never-late").outcome is Outcome.PASSED
    assert finding(checks, "link.delay-distribution").outcome is Outcome.PASSED
