"""A guest's console: the kernel's output, with lines of the launcher between them; written to and read from a file."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import BinaryIO

from rttcheck.kernels.panic import panic_in

TAIL_BYTES = 64 * 1024
MARK = "rttcheck launcher: "
"""The beginning of the launcher's lines; the rest is seconds of host time since power-on and the event."""

LOST = "lost: "
"""The beginning of the event of a lost guest; the rest continues a sentence that begins with "the guest"."""

_BEGINS = ("power-on", "thawing")
_TROUBLE = re.compile(r"Kernel panic|BUG:|Oops:|general protection fault|WARNING:|hung_task|watchdog:")
_TROUBLE_LINES = 90


class Console:
    """Keeps a console's tail, and writes all of it to `file` if there is one. Its clock starts when it is made."""

    def __init__(self, file: BinaryIO | None = None) -> None:
        self._file = file
        self._tail = bytearray()
        self._started = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds of host time since it was made."""
        return time.monotonic() - self._started

    @property
    def tail(self) -> str:
        """Its last lines, see `tail_of`."""
        return tail_of(bytes(self._tail))

    def write(self, text: bytes) -> None:
        """Add output of the guest."""
        self._tail += text
        del self._tail[:-TAIL_BYTES]
        if self._file is not None:
            self._file.write(text)

    def mark(self, event: str) -> None:
        """Write a line of the launcher."""
        fresh = b"" if not self._tail or self._tail.endswith(b"\n") else b"\n"
        self.write(fresh + f"{MARK}{self.elapsed_s:.3f} s {event}\n".encode())

    def lose(self, how: str) -> str:
        """Write that the guest is lost, and how (``died``). Return `how` with the kernel panic, if there was one."""
        panic = panic_in(_lines(bytes(self._tail)))
        if panic is not None:
            how = f"{how} after a kernel panic ({panic.title})"
        self.mark(LOST + how)
        return how


def read_console_tail(path: Path, *, lines: int = 30) -> str:
    """Return the end of the console in `path`, as `tail_of` does; empty if there is no such file."""
    return tail_of(_read(path), lines=lines)


def read_loss(path: Path) -> str:
    """Return why the guest was lost, as the launcher wrote it to the console in `path`; else the empty string."""
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
    """Return the last `lines` lines of `console`; after a kernel panic, everything from the first line of its report.

    Registers and stack take some 60 lines; the middle of a much longer report is left out. Without a panic the text
    begins at the kernel's last error message, if that is at most 90 lines further back.
    """
    all_lines = _lines(console)
    begins = max(0, len(all_lines) - lines)
    panic = panic_in(all_lines)
    if panic is not None:
        begins = panic.first
    else:
        for number in range(begins, max(0, begins - _TROUBLE_LINES), -1):
            if _TROUBLE.search(all_lines[number - 1]):
                begins = number - 1
                break
    shown = all_lines[begins:]
    left_out = len(shown) - _TROUBLE_LINES - lines
    if left_out > 0:
        shown = [*shown[:_TROUBLE_LINES], f"[{left_out} lines left out]", *shown[-lines:]]
    return "\n".join(shown)
