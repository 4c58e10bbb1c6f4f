"""A guest that gets a tenth of a processor is slow and not lost: time in which it waits for one does not count."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from rttcheck.kernels import patience
from rttcheck.kernels.guest import EXIT_LOST, GuestSettings
from tests.guest.conftest import Launch

SHARE = 0.1
CODE = "print(sum(range(300_000)))"
PERIOD_US = 100_000
GIVEN = 7
"""The deadline, in times of the processor time that a session takes: with a tenth of a processor it takes ten times."""


@contextmanager
def quota(share: float) -> Iterator[Path]:
    """Make a control group with that share of a processor and yield its file of processes; skip where there is none."""
    name = f"rttcheck-test-{os.getpid()}"
    one, two = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
    controllers = two / "cgroup.subtree_control"
    quota_us = int(share * PERIOD_US)
    if (one / "cpu.cfs_quota_us").exists() or (one / "cgroup.procs").exists():
        group, settings = one / name, {"cpu.cfs_period_us": f"{PERIOD_US}", "cpu.cfs_quota_us": f"{quota_us}"}
    elif controllers.exists() and "cpu" in controllers.read_text().split():
        group, settings = two / name, {"cpu.max": f"{quota_us} {PERIOD_US}"}
    else:
        pytest.skip("this machine's control groups cannot limit the processor")
    group.mkdir()
    try:
        for file, text in settings.items():
            (group / file).write_text(text)
        yield group / "cgroup.procs"
    finally:
        deadline = time.monotonic() + 20.0
        while (group / "cgroup.procs").read_text().strip() and time.monotonic() < deadline:
            time.sleep(0.1)
        group.rmdir()


def freeze(settings: GuestSettings, launch: Launch) -> float:
    """Have a frozen guest in the cache; return the seconds of processor time that a session takes with it.

    Of changed sources only the second session makes a frozen guest; the third is the one that counts.
    """
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process = launch(settings, "-c", CODE)
        out, err = process.communicate(timeout=400)
        assert process.returncode == 0, (out + err).decode()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_starved_guest_is_slow_and_not_lost(
    settings: GuestSettings, launch: Launch, show: Callable[[str], None]
) -> None:
    needs_s = freeze(settings, launch)
    given_s = GIVEN * needs_s
    short = replace(settings, boot_s=given_s, silence_s=given_s, overall_s=given_s)
    with quota(SHARE) as group:
        began = time.monotonic()
        # QEMU is started by it and belongs to the group as well.
        process = launch(short, "-c", CODE)
        group.write_text(str(process.pid))
        out, err = process.communicate(timeout=given_s * 8)
        took = time.monotonic() - began
    show(f"{needs_s:.1f} s of a processor took {took:.1f} s of host time with a tenth of it, {given_s:.1f} s given")
    assert took > given_s, "the guest had more than its share"
    assert (process.returncode, out) == (0, b"44999850000\n"), err.decode()


def test_a_guest_that_spins_is_lost_at_its_deadline(settings: GuestSettings, launch: Launch) -> None:
    freeze(settings, launch)
    process = launch(replace(settings, silence_s=8.0), "-c", "while True: pass")
    began = time.monotonic()
    _, err = process.communicate(timeout=400)
    assert process.returncode == EXIT_LOST
    assert b"sent nothing for 8 s" in err
    # On an idle machine after some 11 s; on this one others may run.
    assert time.monotonic() - began < 8.0 * patience.MOST + 20.0
