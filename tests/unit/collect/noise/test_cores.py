"""Cores of their own where there are enough, and nothing left of it afterwards."""

from __future__ import annotations

import os
import threading

import pytest

from rttcheck.collect.cores import ANYWHERE, PRIORITY, Cores, choose_cores, take


def in_a_thread(cpu: int | None, priority: int) -> tuple[str, set[int], int]:
    """Return what `take` returned in a thread, and where and how the thread ran afterwards."""
    seen: list[tuple[str, set[int], int]] = []

    def run() -> None:
        words = take(cpu, priority)
        seen.append((words, set(os.sched_getaffinity(0)), os.sched_getscheduler(0)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return seen[0]


@pytest.mark.parametrize("allowed", [(), (3,)])
def test_too_few_cores_are_shared_by_all(allowed: tuple[int, ...]) -> None:
    assert choose_cores(allowed) == ANYWHERE == Cores(traffic=None, relay=None, priority=0)


def test_of_the_allowed_cores_the_last_two_are_taken() -> None:
    assert choose_cores({9, 2, 5}) == Cores(traffic=5, relay=9, priority=PRIORITY)
    assert choose_cores([0, 1]) == Cores(traffic=0, relay=1, priority=PRIORITY)


def test_only_allowed_cores_are_chosen() -> None:
    allowed = os.sched_getaffinity(0)
    assert {choose_cores().traffic, choose_cores().relay} <= allowed | {None}


def test_a_thread_keeps_to_its_core_and_no_other_thread_does() -> None:
    before, cpu = os.sched_getaffinity(0), max(os.sched_getaffinity(0))
    words, affinity, policy = in_a_thread(cpu, 0)
    assert (words, affinity, policy) == (f"the normal scheduler, on CPU {cpu}", {cpu}, os.SCHED_OTHER)
    assert os.sched_getaffinity(0) == before


def test_a_thread_that_may_run_anywhere_does_not_get_a_real_time_priority() -> None:
    words, _, policy = in_a_thread(None, 5)
    assert (words, policy) == ("the normal scheduler, on any CPU", os.SCHED_OTHER)


def test_a_missing_core_is_named_with_the_kernels_message() -> None:
    words, affinity, policy = in_a_thread(4_000, 5)
    assert words == "the normal scheduler, not on CPU 4000 (Invalid argument)"
    assert (affinity, policy) == (os.sched_getaffinity(0), os.SCHED_OTHER)


def test_a_priority_is_allowed_or_refused_with_the_kernels_message() -> None:
    cpu = max(os.sched_getaffinity(0))
    words, affinity, policy = in_a_thread(cpu, 1)
    assert affinity == {cpu}
    if policy == os.SCHED_FIFO:
        assert words == f"SCHED_FIFO priority 1, on CPU {cpu}"
    else:
        assert words == f"the normal scheduler, SCHED_FIFO is refused (Operation not permitted), on CPU {cpu}"
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    impossible, _, _ = in_a_thread(cpu, 1_000)
    assert impossible == f"the normal scheduler, SCHED_FIFO is refused (Invalid argument), on CPU {cpu}"
