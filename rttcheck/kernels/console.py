"""A guest's console: the kernel's own words, and the launcher's marks between them.

Owns the file's format, writing it and reading it back for a report. Knows nothing of QEMU or of tests.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import BinaryIO

TAIL_BYTES = 64 * 1024
MARK = "rttcheck launcher: "
"""What a line of the launcher's begins with; the rest is seconds of host time since power-on and what happened."""

_TROUBLE = re.compile(r"Kernel panic|BUG:|Oops:|general protection fault|WARNING:|hung_task|watchdog:")
_TROUBLE_LINES = 90


class Console:
    """Keeps a console's tail, and all of it in `file` where there is one; its clock starts when it is made."""

    def __init__(self, file: BinaryIO | None = None) -> None:
        self._file = file
        self._tail = bytearray()
        self._started = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Host seconds since it was made."""
        return time.monotonic() - self._started

    @property
    def tail(self) -> str:
        """Its last lines, for a person."""
        return tail_of(bytes(self._tail))

    def write(self, text: bytes) -> None:
        """Keep what came from the guest."""
        self._tail += text
        del self._tail[:-TAIL_BYTES]
        if self._file is not None:
            self._file.write(text)

    def mark(self, event: str) -> None:
        """A line of the launcher's own, on a line of its own."""
        fresh = b"" if not self._tail or self._tail.endswith(b"\n") else b"\n"
        self.write(fresh + f"{MARK}{self.elapsed_s:.3f} s {event}\n".encode())


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
    """The last `lines` lines of `console`, or all since the kernel's last trouble began where that is a bit longer ago.

    A panic is named by its first line, and its registers and stack take some 50 more.
    """
    told = console.decode("utf-8", "replace").replace("\r", "").splitlines()
    begins = max(0, len(told) - lines)
    for number in range(begins, max(0, begins - _TROUBLE_LINES), -1):
        if _TROUBLE.search(told[number - 1]):
            begins = number - 1
            break
    return "\n".join(told[begins:])


def read_marks(path: Path) -> tuple[tuple[float, str], ...]:
    """The launcher's marks in the console file: (seconds of host time since power-on, what happened)."""
    marks = []
    for line in path.read_text("utf-8", "replace").splitlines():
        _, found, rest = line.partition(MARK)
        if found:
            seconds, _, event = rest.partition(" s ")
            marks.append((float(seconds), event))
    return tuple(marks)
