"""A pytest plugin for a guest's session: which phase of it takes how many seconds of the host.

A guest in virtual time cannot tell: its clock counts instructions, and idle time costs nothing. But the host gives a
file that is written through 9p its own time as the time of the last change. So a phase begins and ends with a byte
written to such a file. A phase's seconds are without those of phases inside it.
"""

from __future__ import annotations

import functools
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "RTTCHECK_PHASES"
"""Names the file that the guest writes; beside it is the one that it asks for the time."""

PYTEST = "pytest in the guest"


@dataclass(slots=True)
class PhaseClock:
    """Host seconds by phase; the phase inside all others is that of pytest itself."""

    report: Path
    begun_s: float = 0.0
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _clock: int = -1
    _last_s: float = 0.0
    _open: list[str] = field(default_factory=lambda: [PYTEST])

    def start(self) -> None:
        """Begin with pytest's own phase."""
        self._clock = os.open(self.report.with_suffix(".clock"), os.O_RDWR | os.O_CREAT)
        self.begun_s = self._last_s = self._now_s()

    def end(self) -> None:
        """Write the report: when it began and ended in the host's time, and the phases' seconds."""
        self._pass()
        told = {"begun_s": self.begun_s, "ended_s": self._last_s, "seconds": self.seconds}
        self.report.write_text(json.dumps(told))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what the block takes for ``name``."""
        self._pass()
        self._open.append(name)
        try:
            yield
        finally:
            self._pass()
            self._open.pop()

    def time_calls(self, owner: object, name: str, phase: str) -> None:
        """Count what calls of a function take for ``phase``."""
        function: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(function)
        def timed(*arguments: Any, **keywords: Any) -> Any:
            with self.phase(phase):
                return function(*arguments, **keywords)

        setattr(owner, name, timed)

    def time_ends(self, owner: object, name: str, phase: str) -> None:
        """Count what entering and leaving a context manager takes, but not what is inside, for ``phase``."""
        function: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(function)
        @contextmanager
        def timed(*arguments: Any, **keywords: Any) -> Iterator[Any]:
            context = function(*arguments, **keywords)
            with self.phase(phase):
                value = context.__enter__()
            try:
                yield value
            except BaseException as error:
                if not context.__exit__(type(error), error, error.__traceback__):
                    raise
            else:
                with self.phase(phase):
                    context.__exit__(None, None, None)

        setattr(owner, name, timed)

    def _pass(self) -> None:
        now_s = self._now_s()
        self.seconds[self._open[-1]] += now_s - self._last_s
        self._last_s = now_s

    def _now_s(self) -> float:
        os.pwrite(self._clock, b".", 0)
        return os.fstat(self._clock).st_mtime_ns / 1e9


def pytest_configure(config: pytest.Config) -> None:
    """Start the clock where tests run in a guest."""
    if os.environ.get("RTTCHECK_GUEST") == "1":
        clock = PhaseClock(Path(os.environ[VARIABLE]))
        clock.start()
        _time_the_collector(clock)
        config.pluginmanager.register(_Session(clock), "rttcheck-phases")


@dataclass(slots=True, eq=False)
class _Session:
    clock: PhaseClock

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Iterator[None]:
        with self.clock.phase("tests collected"):
            return (yield)

    def pytest_sessionfinish(self) -> None:
        self.clock.end()


def _time_the_collector(clock: PhaseClock) -> None:
    from rttcheck.collect import collector
    from rttcheck.collect.wire.capture import LabCapture
    from rttcheck.record.recording import Recording

    for name in ("open_probe", "open_second", "open_stamps"):
        clock.time_ends(collector, name, "probes loaded and removed")
    clock.time_calls(collector.Collector, "_run", "watches, facts and events of a run")
    clock.time_ends(collector, "open_lab", "labs built and removed")
    clock.time_ends(collector, "open_capture", "captures opened and closed")
    clock.time_calls(LabCapture, "read", "packets read and parsed")
    clock.time_calls(collector, "run_traffic", "traffic")
    clock.time_calls(Recording, "save", "recordings written")
