"""Watching a launcher from outside: its QEMU, and the end of both."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).parents[2]

Launch = Callable[..., "subprocess.Popen[bytes]"]
"""The fixture ``launch``: settings and the arguments of the guest's Python in, a running launcher out."""


def emulator_of(launcher: int) -> int:
    """The process id of the QEMU that the launcher with this process id runs."""
    name = f"rttcheck-{launcher}".encode()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"-name" in words and name in words:
            return int(process.parent.name)
    raise LookupError(f"launcher {launcher} runs no QEMU")


def is_gone(pid: int, *, within_s: float) -> bool:
    """Whether the process `pid` ends before the deadline."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(1000 * within_s))
    finally:
        os.close(descriptor)
