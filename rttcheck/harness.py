"""Run a scenario on the running kernel: record it and judge the recording.

Used by the pytest plugin and the command line. A scenario whose value is too near a bucket's edge is refused before its
traffic starts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rttcheck.collect.collector import Collector, open_collector
from rttcheck.errors import CapabilityError
from rttcheck.judge.nominal.edge import refuse_near_edge
from rttcheck.judging.result import Result
from rttcheck.record.recording import SUFFIX, Recording
from rttcheck.scenario.model import Scenario

__all__ = ["Harness", "Result", "open_harness"]


@dataclass(slots=True)
class Harness:
    """Runs scenarios on this kernel; ``recordings`` is the directory for recordings, or None to keep none."""

    collector: Collector
    recordings: Path | None = None

    def path_of(self, scenario: Scenario) -> Path | None:
        """Return the path of the scenario's recording, which replaces an older one; None if none is kept."""
        return None if self.recordings is None else self.recordings / f"{_file_name(scenario.name)}{SUFFIX}"

    def record(self, scenario: Scenario) -> tuple[Recording, Path | None]:
        """Run the control run and the scenario; return the recording and its path.

        Raises ScenarioError when the injected value is so near a bucket's edge that the overhead of the control run
        would move it into the next bucket.
        """
        control = self.collector.control(scenario)
        refuse_near_edge(scenario, control.events)
        recording = self.collector.record(scenario)
        path = self.path_of(scenario)
        return recording, None if path is None else recording.save(path)

    def run(self, scenario: Scenario, *, reproduce: str | None = None) -> Result:
        """Record the scenario and judge it; ``reproduce`` is the command that the verdict shows for a repetition."""
        recording, path = self.record(scenario)
        return Result.of(recording, path=path, reproduce=reproduce)


@contextmanager
def open_harness(*, engine: str = "auto", backend: str = "auto", recordings: Path | None = None) -> Iterator[Harness]:
    """Yield a harness on the running kernel.

    Raises CapabilityError without root, or where no engine or no probe backend works.
    """
    if os.geteuid() != 0:
        raise CapabilityError(
            "network namespaces and the RTT probe need root, and this is user "
            f"{os.geteuid()}: run it again with sudo, or in a privileged container"
        )
    with open_collector(backend, engine=engine) as collector:
        yield Harness(collector=collector, recordings=recordings)


def _file_name(name: str) -> str:
    """Return a scenario's name as a file name: characters that are special to file systems or shells become dashes."""
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "scenario"
