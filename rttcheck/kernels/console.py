"""A guest's console as a file: the kernel's own words, and the launcher's marks between them.

Owns reading it back for a report. Knows nothing of tests.
"""

from __future__ import annotations

from pathlib import Path

TAIL_BYTES = 64 * 1024
MARK = "rttcheck launcher: "
"""What a line of the launcher's begins with; the rest of it is seconds of host time since power-on and what happened."""


def read_console_tail(path: Path, *, lines: int = 30) -> str:
    """The last `lines` lines of the console in `path`, without carriage returns; empty when there is no such file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            text = file.read()
    except OSError:
        return ""
    return tail_of(text, lines=lines)


def tail_of(console: bytes, *, lines: int = 30) -> str:
    """The last `lines` lines of `console`."""
    return "\n".join(console.decode("utf-8", "replace").replace("\r", "").splitlines()[-lines:])


def read_marks(path: Path) -> tuple[tuple[float, str], ...]:
    """The launcher's marks in the console file: (seconds of host time since power-on, what happened)."""
    marks = []
    for line in path.read_text("utf-8", "replace").splitlines():
        _, found, rest = line.partition(MARK)
        if found:
            seconds, _, event = rest.partition(" s ")
            marks.append((float(seconds), event))
    return tuple(marks)
