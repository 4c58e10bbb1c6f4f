"""What a person sees while a run is under way: a spinner on a terminal, plain lines elsewhere; both on standard error.

Owns standard error during a run. Results are not its business: they go to standard output when all is known.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO


class Progress(Protocol):
    """How a run tells how far it is."""

    def phase(self, text: str) -> None:
        """What is going on from now on, which may take a while."""

    def line(self, text: str) -> None:
        """Something to keep."""


class Lines:
    """For pipes, files and dumb terminals: each thing once, on a line of its own."""

    def __init__(self, to: TextIO) -> None:
        self._to = to

    def phase(self, text: str) -> None:
        """A line, too: in a log it is the only sign of life."""
        self.line(text)

    def line(self, text: str) -> None:
        """Write it now; who closed standard error does not want to know."""
        print(f"rttcheck: {text}", file=self._to, flush=True)


@contextmanager
def shown_progress(*, colour: bool) -> Iterator[Progress]:
    """A spinner where standard error is a terminal that can show one, lines where it is not."""
    if not colour:
        yield Lines(sys.stderr)
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
