"""Writing to standard output: whole texts, at once, and a sentence where it cannot be written.

Owns the decision whether colours are wanted. It knows no command and no layout.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rttcheck.errors import RttcheckError

PIPE_COLUMNS = 120
"""How wide lines may be where no terminal says so."""


class OutputRefused(RttcheckError):
    """Standard output takes no more: a full disk, most likely. A reader that went away is a BrokenPipeError."""


def write(text: str) -> None:
    """Write ``text`` and a newline to standard output, now; characters that its encoding lacks become ``?``.

    Raises OutputRefused, and BrokenPipeError when the reader is gone.
    """
    encoding = sys.stdout.encoding or "utf-8"
    with _told():
        print(text.encode(encoding, "replace").decode(encoding), flush=True)


def write_bytes(content: bytes) -> None:
    """Write ``content`` as it is to standard output, now; raises as `write` does."""
    with _told():
        sys.stdout.flush()
        left = memoryview(content)
        while left:
            # Unbuffered, a pipe takes what fits into it.
            left = left[sys.stdout.buffer.write(left) :]
        sys.stdout.buffer.flush()


def flush() -> None:
    """Write what is left in the buffer; raises as `write` does."""
    with _told():
        sys.stdout.flush()


@contextmanager
def _told() -> Iterator[None]:
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
    """Give up standard output: what is left in the buffer would be tried, and complained about, when Python exits."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)


def wants_colour(stream: TextIO) -> bool:
    """Colours are for a terminal that can show them and a person who has not set NO_COLOR (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def columns(stream: TextIO | None = None) -> int:
    """The width of the terminal, or of COLUMNS, else `PIPE_COLUMNS`."""
    stream = sys.stdout if stream is None else stream
    if stream.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size((PIPE_COLUMNS, 24)).columns
    return PIPE_COLUMNS
