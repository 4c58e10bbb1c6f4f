"""A kernel that complains in a guest: the test in which it did fails, by name, and the next one does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# Who asks the kernel for a key waits, in a state that no signal ends, for the program that the kernel starts to find it
# (call_usermodehelper_keys(), UMH_WAIT_PROC): an honest complaint to be had from user space, with any kernel.
TESTS = """
import ctypes
import os
import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.rtt

REQUEST_KEY = 249
ASK = f"import ctypes; ctypes.CDLL(None).syscall({REQUEST_KEY}, b'user', b'rttcheck', b'x', 0)"


def test_a_task_hangs():
    helper = pathlib.Path("/sbin/request-key")
    helper.write_text("#!/bin/sh\\nexec sleep 9\\n")
    helper.chmod(0o755)
    pathlib.Path("/proc/sys/kernel/hung_task_timeout_secs").write_text("2")
    subprocess.run([sys.executable, "-S", "-c", ASK], timeout=60)


def test_the_next_is_innocent():
    pass
"""


def test_a_hung_task_fails_the_test_in_which_it_hung(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    words = ["-p", "no:cacheprovider", "-m", "rtt", "-v", "--rtt-kernel", "debian:6.12"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False
    )
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "FAILED test_it.py::test_a_task_hangs[@debian:6.12]" in done.stdout
    assert "the kernel complained during this test: INFO: task python" in done.stdout
    assert "kernel splat (hung task)" in done.stdout
    assert "request_key" in done.stdout
