"""What NumPy must not use of an emulated processor is named as this NumPy knows it."""

from __future__ import annotations

import os
import subprocess
import sys

from rttcheck.kernels.guest import GuestSettings
from rttcheck.kernels.launcher import guest_environment

VARIABLE = "NPY_DISABLE_CPU_FEATURES"


def test_numpy_takes_the_name_without_a_warning() -> None:
    named = guest_environment(GuestSettings(kernel="debian:6.12"), {})[VARIABLE]
    command = [sys.executable, "-W", "error", "-c", "import numpy"]
    done = subprocess.run(
        command, env={**os.environ, VARIABLE: named}, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
