"""May scenarios of the running kernel run side by side? ``python -m benchmarks --only side-by-side``, as root.

Most of a suite in real time is waiting. Here it runs three times in one process, and in turn three times as two
processes with half of the scenarios each, and what is compared is the noise: timers on the cores of the traffic, and
how late they fired (`rttcheck.collect.noise`).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rttcheck.record.recording import SUFFIX, Recording
from rttcheck.scenario.library import NAMED

ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Suites that ran in one way: seconds of each, and how late the latest timer of each scenario was, µs."""

    seconds: tuple[float, ...]
    latest_us: tuple[float, ...]
    passed: int
    scenarios: int


def measure() -> dict[int, Way]:
    """Return what was measured, by the number of processes. Raises SystemExit when a suite fails."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    latest_us: dict[int, list[float]] = {1: [], 2: []}
    passed = {1: 0, 2: 0}
    for _ in range(ROUNDS):
        for processes in seconds:
            with tempfile.TemporaryDirectory() as folder:
                began = time.monotonic()
                passed[processes] += _suite(Path(folder), processes)
                seconds[processes].append(time.monotonic() - began)
                for path in Path(folder).rglob(f"*{SUFFIX}"):
                    latest_us[processes].append(int(Recording.load(path).noise["late_ns"].max()) / 1000)
    return {
        each: Way(
            seconds=tuple(seconds[each]),
            latest_us=tuple(latest_us[each]),
            passed=passed[each],
            scenarios=ROUNDS * len(NAMED),
        )
        for each in seconds
    }


def rows(measured: dict[int, Way]) -> list[str]:
    """Return the table."""
    lines = [
        "| labs at a time | suite, median | the latest timer of a scenario: median, 90th percentile, most | passed |",
        "|---:|---:|---:|---:|",
    ]
    for processes, way in measured.items():
        late = [*np.percentile(way.latest_us, (50, 90)), max(way.latest_us)]
        lines.append(
            f"| {processes} | {np.median(way.seconds):.0f} s | {', '.join(f'{each / 1000:.1f}' for each in late)} ms "
            f"| {way.passed} of {way.scenarios} |"
        )
    return lines


def _suite(recordings: Path, processes: int) -> int:
    """Run the suite on the running kernel, and return how many scenarios passed."""
    names = list(NAMED)
    # Every other one, so that either half has its share of the long ones.
    parts: Sequence[Sequence[str]] = [names[number::processes] for number in range(processes)]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rtt-kernel", "host"]
    running = [
        subprocess.Popen(
            [
                *command,
                *("--rtt-recordings", str(recordings / str(number))),
                *(f"tests/rtt/test_named_scenarios.py::test_scenario[{name}]" for name in part),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number, part in enumerate(parts)
    ]
    passed = 0
    for process in running:
        said, _ = process.communicate(timeout=600)
        if process.returncode:
            sys.exit(f"the suite on the running kernel failed:\n{said[-3000:]}")
        passed += sum(line.startswith("passed ") for line in said.splitlines())
    return passed
