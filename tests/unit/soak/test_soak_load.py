"""Processes that keep a machine busy: as many as it has processors, and gone with whoever wanted them."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from rttcheck.errors import RttcheckError
from rttcheck.remote.agent import wait_for_exit
from rttcheck.soak.load import busy

PARENT = """
import sys
from rttcheck.soak.load import busy
with busy("busy") as pids:
    print(*pids, flush=True)
    sys.stdin.read()
"""


def processor_s(pid: int) -> float:
    """Processor time that a process has had, seconds: its clock is numbered as in clock_getcpuclockid(3)."""
    return time.clock_gettime((~pid << 3) | 2)


def test_each_processor_has_one_at_usual_priority_until_the_block_ends() -> None:
    with busy("busy") as pids:
        assert len(pids) == len(os.sched_getaffinity(0))
        for pid in pids:
            assert os.getpriority(os.PRIO_PROCESS, pid) == 0
    assert all(wait_for_exit(pid, within_s=0.0) for pid in pids)


def test_they_do_take_processor_time() -> None:
    deadline = time.monotonic() + 60.0
    with busy("busy") as pids:
        # However busy the machine is with other things.
        while min(map(processor_s, pids)) < 0.1:
            assert time.monotonic() < deadline, "they sleep"
            select.select([], [], [], 0.05)


def test_no_load_is_no_process() -> None:
    with busy("none") as pids:
        assert pids == ()


def test_they_end_with_an_error_in_the_block_too() -> None:
    started: list[int] = []

    def be_interrupted() -> None:
        with busy("busy") as pids:
            started.extend(pids)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        be_interrupted()
    assert started
    assert all(wait_for_exit(pid, within_s=0.0) for pid in started)


def test_they_die_with_a_parent_that_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert pids
        try:
            for pid in pids:
                os.kill(pid, 0)
            parent.send_signal(signal.SIGKILL)
            assert all(wait_for_exit(pid, within_s=10.0) for pid in pids)
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def test_a_machine_that_was_not_busy_all_the_time_is_told() -> None:
    def lose_one() -> None:
        with busy("busy") as pids:
            os.kill(pids[0], signal.SIGKILL)
            assert wait_for_exit(pids[0], within_s=10.0)

    with pytest.raises(RttcheckError, match="load processes have ended early"):
        lose_one()
