"""Where the seconds of a guest's suite go: ``python -m benchmarks --only phases``, as root.

The guest's own phases are those of `benchmarks.phase_clock`; what is before and after them is read from the launcher's
marks on the guest's console.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.phase_clock import PYTEST, VARIABLE
from tests.support.console_marks import read_marks

KERNEL = "debian:6.12"

_PROJECT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """Seconds of host time by phase, in the order of the session; ``processor_s`` is that of all processes."""

    whole_s: float
    processor_s: float
    phases: Mapping[str, float]


def measure() -> Phases:
    """Run the suite in a guest until one that is frozen with today's sources is thawed. Raises SystemExit."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "recordings"
        directory.mkdir()
        for _ in range(3):
            measured = _measured(directory)
    return measured


def rows(measured: Phases) -> list[str]:
    """Return the table."""
    lines = ["| phase | seconds | of the whole |", "|---|---:|---:|"]
    for name, seconds in measured.phases.items():
        lines.append(f"| {name} | {seconds:.2f} | {100 * seconds / measured.whole_s:.0f} % |")
    whole = f"| from the command to its end ({measured.processor_s:.1f} s of processors) | {measured.whole_s:.2f} | |"
    return [*lines, whole]


def _measured(directory: Path) -> Phases:
    # The recordings' directory is the one that the guest writes to.
    report = directory / "phases.json"
    command = [sys.executable, "-m", "pytest", "-p", "benchmarks.phase_clock", "-p", "no:cacheprovider", "-m", "rtt"]
    command += ["tests/rtt", "--rtt-kernel", KERNEL, "--rtt-recordings", str(directory)]
    environment = {**os.environ, "PYTHONPATH": str(_PROJECT), VARIABLE: str(report)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began_s, began = time.time(), time.monotonic()
    done = subprocess.run(
        command, cwd=_PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    whole_s = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stdout[-3000:]}")
    console = max((directory.parent / "consoles").glob("*.log"), key=lambda path: path.stat().st_mtime)
    marks = {event: seconds for seconds, event in read_marks(console)}
    guest = json.loads(report.read_text())
    # The last mark is the last that is written to the console's file.
    launched_s = console.stat().st_mtime - marks["power-off"]
    inside = dict(guest["seconds"])
    of_pytest = inside.pop(PYTEST)
    return Phases(
        whole_s=whole_s,
        processor_s=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        phases={
            "pytest and the launcher start on the host": launched_s + marks["thawing"] - began_s,
            "the guest is thawed": marks["thawed"] - marks["thawing"],
            "the host's files are mounted": marks["start of Python"] - marks["thawed"],
            "pytest starts in the guest": guest["begun_s"] - launched_s - marks["start of Python"],
            **inside,
            "pytest between and around the tests": of_pytest,
            "the guest ends": launched_s + marks["power-off"] - guest["ended_s"],
            "the last verdicts, and pytest ends on the host": began_s + whole_s - launched_s - marks["power-off"],
        },
    )
