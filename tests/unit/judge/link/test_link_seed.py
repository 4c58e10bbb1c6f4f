"""Delays that are known from netem's seed: its numbers, and packets that leave at other times."""

from __future__ import annotations

import dataclasses
import random
import re
from typing import Any

import numpy as np
import pytest

from rttcheck.judge.findings import Outcome
from rttcheck.judge.link.seed import draws, due_by_seed, seed_of
from rttcheck.record.recording import Recording
from rttcheck_netns.netem import Netem
from tests.support.planted_link import Fate, checked, failed, finding, linked, netem_by_hand, shifted

SEED = 4_288_752_190_089_918_955
SOONER, LATER = "link.never-early", "link.never-late"
UNIFORM: dict[str, Any] = {"rtt": "40ms", "jitter": "8ms"}
NORMAL: dict[str, Any] = {"rtt": "80ms", "jitter": "5ms", "distribution": "normal"}


@pytest.mark.parametrize(
    ("seed", "numbers"),
    [
        # Of the kernel's own C, compiled apart.
        (0, [1574944, 268744, 1109394980, 8552980, 826355289, 2421007874]),
        (1, [276959246, 18909696, 2298495022, 9442690, 3222971081, 2202869889]),
        (5, [1385844791, 94536320, 788611284, 63984522, 2154963405, 2935727749]),
        (SEED, [531026364, 602206466, 2077959284, 630585186, 1770259739, 3150772304]),
    ],
)
def test_the_numbers_are_the_kernels(seed: int, numbers: list[int]) -> None:
    assert draws(seed, 6).tolist() == numbers


def test_a_seed_is_what_the_kernel_holds() -> None:
    assert seed_of(str(Netem(delay_ns=1, seed=17))) == 17
    assert seed_of(str(Netem(delay_ns=1))) is None
    assert seed_of("") is None


class Numbers(random.Random):
    """Gives netem's numbers, without those of other packets."""

    def __init__(self, seed: int, others: tuple[int, ...]) -> None:
        super().__init__(0)
        self._left = [word for place, word in enumerate(draws(seed, 500).tolist()) if place not in others]

    def getrandbits(self, _bits: int, /) -> int:
        return int(self._left.pop(0))


SEED_CHECK = "link.delay-seed"


def seeded(*others: int, clock: str = "virtual", **keywords: Any) -> Recording:
    """A recording of a link that drew with `SEED` each way; the ``others`` numbers went to uncaptured packets."""

    def link(netem: Netem, packets: list[tuple[int, int]], _dice: random.Random) -> list[Fate]:
        return netem_by_hand(netem, packets, Numbers(SEED, others))

    recording = linked(link=link, clock=clock, **keywords)
    held = {"out": str(Netem(delay_ns=1, seed=SEED)), "back": str(Netem(delay_ns=1, seed=SEED))}
    packets = {name: {"packets": 120 + len(others), "bytes": 0} for name in held}
    return dataclasses.replace(recording, netem={**recording.netem, "held": held, "statistics": packets})


@pytest.mark.parametrize("keywords", [UNIFORM, NORMAL, {**NORMAL, "distribution": "pareto"}])
@pytest.mark.parametrize("others", [(), (0, 1), (0, 60, 61)])
def test_a_netem_that_draws_with_its_seed_passes(keywords: dict[str, Any], others: tuple[int, ...]) -> None:
    recording = seeded(*others, **keywords)
    assert failed(checked(recording)) == []
    found = finding(checked(recording), LATER)
    assert len(re.findall(r"median 4\.[89] us after", found.seen)) == 2


@pytest.mark.parametrize("keywords", [UNIFORM, NORMAL])
@pytest.mark.parametrize("others", [(), (0, 60, 61)])
@pytest.mark.parametrize("way", ["out", "back"])
def test_a_shift_far_smaller_than_the_jitter_is_found(
    keywords: dict[str, Any], others: tuple[int, ...], way: str
) -> None:
    recording = seeded(*others, **keywords)
    late = shifted(recording, way, lambda rows, _: 20_000 + 0 * rows["tsval"])
    assert failed(checked(late)) == ["link.never-late"]
    early = shifted(recording, way, lambda _, left: np.full(len(left), -20_000))
    assert "link.never-early" in failed(checked(early))


def test_one_in_ten_packets_a_millisecond_late_are_found() -> None:
    late = shifted(seeded(0, **UNIFORM), "out", lambda rows, _: 1_000_000 * (rows["tsval"] % 10 == 3))
    assert finding(checked(late), LATER).outcome is Outcome.FAILED


def test_without_a_seed_or_with_another_such_a_shift_is_lost_in_the_jitter() -> None:
    recording = seeded(**UNIFORM)
    late = shifted(recording, "out", lambda rows, _: 20_000 + 0 * rows["tsval"])
    for held in ("Netem(seed=None)", "Netem(seed=3)", ""):
        unknown = {**late.netem, "held": {"out": held, "back": held}}
        assert failed(checked(dataclasses.replace(late, netem=unknown))) == []


def test_draws_are_matched_only_where_each_packet_takes_one_number() -> None:
    came = np.arange(100, dtype=np.int64) * 1_000_000
    jittery = Netem(delay_ns=20_000_000, jitter_ns=4_000_000)
    left = came + 16_000_000 + draws(SEED, 100) % 8_000_000 + 5_000
    held = str(dataclasses.replace(jittery, seed=SEED))
    assert (due_by_seed(jittery, held, came, left, 0) == left - 5_000).all()
    for other in ({"reorder": 10.0, "gap": 1}, {"duplicate": 1.0}, {"rate_bytes": 1_000}, {"delay_correlation": 25.0}):
        assert not due_by_seed(dataclasses.replace(jittery, **other), held, came, left, 0).any()
    # So narrow a jitter that every draw would fit.
    narrow = Netem(delay_ns=20_000_000, jitter_ns=100_000)
    assert not due_by_seed(narrow, held, came, came + 20_000_000, 0).any()


@pytest.mark.parametrize("keywords", [UNIFORM, NORMAL])
@pytest.mark.parametrize("others", [(), (0, 60, 61)])
def test_delays_that_follow_the_seed_and_are_off_by_more_than_a_replay_follows_are_a_failure(
    keywords: dict[str, Any], others: tuple[int, ...]
) -> None:
    late = shifted(seeded(*others, **keywords), "out", lambda rows, _: 2_000_000 + 0 * rows["tsval"])
    found = finding(checked(late), SEED_CHECK)
    assert found.outcome is Outcome.FAILED
    assert re.search(r"with an offset, in the median out by \+20\d\d\.\d us", found.message)


def test_delays_that_do_not_follow_the_seed_are_not_passed() -> None:
    recording = seeded(**UNIFORM)
    other = {**recording.netem, "held": dict.fromkeys(("out", "back"), "Netem(seed=3)")}
    found = finding(checked(dataclasses.replace(recording, netem=other)), SEED_CHECK)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert finding(checked(recording), SEED_CHECK).outcome is Outcome.PASSED
