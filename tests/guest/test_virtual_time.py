"""A pytest session whose worker is a guest: its clock is exact, and owes nothing to the host's."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rttcheck.kernels.guest import GuestSettings, gateway_spec
from tests.support.console_marks import read_marks

TESTS = '''
import os
import select
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.rtt


def timer(seconds):
    """How late a timer of the kernel is, in ns; poll has no slack of its own at 0 timer slack."""
    began = time.monotonic_ns()
    time.sleep(seconds)
    return time.monotonic_ns() - began - round(seconds * 1e9)


def test_timers_are_exact():
    late = [timer(0.020) for _ in range(50)]
    assert 0 <= min(late)
    assert max(late) < 100_000, late


def test_a_minute_is_a_minute():
    assert 0 <= timer(60) < 100_000


def test_the_clock_is_the_processors_own():
    source = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource").read_text()
    assert source.strip() == "tsc"
    timers = Path("/proc/timer_list").read_text()
    assert ".hres_active    : 1" in timers


def test_waiting_for_the_host_is_no_leap(share):
    # Without a tick, one write to the host's files was seen to take 12 s of the guest's time.
    began = time.monotonic()
    for number in range(20):
        (share / f"file{number}").write_text("x" * 4096)
    assert time.monotonic() - began < 5.0


def test_it_is_today():
    assert abs(time.time() - HOST_TIME) < 3600


def test_scratch_is_writable(tmp_path):
    (tmp_path / "file").write_text("x")


def test_the_guest_is_named():
    assert os.environ["RTTCHECK_GUEST"] == "1"
    assert os.environ["RTTCHECK_CLOCK"] == "virtual"
    assert os.environ["RTTCHECK_KERNEL"] == "debian:6.12"


@pytest.fixture
def share():
    return Path(SHARE)
'''


def test_a_session_with_a_guest_as_its_worker(
    settings: GuestSettings, tmp_path: Path, show: Callable[[str], None]
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    share = tmp_path / "share"
    share.mkdir()
    text = TESTS.replace("HOST_TIME", str(time.time())).replace("SHARE", repr(str(share)))
    (project / "test_inside.py").write_text(text)
    spec = gateway_spec(
        GuestSettings(kernel="debian:6.12", console=settings.console, rw=share, boot_s=240.0, gateway_s=240.0),
        name="guest612",
    )
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--dist=each", "--tx", spec]
    began = time.monotonic()
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=400, check=False)
    took = time.monotonic() - began
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(re.findall(r"\[guest612\].* PASSED test_inside.py::(\w+)", done.stdout)) == set(
        re.findall(r"^def (test_\w+)", text, re.MULTILINE)
    )
    assert (share / "file19").read_text() == "x" * 4096
    assert settings.console is not None
    show(
        f"{took:.1f} s of host time; "
        + ", ".join(f"{event} at {at:.1f} s" for at, event in read_marks(settings.console))
    )
