"""The observer's live loop: wait for events of the probe and pass them to a sink, until stopped.

It waits on the probe's ring with a deadline of at most a second, and never sleeps.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

import numpy as np

from rttcheck.collect.probe.ring import EventRing
from rttcheck.nettrace.preparation import TraceRequest
from rttcheck.nettrace.trace_point import TraceMode

POLL_TIMEOUT_S = 1.0
"""The longest wait for events at a time, as in nettrace."""

TICK_S = 1.0
"""How often totals are shown."""


class Watched(Protocol):
    """What the observer needs of the probe's ``Watch``."""

    def poll(self, timeout_s: float) -> np.ndarray: ...
    def events(self) -> np.ndarray: ...
    def histograms(self) -> dict[str, np.ndarray]: ...
    @property
    def losses(self) -> dict[str, int]: ...


class Prober(Protocol):
    """What the observer needs of the probe."""

    def watch(
        self,
        inodes: tuple[int, ...] | None,
        *,
        port: int = 0,
        first_below_us: int = 0,
        last_below_us: int = 0,
        events: bool = True,
        histogram: bool = True,
    ) -> AbstractContextManager[Watched]: ...


class Sink(Protocol):
    """Receives events and totals from the observer."""

    def begin(self) -> None:
        """Called once, when the probe is active: no later event is missed."""

    def events(self, events: np.ndarray) -> None:
        """Events (dtype ``EVENT``) in order of arrival."""

    def second(self, histograms: Mapping[str, np.ndarray], losses: Mapping[str, int]) -> None:
        """Called at the beginning and then every second: the kernel's counts so far, and events lost by reason."""

    def end(self, histograms: Mapping[str, np.ndarray], losses: Mapping[str, int]) -> None:
        """Called once, after the last event, with the final counts."""

    @property
    def shown(self) -> int:
        """Number of events shown or counted so far."""


class Interrupted(Exception):
    """A signal requested the end while the observer was waiting; no event was in flight."""


@dataclass(slots=True)
class Stop:
    """Whether the end was requested."""

    asked: bool = False

    def ask(self, interrupted: FrameType | None = None) -> None:
        """Request the end, and raise if ``interrupted`` is the wait.

        Python resumes a wait after a signal, unless the handler raises; a handler that raises anywhere else could lose
        events between the ring and the sink.
        """
        self.asked = True
        if interrupted is not None and interrupted.f_code is EventRing.wait.__code__:
            raise Interrupted


@contextmanager
def stopped_by(*signals: signal.Signals) -> Iterator[Stop]:
    """Turn signals into a request to end while the context lasts; a second one of a kind has its usual effect."""
    stop = Stop()
    before = {number: signal.getsignal(number) for number in signals}

    def first_time(signum: int, frame: FrameType | None) -> None:
        signal.signal(signum, before[signal.Signals(signum)])
        stop.ask(frame)

    for number in signals:
        signal.signal(number, first_time)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def observe(
    probe: Prober,
    request: TraceRequest,
    sink: Sink,
    *,
    stop: Stop,
    duration_s: float | None = None,
    count: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Watch as requested until ``stop`` is set, ``duration_s`` is over or ``count`` events were shown.

    All events up to then go to ``sink``, the totals last. Raises ProbeError when the probe fails.
    """
    # The program's own filters also drop what has no first-acked sample, so they cannot be used for every sample.
    below = (0, 0) if request.every_sample else (request.first_below_us, request.last_below_us)
    with probe.watch(
        request.inodes,
        port=request.port,
        first_below_us=below[0],
        last_below_us=below[1],
        events=request.mode is TraceMode.DETAIL or request.every_sample,
    ) as watch:
        sink.begin()
        _loop(watch, sink, stop, duration_s, count, clock)
    sink.events(watch.events())
    sink.end(watch.histograms(), watch.losses)


def _loop(
    watch: Watched, sink: Sink, stop: Stop, duration_s: float | None, count: int | None, clock: Callable[[], float]
) -> None:
    tick = clock()
    end = None if duration_s is None else tick + duration_s
    while not stop.asked:
        now = clock()
        if now >= tick:
            sink.second(watch.histograms(), watch.losses)
            tick += TICK_S * (1 + (now - tick) // TICK_S)
        if (count is not None and sink.shown >= count) or (end is not None and now >= end):
            return
        until = tick if end is None else min(tick, end)
        try:
            events = watch.poll(min(POLL_TIMEOUT_S, max(until - clock(), 0.0)))
        except Interrupted:
            return
        if len(events):
            sink.events(events)
