"""Recordings made in a guest in virtual time, whatever machine the tests run on.

It owns the boot of that guest and the wait for it. What is recorded it is told.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rttcheck.errors import RttcheckError
from rttcheck.kernels.guest import GuestSettings, launcher_command

KERNEL: Final = "debian:6.12"
PROJECT: Final = Path(__file__).parents[2]

_BOOT_S = 240.0
_OVERALL_S = 420.0


def record_in_guest(scenarios: Mapping[str, Mapping[str, Any]], directory: Path) -> None:
    """Record scenarios (keywords of `Scenario.make` by name) into ``directory``, one file each.

    Raises RttcheckError when the guest or a scenario fails, with the last that was said.
    """
    settings = GuestSettings(
        kernel=KERNEL, console=directory / "console", rw=directory, boot_s=_BOOT_S, overall_s=_OVERALL_S
    )
    done = subprocess.run(
        [*launcher_command(settings), "-m", "tests.faults.record", str(directory), json.dumps(scenarios)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=PROJECT,
        check=False,
    )
    if done.returncode:
        raise RttcheckError(
            f"{len(scenarios)} scenarios were to be recorded on {KERNEL} and the guest ended with status "
            f"{done.returncode}; the last it said:\n{done.stderr[-2000:]}"
        )
