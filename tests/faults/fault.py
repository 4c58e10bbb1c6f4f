"""What a planted fault is: one thing that is wrong, where it is planted, and the layer that the judge must name first.

It owns the words. It plants nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rttcheck.judge.findings import Layer
from rttcheck.recording import Recording

Plant = Callable[[Recording], Recording]
"""A recording in, the recording that would have been made with the fault out."""


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
    says: str = ""
    """What the first finding's message must hold, where the judge is known to name the cause."""
