"""How long a guest has had, for its deadlines: host time without the time in which it had no processor.

A guest on an overloaded host is slow, not dead. In virtual time QEMU always has work, since an idle guest runs through
its timers: its processor time counts. In real time a guest may sleep: time in which it was ready to run and did not is
left out.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MOST: Final = 5.0
"""A guest that never gets a processor is lost after this many times its deadline."""


@dataclass(frozen=True, slots=True)
class Instant:
    """A point in time: seconds of host time, and seconds that the process had no processor until then."""

    host_s: float
    waited_s: float


class Patience:
    """The time that one process has had."""

    def __init__(self, pid: int, *, always_works: bool) -> None:
        """``always_works``: the process never sleeps, as QEMU in virtual time."""
        self._process = Path(f"/proc/{pid}")
        self._always_works = always_works

    def now(self) -> Instant:
        """Return the present instant."""
        host_s = time.monotonic()
        return Instant(host_s, self._without_s(host_s) if self._always_works else self._ready_s())

    def passed_s(self, since: Instant) -> float:
        """Return how many seconds it has had since then: at least a fifth (1 / `MOST`) of the host time."""
        now = self.now()
        host_s = now.host_s - since.host_s
        return max(host_s / MOST, host_s - max(0.0, now.waited_s - since.waited_s))

    def _without_s(self, host_s: float) -> float:
        """Return the host time less the processor time of all threads (``utime`` and ``stime``, proc_pid_stat(5))."""
        try:
            fields = (self._process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return host_s - (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _ready_s(self) -> float:
        """Return how long its threads were ready to run, all together; 0 where the kernel does not count it.

        All together, since a thread may wait for another that has no processor.

        Source: the second field of ``schedstat``, ``run_delay`` in ns (Documentation/scheduler/sched-stats.rst).
        """
        waited = 0
        with contextlib.suppress(OSError):
            for task in (self._process / "task").iterdir():
                # Threads may end meanwhile.
                with contextlib.suppress(OSError, IndexError, ValueError):
                    waited += int((task / "schedstat").read_text().split()[1])
        return waited / 1e9
