"""The launcher's lines in a console file."""

from __future__ import annotations

from pathlib import Path

from rttcheck.kernels.console import MARK


def read_marks(path: Path) -> tuple[tuple[float, str], ...]:
    """Return the launcher's lines in the console file: (seconds of host time since power-on, event)."""
    marks = []
    for line in path.read_text("utf-8", "replace").splitlines():
        _, found, rest = line.partition(MARK)
        if found:
            seconds, _, event = rest.partition(" s ")
            marks.append((float(seconds), event))
    return tuple(marks)
