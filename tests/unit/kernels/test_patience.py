"""The time that a process has had: waiting for a processor does not count, sleeping and spinning do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from rttcheck.kernels import patience
from rttcheck.kernels.patience import Instant, Patience

SPIN = "while True: pass"
SLEEP = "import signal; signal.pause()"


@pytest.fixture
def pinned() -> Iterator[list[int]]:
    """Four processes that spin on one core."""
    core = min(os.sched_getaffinity(0))
    with ExitStack() as stack:
        found = []
        for _ in range(4):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", SPIN]))
            stack.callback(process.kill)
            os.sched_setaffinity(process.pid, {core})
            found.append(process.pid)
        yield found


@pytest.mark.parametrize("always_works", [True, False])
def test_time_without_a_processor_does_not_count(pinned: list[int], always_works: bool) -> None:
    watched = Patience(pinned[0], always_works=always_works)
    began = watched.now()
    time.sleep(2.0)
    # A quarter of the core, and no less than a fifth of the time.
    assert 2.0 / patience.MOST <= watched.passed_s(began) < 1.4


def test_time_asleep_counts() -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEP]) as process:
        try:
            watched = Patience(process.pid, always_works=False)
            began = watched.now()
            time.sleep(1.0)
            assert watched.passed_s(began) > 0.7
        finally:
            process.kill()


def test_a_process_that_never_runs_is_given_up_after_five_times_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Patience(os.getpid(), always_works=True)
    monkeypatch.setattr(watched, "now", lambda: Instant(host_s=100.0, waited_s=100.0))
    assert watched.passed_s(Instant(host_s=0.0, waited_s=0.0)) == 20.0


def test_a_process_that_has_ended_has_had_the_whole_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    watched = Patience(process.pid, always_works=False)
    began = watched.now()
    monkeypatch.setattr("time.monotonic", lambda: began.host_s + 3.0)
    assert watched.passed_s(began) == pytest.approx(3.0)
