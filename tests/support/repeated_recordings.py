"""Eight recordings of one scenario on one kernel, from two guests."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from rttcheck.compare.measured import MeasuredRun
from rttcheck.record.recording import Recording

DATA = Path(__file__).parents[1] / "data" / "comparison"


@cache
def recorded() -> tuple[Recording, ...]:
    """In the order in which they were made."""
    return tuple(Recording.load(DATA / f"rtt-100ms-{number}.rttrec") for number in range(1, 9))


@cache
def runs() -> tuple[MeasuredRun, ...]:
    """The same, measured."""
    return tuple(MeasuredRun.of(recording) for recording in recorded())
