"""Convert the kernel's packet timestamps, which are of CLOCK_REALTIME, to CLOCK_MONOTONIC.

Measures the difference between the two clocks and detects that the time of day was set.
"""

from __future__ import annotations

import time

_REALTIME = time.CLOCK_REALTIME
_SLACK_NS = 5_000_000
"""A timestamp may be this much older than the last check of the empty ring: packets wait for a softirq in between."""

_NOT_SET_NS = 20_000
"""Two measurements of an unchanged difference may differ by this much, when the thread is delayed between readings."""

_UNSETTLED_NS = 1_000_000_000
"""For so long after the time of day was set, timestamps from before may still arrive."""


class Clock:
    """Converts timestamps, never to a time before the true one, so that nothing is released early."""

    def __init__(self) -> None:
        self._ahead_ns = 0
        self.set_times = 0
        """How often the time of day was found to be set."""
        self._set_ns = -_UNSETTLED_NS
        self.compare()

    def compare(self) -> None:
        """Measure the difference: of five readings the one with the shortest monotonic interval, by its later end."""
        readings = []
        for _ in range(5):
            before, real, after = time.monotonic_ns(), time.clock_gettime_ns(_REALTIME), time.monotonic_ns()
            readings.append((after - before, after - real))
        self._ahead_ns = min(readings)[1]

    def monotonic(self, realtime_ns: int, not_before_ns: int) -> int:
        """Return a timestamp just taken by the kernel, in CLOCK_MONOTONIC.

        ``not_before_ns`` is when the ring was still empty. An implausible result has the difference measured again. If
        that shows that the time of day was set, a packet stamped before and read after counts as received now: late
        rather than early.
        """
        taken_ns = realtime_ns + self._ahead_ns
        now_ns = time.monotonic_ns()
        if not_before_ns - _SLACK_NS <= taken_ns <= now_ns:
            return taken_ns
        before_ns = self._ahead_ns
        self.compare()
        if abs(self._ahead_ns - before_ns) >= _NOT_SET_NS:
            self.set_times += 1
            self._set_ns = now_ns
        taken_ns = realtime_ns + self._ahead_ns
        if now_ns - self._set_ns < _UNSETTLED_NS and taken_ns < not_before_ns - _SLACK_NS:
            return now_ns
        return min(taken_ns, now_ns)
