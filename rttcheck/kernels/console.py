"""A guest's console: the kernel's own words, and the launcher's marks between them.

Owns the file's format, writing it and reading it back for a report. Knows nothing of QEMU or of tests.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import BinaryIO

from rttcheck.kernels.panic import panic_in

TAIL_BYTES = 64 * 1024
MARK = "rttcheck launcher: "
"""What a line of the launcher's begins with; the rest is seconds of host time since power-on and what happened."""

LOST = "lost: "
"""What a mark begins with that says why a guest is gone; the rest goes on after "the guest"."""

_BEGINS = ("power-on", "thawing")
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

    def lose(self, how: str) -> str:
        """Mark that the guest is gone, and how (``died``); that with what its kernel died of, where it said so."""
        panic = panic_in(_lines(bytes(self._tail)))
        if panic is not None:
            how = f"{how} after a kernel panic ({panic.words})"
        self.mark(LOST + how)
        return how


def read_console_tail(path: Path, *, lines: int = 30) -> str:
    """The end of the console in `path`, as `tail_of`; empty when there is no such file."""
    return tail_of(_read(path), lines=lines)


def read_loss(path: Path) -> str:
    """Why the guest of the console in `path` is gone, as the launcher said it; empty where it did not."""
    for line in reversed(_lines(_read(path))):
        mark = line.partition(" s ")[2] if line.startswith(MARK) else ""
        if mark.startswith(LOST):
            return mark.removeprefix(LOST)
        if mark in _BEGINS:
            break
    return ""


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return file.read()
    except OSError:
        return b""


def _lines(console: bytes) -> list[str]:
    return console.decode("utf-8", "replace").replace("\r", "").splitlines()


def tail_of(console: bytes, *, lines: int = 30) -> str:
    """The last `lines` lines of `console`; of a kernel that panicked all from the first line of what it died of.

    Registers and stack take some 60 lines; of a report that is much longer the middle is left out. Without a panic it
    begins with the kernel's last trouble where that is a bit longer ago.
    """
    told = _lines(console)
    begins = max(0, len(told) - lines)
    panic = panic_in(told)
    if panic is not None:
        begins = panic.first
    else:
        for number in range(begins, max(0, begins - _TROUBLE_LINES), -1):
            if _TROUBLE.search(told[number - 1]):
                begins = number - 1
                break
    shown = told[begins:]
    left_out = len(shown) - _TROUBLE_LINES - lines
    if left_out > 0:
        shown = [*shown[:_TROUBLE_LINES], f"[{left_out} lines left out]", *shown[-lines:]]
    return "\n".join(shown)


def read_marks(path: Path) -> tuple[tuple[float, str], ...]:
    """The launcher's marks in the console file: (seconds of host time since power-on, what happened)."""
    marks = []
    for line in path.read_text("utf-8", "replace").splitlines():
        _, found, rest = line.partition(MARK)
        if found:
            seconds, _, event = rest.partition(" s ")
            marks.append((float(seconds), event))
    return tuple(marks)
