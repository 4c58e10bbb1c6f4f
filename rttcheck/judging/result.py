"""The result of a scenario: its recording, the verdict on it, and both as one row of plain values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rttcheck.judge.samples import Kind, classify, shown_us
from rttcheck.record.histogram import Unit, bounds, buckets_of
from rttcheck.record.recording import Recording
from rttcheck.scenario.duration import format_us
from rttcheck.scenario.model import Scenario

if TYPE_CHECKING:
    from rttcheck.judge.findings import Outcome
    from rttcheck.judge.judgement import Verdict

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

    @classmethod
    def of(cls, recording: Recording, *, path: Path | None = None, reproduce: str | None = None) -> Result:
        """Judge a recording in this process; arguments and errors are those of `rttcheck.judge.verdict.judge`."""
        # A guest whose recordings are judged elsewhere never imports the checks.
        from rttcheck.judge.verdict import judge

        return cls(recording=recording, verdict=judge(recording, path=path, reproduce=reproduce), path=path)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A verdict and its row, as they come from another process."""

    verdict: Verdict
    row: Row


@dataclass(frozen=True, slots=True)
class Failure:
    """What comes instead of them: a sentence for the user."""

    sentence: str


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
