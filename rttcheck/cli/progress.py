"""Show progress on standard error: a spinner on a terminal, plain lines elsewhere.

Results go to standard output, at the end, by other modules.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO


class Progress(Protocol):
    """Shows how far a run has got."""

    def phase(self, text: str) -> None:
        """Show ``text`` as the current phase."""

    def line(self, text: str) -> None:
        """Write ``text`` on a line that stays."""


class ProgressLines:
    """Progress for pipes, files and dumb terminals: one line each."""

    def __init__(self, to: TextIO) -> None:
        self._to = to

    def phase(self, text: str) -> None:
        """Write a line: in a log it is the only progress."""
        self.line(text)

    def line(self, text: str) -> None:
        """Write ``text`` at once."""
        print(f"rttcheck: {text}", file=self._to, flush=True)


@contextmanager
def shown_progress(*, colour: bool) -> Iterator[Progress]:
    """Yield a spinner where standard error is a terminal that can show one (``colour``), else lines."""
    if not colour:
        yield ProgressLines(sys.stderr)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    with console.status("") as status:

        class Spinner:
            def phase(self, text: str) -> None:
                status.update(Text(text))

            def line(self, text: str) -> None:
                console.print(Text.from_ansi(text), soft_wrap=True)

        yield Spinner()
