"""Timers of this kernel with nothing else at work: as many as were asked for, due one after the other, never early."""

from __future__ import annotations

import time

import pytest

from rttcheck.collect.timers import PERIOD_NS, idle_ticks
from rttcheck.record.tick import TICK


@pytest.mark.parametrize("count", [1, 7])
def test_ticks_are_due_one_after_the_other_and_none_is_early(count: int) -> None:
    begun_ns = time.monotonic_ns()
    ticks = idle_ticks(count)
    ended_ns = time.monotonic_ns()
    assert (len(ticks), ticks.dtype) == (count, TICK)
    assert set(ticks["due_ns"][1:] - ticks["due_ns"][:-1]) <= {PERIOD_NS}
    assert begun_ns < ticks["due_ns"][0]
    assert (ticks["due_ns"] + ticks["late_ns"] <= ended_ns).all()
    # It went on only when the last of them had come.
    assert ended_ns >= ticks["due_ns"][-1]


def test_a_tick_that_was_missed_is_as_late_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    known = time.monotonic_ns
    readings = 0

    def slow() -> int:
        nonlocal readings
        readings += 1
        if readings == 2:
            # The first tick is only looked at when four more are due.
            time.sleep(5 * PERIOD_NS / 1e9)
        return known()

    monkeypatch.setattr(time, "monotonic_ns", slow)
    ticks = idle_ticks(6)
    assert ticks["late_ns"][0] >= 5 * PERIOD_NS
    assert ticks["late_ns"][1] >= 4 * PERIOD_NS - 1_000_000
    assert set(ticks["due_ns"][1:] - ticks["due_ns"][:-1]) == {PERIOD_NS}
