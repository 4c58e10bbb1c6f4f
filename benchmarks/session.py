"""How long a session takes from the command to the verdict, and how exact virtual time is.

Runs the suite to warm the caches and then to measure it, as ``make rtt`` does the second time it is called, and reads
the samples' excess over the injected round trip from the recordings of that run.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rttcheck.judge.link.bounds import scenario_bounds
from rttcheck.judge.samples import Kind, classify
from rttcheck.record.recording import SUFFIX, Recording
from rttcheck.scenario.model import Scenario

KERNEL = "debian:6.12"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Seconds of host time, and microseconds over the injected round trip."""

    whole_s: float
    first_test_s: float
    scenarios: int
    excess_us: tuple[int, ...]
    """The largest excess of each constant-delay scenario's data samples."""
    samples: int
    kernel: str


def measure() -> Session:
    """Run the suite three times; the last run counts. Raises SystemExit when it does not pass.

    Where rttcheck's sources are new, the first uses a guest of older ones, and the second freezes one.
    """
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            _run(Path(folder))
        started = time.monotonic()
        said = _run(Path(folder))
        whole_s = time.monotonic() - started
        first = re.search(r"begins with its first test after ([\d.]+) s", said)
        passed = re.search(r"(\d+) passed", said)
        if first is None or passed is None:
            sys.exit(f"the suite said neither when it began nor how many passed:\n{said}")
        recordings = [Recording.load(path) for path in sorted(Path(folder).rglob(f"*{SUFFIX}"))]
        excess, samples = [], 0
        for recording in recordings:
            trips = scenario_bounds(Scenario.make(**recording.scenario))
            if len(trips) == 1 and trips[0].constant and recording.scenario.get("traffic", "pingpong") != "bulk":
                data = recording.events["sample_us"][classify(recording.events) == Kind.DATA]
                excess.append(int(data.max()) - trips[0].lowest_us)
                samples += len(data)
    return Session(
        whole_s=whole_s,
        first_test_s=float(first[1]),
        scenarios=int(passed[1]),
        excess_us=tuple(excess),
        samples=samples,
        kernel=recordings[0].kernel,
    )


def _run(recordings: Path) -> str:
    command = [sys.executable, "-m", "pytest", "-m", "rtt", "tests/rtt", "--rtt-kernel", KERNEL]
    done = subprocess.run(
        [*command, "--rtt-recordings", str(recordings)], capture_output=True, text=True, check=False, timeout=900
    )
    if done.returncode:
        sys.exit(
            f"{' '.join(command)} ended with status {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-1000:]}"
        )
    return done.stdout
