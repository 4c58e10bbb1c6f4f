"""How many pauses of the processor a set of late values needs."""

from __future__ import annotations

import numpy as np
import pytest

from rttcheck.judge.machine.noise import Late
from rttcheck.judge.machine.stall import LONGEST_NS, PREEMPTED_NS, REST_NS, at_few_moments, explained, pauses


def windows(*pairs: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    begin, end = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return begin, end


@pytest.mark.parametrize(
    ("pairs", "needed"),
    [
        ([], 0),
        ([(0, 10)], 1),
        ([(0, 10), (5, 20), (8, 9)], 1),
        ([(0, 10), (11, 20)], 2),
        # Neighbours overlap, but no moment lies in all three.
        ([(0, 10), (9, 20), (19, 30)], 2),
        ([(19, 30), (0, 10), (9, 20)], 2),
    ],
)
def test_the_least_number_of_pauses(pairs: list[tuple[int, int]], needed: int) -> None:
    assert pauses(*windows(*pairs)) == needed


def late(*pairs: tuple[int, int], excess: tuple[int, ...] = (400_000, 300_000), total: int = 100) -> Late:
    begin, end = windows(*pairs)
    return Late(begin_ns=begin, end_ns=end, excess_ns=np.array(excess, dtype=np.int64), total=total)


def test_what_one_short_pause_explains_is_a_few_values_at_one_time() -> None:
    assert explained(late((0, 10), (5, 20)))
    assert explained(late((0, 10), (10 + REST_NS, 20 + REST_NS))), "the processor had no rest between the two"
    assert not explained(late((0, 10), (11 + REST_NS, 20 + REST_NS)))
    assert not explained(late((0, 10), (5, 20), total=3))
    assert not explained(late((0, 10), (5, 20), excess=(400_000, LONGEST_NS + 1)))
    assert not explained(late(excess=()))


def test_preemption_explains_few_values_at_several_times() -> None:
    two = ((0, 10), (11 + REST_NS, 20 + REST_NS))
    assert explained(late(*two), preemption="preemption (lazy)") == "preemption (lazy)"
    assert "one pause" in explained(late((0, 10), (5, 20)), preemption="preemption (lazy)")
    assert not explained(late(*two, total=39), preemption="preemption (lazy)")
    for longest_ns, explains in ((LONGEST_NS + 1, True), (PREEMPTED_NS, True), (PREEMPTED_NS + 1, False)):
        found = explained(late(*two, excess=(400_000, longest_ns)), preemption="preemption (lazy)")
        assert bool(found) is explains
    assert not explained(late(excess=()), preemption="preemption (lazy)")


def test_synchronous_flows_in_one_pause_are_late_at_one_of_many_moments() -> None:
    due = np.repeat(np.arange(10, dtype=np.int64) * 40_000_000, [1] * 8 + [16, 16])
    stalled = late(*[(int(at), int(at) + 18_000_000) for at in due[-16:]], excess=(18_000_000,) * 16, total=len(due))
    assert at_few_moments(due, 100_000, stalled) == "that was at 1 of 10 moments"
    always = late(*[(int(at), int(at) + 200_000) for at in due], excess=(100_000,) * len(due), total=len(due))
    assert at_few_moments(due, 100_000, always) == ""
