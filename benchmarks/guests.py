"""What a kernel costs as a guest: ``python -m benchmarks.guests debian:5.10 debian:6.12 ...``, as root.

Runs the suite on each kernel, one at a time, in a guest that is booted for it, and the first scenario in one that is
thawed. Read off are the seconds from the command to the first test, those of the suite, and of QEMU its processor time
to either point and the most memory that it ever had (``utime``, ``stime`` and ``VmHWM`` of proc(5)), asked ten times a
second. A guest has one processor: on an idle machine it takes hardly longer than the processor time, and on a busy one
only that compares.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rttcheck.kernels.archive import fetch
from rttcheck.kernels.guest import BOOT_VARIABLE

KERNEL = "debian:6.12"

_FIRST = "rtt-1ms"
_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One session: seconds of host time and of QEMU's processor, megabytes (2**20 bytes) of memory."""

    first_test_s: float
    """From the guest's start; of several guests the slowest."""
    first_test_cpu_s: float
    """Up to then, of the guest with the most."""
    whole_s: float
    whole_cpu_s: float
    passed: int
    memory_mb: int


def measure(specs: Sequence[str], recordings: Path, *, boot: str, only: str = "") -> Run:
    """Run the suite, or ``only`` one scenario, on ``specs`` in one session; ``boot`` is ``fresh``, or empty to thaw.

    Raises SystemExit with what the session said when it does not pass.
    """
    command = [sys.executable, "-m", "pytest", "-m", "rtt", "tests/rtt", "-p", "no:cacheprovider"]
    command += [word for spec in specs for word in ("--rtt-kernel", spec)]
    command += ["--rtt-recordings", str(recordings), *(("-k", only) if only else ())]
    began = time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, BOOT_VARIABLE: boot}
    ) as session:
        watch = _Watch(session.pid)
        said, _ = session.communicate(timeout=1800)
        whole_s = time.monotonic() - began
        watch.end()
    first = [float(seconds) for seconds in re.findall(r"begins with its first test after ([\d.]+) s", said)]
    passed = re.search(r"(\d+) passed", said)
    if session.returncode or len(first) != len(specs) or passed is None:
        sys.exit(f"{' '.join(command)} ended with status {session.returncode}:\n{said[-3000:]}")
    return Run(
        first_test_s=max(first),
        first_test_cpu_s=watch.cpu_s(began + max(first)),
        whole_s=whole_s,
        whole_cpu_s=watch.cpu_s(began + whole_s),
        passed=int(passed[1]),
        memory_mb=watch.memory_kb // 1024,
    )


class _Watch:
    """The QEMU below a process, asked until `end` is called."""

    def __init__(self, ancestor: int) -> None:
        self.memory_kb = 0
        """The largest ``VmHWM`` seen."""
        self._ancestor = ancestor
        self._over = threading.Event()
        self._cpu: list[tuple[float, float]] = []
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Ask no more."""
        self._over.set()
        self._thread.join()

    def cpu_s(self, until: float) -> float:
        """Processor time that it had taken by then (``time.monotonic()``)."""
        return max((used for at, used in self._cpu if at <= until), default=0.0)

    def _ask(self) -> None:
        while not self._over.wait(_POLL_S):
            for child in _below(self._ancestor):
                with contextlib.suppress(OSError):
                    status = Path(f"/proc/{child}/status").read_text()
                    found = re.search(r"(?m)^VmHWM:\s+(\d+) kB", status)
                    if status.startswith("Name:\tqemu") and found is not None:
                        self.memory_kb = max(self.memory_kb, int(found[1]))
                        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
                        ticks = int(fields[11]) + int(fields[12])
                        self._cpu.append((time.monotonic(), ticks / os.sysconf("SC_CLK_TCK")))


def _below(ancestor: int) -> list[int]:
    """All processes that descend from `ancestor`."""
    found, new = [], [ancestor]
    while new:
        children: list[int] = []
        for pid in new:
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    children += map(int, (task / "children").read_text().split())
        found += children
        new = children
    return found


def prepare(spec: str) -> None:
    """Boot and freeze a guest once, so that nobody measures how a kernel is fetched and a guest frozen."""
    launch = [sys.executable, "-m", "rttcheck.kernels.launcher", "--kernel", spec, "--", "-c", "pass"]
    subprocess.run(launch, check=True, stdin=subprocess.DEVNULL)


def row(release: str, booted: Run, thawed: Run) -> str:
    """One kernel in Markdown."""
    return (
        f"| {release} | {booted.first_test_s:.1f} s ({booted.first_test_cpu_s:.1f} s) | {thawed.first_test_s:.1f} s "
        f"({thawed.first_test_cpu_s:.1f} s) | {booted.whole_s:.0f} s ({booted.whole_cpu_s:.1f} s), {booted.passed} "
        f"passed | {booted.memory_mb} MB | {thawed.memory_mb} MB |"
    )


def rows(specs: Sequence[str], recordings: Path | None = None) -> list[str]:
    """Lines for a table of benchmarks: one kernel, and all of them in one session beside one session each.

    ``recordings`` keeps those of the session of all.
    """
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for spec in specs:
            prepare(spec)
        booted = measure([KERNEL], Path(folder), boot="fresh", only=_FIRST)
        thawed = measure([KERNEL], Path(folder), boot="", only=_FIRST)
        lines += [
            f"| a guest of {KERNEL.removeprefix('debian:')}, from its start to its first test "
            f"| {thawed.first_test_s:.1f} s (a guest frozen before) | {booted.first_test_s:.1f} s (booted) |",
        ]
        alone = [measure([spec], Path(folder), boot="") for spec in specs]
        together = measure(specs, recordings or Path(folder), boot="")
    names = ", ".join(spec.removeprefix("debian:") for spec in specs)
    return [
        *lines,
        f"| the suite on {len(specs)} kernels ({names}), one session: {together.passed} passed "
        f"| {_minutes(together.whole_s)} | {_minutes(sum(run.whole_s for run in alone))} (a session each) |",
        f"| of these guests the slowest to its first test, two at a time "
        f"| {together.first_test_s:.1f} s | {max(run.first_test_s for run in alone):.1f} s (alone) |",
        f"| the most memory that QEMU had, booted, thawed, of all in one session "
        f"| {booted.memory_mb} MB, {thawed.memory_mb} MB, {together.memory_mb} MB | |",
    ]


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"


def main() -> int:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description="what the suite costs on each kernel: time and memory")
    parser.add_argument("kernels", nargs="+", metavar="SPEC", help="as --rtt-kernel: debian:5.10, a path")
    parser.add_argument("--recordings", type=Path, metavar="DIR", help="keep the recordings")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("guests measure as root: run this as root")
    print("| kernel | first test, booted | first test, thawed | the suite | memory, booted | memory, thawed |")
    print("|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for spec in arguments.kernels:
            prepare(spec)
            thawed = measure([spec], Path(folder), boot="", only=_FIRST)
            booted = measure([spec], arguments.recordings or Path(folder), boot="fresh")
            print(row(fetch(spec).release, booted, thawed), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
