"""Write to standard output and flush; turn write errors into one message. Also decides on colours and width."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rttcheck.errors import RttcheckError

PIPE_COLUMNS = 120
"""Columns of a line where the output is not a terminal."""


class OutputRefused(RttcheckError):
    """Standard output cannot be written, most likely a full disk. A closed pipe is a BrokenPipeError instead."""


def write(text: str) -> None:
    """Write ``text`` and a newline to standard output and flush; characters that its encoding lacks become ``?``.

    Raises OutputRefused, and BrokenPipeError when the reader has closed the pipe.
    """
    encoding = sys.stdout.encoding or "utf-8"
    with _write_errors():
        print(text.encode(encoding, "replace").decode(encoding), flush=True)


def write_bytes(content: bytes) -> None:
    """Write the bytes ``content`` to standard output and flush; raises as `write` does."""
    with _write_errors():
        sys.stdout.flush()
        left = memoryview(content)
        while left:
            # Unbuffered, a write to a pipe may be partial.
            left = left[sys.stdout.buffer.write(left) :]
        sys.stdout.buffer.flush()


def flush() -> None:
    """Flush the buffer; raises as `write` does."""
    with _write_errors():
        sys.stdout.flush()


@contextmanager
def _write_errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        _abandon()
        raise
    except OSError as error:
        _abandon()
        raise OutputRefused(
            f"standard output cannot be written ({error.strerror}): free some space, or send it elsewhere"
        ) from error


def _abandon() -> None:
    """Redirect standard output to /dev/null: Python would retry the buffer at exit and print a traceback."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)


def wants_colour(stream: TextIO) -> bool:
    """Return whether ``stream`` is a terminal with colours and NO_COLOR is not set (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def columns(stream: TextIO | None = None) -> int:
    """Return the width of the terminal, or COLUMNS, else `PIPE_COLUMNS`."""
    stream = sys.stdout if stream is None else stream
    if stream.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size((PIPE_COLUMNS, 24)).columns
    return PIPE_COLUMNS
