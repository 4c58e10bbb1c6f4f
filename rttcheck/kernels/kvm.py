"""Find out whether KVM works on this machine, by booting a guest once, and remember the result.

``/dev/kvm`` may exist although every guest hangs, so its existence is no evidence.
"""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

from rttcheck.errors import GuestLost, KernelError
from rttcheck.kernels.boot import wait_for_init
from rttcheck.kernels.cache import exclusive, say, staged
from rttcheck.kernels.console import Console
from rttcheck.kernels.frozen import empty_directory
from rttcheck.kernels.machine import GuestMachine
from rttcheck.kernels.qemu import Qemu

DEVICE = Path("/dev/kvm")
TRIAL_S = 20.0
"""Deadline for the trial's boot, seconds of host time; with a working KVM it takes one or two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The result of a trial of KVM; ``when`` is in seconds since the epoch, ``file`` is where the result is stored."""

    works: bool
    why: str
    when: float
    file: Path


def remembered_trial(root: Path) -> Trial | None:
    """Return the result of the trial under the host's running kernel; None if there was none."""
    file = root / "kvm" / _this_machine() / "answer.json"
    try:
        stored = json.loads(file.read_text())
        return Trial(
            works=bool(stored["works"]),
            why=str(stored["why"]).removeprefix("it does not work here, "),
            when=float(stored.get("when", file.stat().st_mtime)),
            file=file,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def kvm_works(machine: GuestMachine, *, root: Path) -> bool:
    """Return whether `machine`, built for KVM, boots on this machine; cached until the host's kernel changes."""
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return False
    answer = root / "kvm" / _this_machine()
    with exclusive(root / "locks" / "kvm", progress=say):
        known = remembered_trial(root)
        if known is not None:
            return known.works
        works, why = _boots(machine, root)
        say(f"KVM was tried: {why if works else f'it does not work here, {why}'}")
        with staged(answer) as staging:
            stored = {"works": works, "why": why, "when": time.time()}
            (staging / "answer.json").write_text(json.dumps(stored) + "\n")
    return works


def _boots(machine: GuestMachine, root: Path) -> tuple[bool, str]:
    try:
        with Qemu(machine, rw=empty_directory(root)) as qemu:
            wait_for_init(qemu, Console(), deadline_s=TRIAL_S, virtual=False)
    except (GuestLost, KernelError) as error:
        return False, str(error)
    return True, "it works"


def _this_machine() -> str:
    try:
        identity = Path("/etc/machine-id").read_text().strip()
    except OSError:
        identity = platform.node()
    return f"{identity or 'unknown'}.{platform.release()}"
