"""Run a scenario on the running kernel: record it and judge the recording.

Used by the pytest plugin and the command line. A scenario whose value is too near a bucket's edge is refused before its
traffic starts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
"""One scenario's result as plain values, for JSON, JUnit and execnet gateways."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """The result of a scenario: the recording, its verdict, and its path."""

    recording: Recording
    verdict: Verdict
    path: Path | None = None
    made: Row | None = None
    """The row, where it was made already."""

    def without_tables(self) -> Result:
        """Return the result with the recording's header alone: a thousand of them fit into memory."""
        return replace(self, recording=self.recording.header_alone(), made=self.row())

    @property
    def outcome(self) -> Outcome:
        """Passed, failed or inconclusive."""
        return self.verdict.outcome

    def row(self) -> Row:
        """Return the result as one row of plain values; times in microseconds."""
        if self.made is not None:
            return self.made
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
    """Return the injected round-trip times of a scenario in order of its steps: ``20ms, 80ms, 20ms``."""
    trips = [out.delay_ns + back.delay_ns for out, back in scenario.links]
    return ", ".join(format_us(trip_ns // 1_000) for trip_ns in trips)


def _buckets(recording: Recording) -> str:
    """Return the range of the histogram buckets that hold the data samples: ``32-63ms``."""
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
    """Runs scenarios on this kernel; ``recordings`` is the directory for recordings, or None to keep none."""

    collector: Collector
    recordings: Path | None = None

    def record(self, scenario: Scenario) -> tuple[Recording, Path | None]:
        """Run the control run and the scenario; return the recording and its path.

        Raises ScenarioError when the injected value is so near a bucket's edge that the overhead of the control run
        would move it into the next bucket.
        """
        control = self.collector.control(scenario)
        refuse_near_edge(scenario, control.events)
        recording = self.collector.record(scenario)
        path = None
        if self.recordings is not None:
            path = recording.save(self.recordings / f"{_file_name(scenario.name)}{SUFFIX}")
        return recording, path

    def run(self, scenario: Scenario, *, reproduce: str | None = None) -> Result:
        """Record the scenario and judge it; ``reproduce`` is the command that the verdict shows for a repetition."""
        recording, path = self.record(scenario)
        return Result(recording=recording, verdict=judge(recording, path=path, reproduce=reproduce), path=path)


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
