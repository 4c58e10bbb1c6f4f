"""What a planted fault is: one thing that is wrong, where it is planted, and the layer that the judge must name first.

It owns the words. It plants nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from rttcheck.judge.findings import Layer
from rttcheck.record.recording import Recording

Plant = Callable[[Recording], Recording]
"""One run in, as it would have been with the fault out. The control run is given as a run of its own."""


class Culprit(StrEnum):
    """Who has the fault, and with it which tables of a recording show it."""

    STACK = "stack"
    """The kernel's TCP: each run that it made, and whatever looked at it."""
    PROBE = "probe"
    """The recording's first probe: what it showed of each run, and nothing that others saw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault, planted in each of the true recordings ``scenarios``."""

    name: str
    layer: Layer
    """The layer that is guilty, which the verdict's first finding must name."""
    what: str
    """The change, in a line."""
    scenarios: tuple[str, ...]
    apply: Plant
    """What the fault does to one run; `tests.faults.plant.planted` does it to a recording."""
    says: str = ""
    """What the first finding's message must hold, where the judge is known to name the cause."""

    @property
    def culprit(self) -> Culprit:
        """Whose fault it is: an observer that is wrong is the probe, all else the kernel."""
        return Culprit.PROBE if self.layer is Layer.OBSERVER else Culprit.STACK
