"""The whole way from a scenario to a verdict, on the running kernel.

The one place where collecting and judging meet, for the pytest plugin and the command line alike. It decides nothing:
the collector records, the judge judges, and what is known before the traffic (a value at a bucket's edge) is refused
before the traffic.
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
from rttcheck.judge.findings import Outcome
from rttcheck.judge.nominal.check import refuse_near_edge
from rttcheck.judge.samples import Kind, classify, shown_us
from rttcheck.judge.verdict import Verdict, judge
from rttcheck.record.histogram import Unit, bounds, buckets_of
from rttcheck.record.recording import SUFFIX, Recording
from rttcheck.scenario.duration import format_us
from rttcheck.scenario.model import Scenario

Row = dict[str, str | int | float]
"""One scenario's result in a form that JSON, JUnit and a gateway can carry."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """What a scenario came to: the recording, the judge's verdict on it, and where the recording lies."""

    recording: Recording
    verdict: Verdict
    path: Path | None = None

    @property
    def outcome(self) -> Outcome:
        """Passed, failed or inconclusive."""
        return self.verdict.outcome

    def row(self) -> Row:
        """The result in one line's worth of plain values; times in microseconds."""
        verdict, recording = self.verdict, self.recording
        worst = verdict.reason
        figures = verdict.summary()
        return {
            "scenario": str(recording.scenario["name"]),
            "outcome": verdict.outcome.value,
            "guilty": worst.layer.value if worst is not None else "",
            "check": worst.key if worst is not None else "",
            "title": worst.heading if worst is not None else "",
            "reason": worst.message if worst is not None else "",
            "injected": injected(Scenario.make(**recording.scenario)),
            "samples": figures.get("samples", 0),
            "min_us": figures.get("min_us", -1),
            "p50_us": figures.get("median_us", -1),
            "max_us": figures.get("max_us", -1),
            "slack_us": figures.get("slack_us", -1),
            "bucket": _buckets(recording),
            "lost": recording.lost,
            "not_run": len(verdict.blind),
            "kernel": recording.kernel,
            "clock": recording.clock,
            "engine": recording.engine,
            "probe": recording.probe,
            "recording": str(self.path) if self.path is not None else "",
        }


def injected(scenario: Scenario) -> str:
    """The round trips of a scenario in the order in which they were in force: ``20ms, 80ms, 20ms``."""
    trips = [out.delay_ns + back.delay_ns for out, back in scenario.links]
    return ", ".join(format_us(trip_ns // 1_000) for trip_ns in trips)


def _buckets(recording: Recording) -> str:
    """The range of histogram buckets that the data samples fell in, as a person writes it: ``32-63ms``."""
    unit = Unit(Scenario.make(**recording.scenario).unit)
    values = shown_us(recording.events)[classify(recording.events) == Kind.DATA]
    found = buckets_of(values[values >= 0], unit)
    if not len(found):
        return ""
    lowest, _ = bounds(int(found.min()))
    _, highest = bounds(int(found.max()))
    return f">={lowest}{unit.value}" if highest is None else f"{lowest}-{highest}{unit.value}"


@dataclass(slots=True)
class Harness:
    """Runs scenarios on this kernel; ``recordings`` is where each run's recording is kept, None keeps none."""

    collector: Collector
    recordings: Path | None = None

    def record(self, scenario: Scenario) -> tuple[Recording, Path | None]:
        """Control run, traffic, recording, and where it lies.

        Raises ScenarioError when the injected value sits so near a bucket's edge that the control run's overhead would
        carry it over.
        """
        control = self.collector.control(scenario)
        refuse_near_edge(scenario, control.events)
        recording = self.collector.record(scenario)
        path = None
        if self.recordings is not None:
            path = recording.save(self.recordings / f"{_file_name(scenario.name)}{SUFFIX}")
        return recording, path

    def run(self, scenario: Scenario, *, reproduce: str | None = None) -> Result:
        """The same, and the verdict; ``reproduce`` is the command that a failing one names."""
        recording, path = self.record(scenario)
        return Result(recording=recording, verdict=judge(recording, path=path, reproduce=reproduce), path=path)


@contextmanager
def open_harness(*, engine: str = "auto", backend: str = "auto", recordings: Path | None = None) -> Iterator[Harness]:
    """A harness on the running kernel.

    Raises CapabilityError without root, or where no engine or no probe backend works.
    """
    if os.geteuid() != 0:
        raise CapabilityError(
            "network namespaces and the RTT probe need root and this is user "
            f"{os.geteuid()}: run it again with sudo, or in a privileged container"
        )
    with open_collector(backend, engine=engine) as collector:
        yield Harness(collector=collector, recordings=recordings)


def _file_name(name: str) -> str:
    """A scenario's name as a file name: what a file system or a shell might trip over becomes a dash."""
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "scenario"
