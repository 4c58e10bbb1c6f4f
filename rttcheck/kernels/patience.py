"""How long a guest has had, for its deadlines: host time without the time in which it waited for a processor.

A guest on an overloaded host is slow, not dead. One that spins or sleeps waits for no processor.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MOST: Final = 5.0
"""A guest that never gets a processor is lost after this many times its deadline."""


@dataclass(frozen=True, slots=True)
class Instant:
    """A point in time: seconds of host time, and seconds that the process has waited for a processor until then."""

    host_s: float
    waited_s: float


class Patience:
    """The time that one process has had."""

    def __init__(self, pid: int) -> None:
        self._tasks = Path(f"/proc/{pid}/task")

    def now(self) -> Instant:
        """Return the present instant."""
        return Instant(time.monotonic(), self._waited_s())

    def passed_s(self, since: Instant) -> float:
        """Return how many seconds it has had since then: at least a fifth (1 / `MOST`) of the host time."""
        now = self.now()
        host_s = now.host_s - since.host_s
        return max(host_s / MOST, host_s - max(0.0, now.waited_s - since.waited_s))

    def _waited_s(self) -> float:
        """Return how long its threads were ready to run, all together; 0 where the kernel does not count it.

        All together, since a thread may wait for another that has no processor.

        Source: the second field of ``schedstat``, ``run_delay`` in ns (Documentation/scheduler/sched-stats.rst).
        """
        waited = 0
        with contextlib.suppress(OSError):
            for task in self._tasks.iterdir():
                # Threads may end meanwhile.
                with contextlib.suppress(OSError, IndexError, ValueError):
                    waited += int((task / "schedstat").read_text().split()[1])
        return waited / 1e9
