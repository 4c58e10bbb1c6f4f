"""What a kernel costs as a guest: ``python -m benchmarks.guests debian:5.10 debian:6.12 ...``, as root.

Runs the suite on each kernel, one at a time, twice: booted, and thawed from the frozen guest. Read off are the seconds
from the command to the first test, those of the whole session, and the most memory that QEMU ever had (``VmHWM`` of
proc(5)), which is asked ten times a second.
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

_BOOTS = ("fresh", "thawed")
_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one session: seconds of host time, megabytes (2**20 bytes) of memory."""

    release: str
    boot: str
    first_test_s: float
    whole_s: float
    passed: int
    memory_mb: int


def measure(spec: str, boot: str, recordings: Path) -> Cost:
    """Run the suite on `spec` with its guest booted (``fresh``) or ``thawed``.

    Raises SystemExit with what the session said when it does not pass.
    """
    command = [sys.executable, "-m", "pytest", "-m", "rtt", "tests/rtt", "-p", "no:cacheprovider"]
    environment = {**os.environ, "RTTCHECK_BOOT": "fresh" if boot == "fresh" else ""}
    began = time.monotonic()
    with subprocess.Popen(
        [*command, "--rtt-kernel", spec, "--rtt-recordings", str(recordings)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
    ) as session:  # fmt: skip
        most = _Most(session.pid)
        said, _ = session.communicate(timeout=1800)
        whole_s = time.monotonic() - began
        memory_kb = most.end()
    first = re.search(r"begins with its first test after ([\d.]+) s", said)
    passed = re.search(r"(\d+) passed", said)
    if session.returncode or first is None or passed is None:
        sys.exit(f"{' '.join(command)} --rtt-kernel {spec} ended with status {session.returncode}:\n{said[-3000:]}")
    return Cost(
        release=fetch(spec).release,
        boot=boot,
        first_test_s=float(first[1]),
        whole_s=whole_s,
        passed=int(passed[1]),
        memory_mb=memory_kb // 1024,
    )


class _Most:
    """The largest ``VmHWM`` of any QEMU below a process, in kB, asked until `end` is called."""

    def __init__(self, ancestor: int) -> None:
        self._ancestor = ancestor
        self._over = threading.Event()
        self._most_kb = 0
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def end(self) -> int:
        """The answer."""
        self._over.set()
        self._thread.join()
        return self._most_kb

    def _ask(self) -> None:
        while not self._over.wait(_POLL_S):
            for child in _below(self._ancestor):
                with contextlib.suppress(OSError):
                    status = Path(f"/proc/{child}/status").read_text()
                    found = re.search(r"(?m)^VmHWM:\s+(\d+) kB", status)
                    if status.startswith("Name:\tqemu") and found is not None:
                        self._most_kb = max(self._most_kb, int(found[1]))


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


def table(costs: Sequence[Cost]) -> str:
    """As Markdown."""
    rows = [
        "| kernel | guest | to the first test | whole session | most memory of QEMU |",
        "|---|---|---:|---:|---:|",
        *(
            f"| {cost.release} | {cost.boot} | {cost.first_test_s:.1f} s | {cost.whole_s:.1f} s, {cost.passed} passed "
            f"| {cost.memory_mb} MB |"
            for cost in costs
        ),
    ]
    return "\n".join(rows)


def main() -> int:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description="what the suite costs on each kernel: time and memory")
    parser.add_argument("kernels", nargs="+", metavar="SPEC", help="as --rtt-kernel: debian:5.10, a path")
    parser.add_argument("--recordings", type=Path, metavar="DIR", help="keep the recordings")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("guests measure as root: run this as root")
    costs = []
    with tempfile.TemporaryDirectory() as folder:
        for spec in arguments.kernels:
            fetch(spec)
            for boot in _BOOTS:
                print(f"{spec}, {boot} ...", file=sys.stderr)
                costs.append(measure(spec, boot, arguments.recordings or Path(folder)))
                print(costs[-1], file=sys.stderr)
    print(table(costs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
