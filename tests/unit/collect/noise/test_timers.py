"""Timers that report how late they were, the missed ones too, and leave no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from rttcheck.collect.cores import ANYWHERE, Cores
from rttcheck.collect.noise import NoiseTimers, open_noise, summary_of, timers_for
from rttcheck.collect.noise_process import PERIOD_NS
from rttcheck.record.tick import TICK
from rttcheck.remote.agent import wait_for_exit
from rttcheck_netns.relay.process import PRIORITY as RELAY_PRIORITY

CPU = max(os.sched_getaffinity(0))


def ticking(noise: NoiseTimers, seconds: float) -> tuple[np.ndarray, int, int]:
    begun_ns = time.monotonic_ns()
    noise.start()
    threading.Event().wait(seconds)
    return noise.stop(), begun_ns, time.monotonic_ns()


def children() -> list[int]:
    return [int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]


def test_ticks_are_due_one_after_the_other_while_it_runs() -> None:
    with open_noise({CPU: 0}) as noise:
        ticks, begun_ns, ended_ns = ticking(noise, 0.2)
    assert ticks.dtype == TICK
    assert set(ticks["cpu"]) == {CPU}
    assert set(np.diff(ticks["due_ns"])) == {PERIOD_NS}
    assert begun_ns < ticks["due_ns"][0]
    assert ticks["due_ns"][-1] + ticks["late_ns"][-1] < ended_ns
    # The machine's speed is unknown; but what was due in time was waited for, or is as late as it was.
    assert 0 < len(ticks) <= (ended_ns - begun_ns) // PERIOD_NS


def test_each_run_has_its_own_ticks() -> None:
    with open_noise({CPU: 0}) as noise:
        first, _, between_ns = ticking(noise, 0.05)
        second, _, _ = ticking(noise, 0.05)
    assert first["due_ns"][-1] < between_ns < second["due_ns"][0]


def test_ticks_that_were_missed_are_as_late_as_they_were() -> None:
    """A stopped process misses them all, and each is as late as it would have been."""
    before = set(children())
    with open_noise({CPU: 0}) as noise:
        (child,) = set(children()) - before
        noise.start()
        threading.Event().wait(0.05)
        os.kill(child, signal.SIGSTOP)
        stopped_ns = time.monotonic_ns()
        threading.Event().wait(0.2)
        continued_ns = time.monotonic_ns()
        os.kill(child, signal.SIGCONT)
        ticks = noise.stop()
    inside = (ticks["due_ns"] > stopped_ns + 5_000_000) & (ticks["due_ns"] < continued_ns)
    assert inside.sum() > 150
    assert (ticks["due_ns"][inside] + ticks["late_ns"][inside] >= continued_ns).all()


def test_processes_are_gone_afterwards() -> None:
    before = set(children())
    with open_noise({CPU: 0}) as noise:
        noise.start()
        assert set(children()) > before
    assert set(children()) == before


def test_a_process_that_died_is_a_fact_and_no_failure() -> None:
    before = set(children())
    with open_noise({CPU: 0}) as noise:
        (child,) = set(children()) - before
        assert len(ticking(noise, 0.05)[0])
        noise.start()
        os.kill(child, signal.SIGKILL)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        assert len(noise.stop()) == 0
        assert "ended" in noise.facts["why_not"]
        noise.start()
        assert len(noise.stop()) == 0


def test_no_cores_need_no_process() -> None:
    before = children()
    with open_noise({}) as noise:
        assert children() == before
        noise.start()
        assert noise.stop().dtype == TICK


def test_processes_end_with_their_parent_even_by_sigkill() -> None:
    code = (
        "import os, sys\n"
        "from rttcheck.collect.noise import open_noise\n"
        f"with open_noise({{{CPU}: 0}}) as noise:\n"
        "    noise.start()\n"
        "    print(open(f'/proc/self/task/{os.getpid()}/children').read(), flush=True)\n"
        "    sys.stdin.read()\n"
    )
    root = Path(__file__).parents[4]
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as starter:
        assert starter.stdout is not None
        (child,) = starter.stdout.readline().split()
        starter.kill()
    assert wait_for_exit(int(child), within_s=20.0)


def test_how_a_timer_is_scheduled_is_a_fact() -> None:
    with open_noise({CPU: 0}) as noise:
        assert noise.facts["timers"] == {f"core {CPU}": f"the normal scheduler, on CPU {CPU}"}
        assert noise.facts["period_ns"] == PERIOD_NS


def test_timers_have_a_higher_priority_than_what_they_measure() -> None:
    assert timers_for(Cores(traffic=4, relay=5, priority=1)) == {4: 2, 5: RELAY_PRIORITY + 1}
    allowed = sorted(os.sched_getaffinity(0))[:4]
    assert timers_for(ANYWHERE) == dict.fromkeys(allowed, 0)


@pytest.mark.parametrize("late", [[], [7], list(range(100))])
def test_a_summary_has_the_high_end(late: list[int]) -> None:
    ticks = np.zeros(len(late), dtype=TICK)
    ticks["late_ns"] = late
    expected = {"count": 100, "p50_ns": 50, "p99_ns": 99, "max_ns": 99}
    assert summary_of(ticks) == {
        0: {"count": 0}, 1: {"count": 1, "p50_ns": 7, "p99_ns": 7, "max_ns": 7}, 100: expected
    }[len(late)]  # fmt: skip
