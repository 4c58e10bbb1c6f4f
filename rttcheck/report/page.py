"""Text rendered with rich: tables and lines for a terminal, a pipe or a file."""

from __future__ import annotations

from io import StringIO

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table


class Page:
    """Collects what rich prints as one text; lines are ``width`` columns wide, at least ``least``."""

    def __init__(self, *, width: int, least: int, colour: bool) -> None:
        self._text = StringIO()
        self._console = Console(
            file=self._text,
            width=max(width, least),
            force_terminal=colour,
            no_color=not colour,
            color_system="standard" if colour else None,
            legacy_windows=False,
            highlight=False,
        )

    def print(self, what: RenderableType = "") -> None:
        """Print a table, or a text that is wrapped at the width."""
        self._console.print(what)

    def line(self, what: RenderableType) -> None:
        """Print a text without wrapping and markup, so that a command can be copied."""
        self._console.print(what, soft_wrap=True, markup=False)

    @property
    def text(self) -> str:
        """The whole text, without trailing blanks and without the last newline."""
        return "\n".join(line.rstrip() for line in self._text.getvalue().rstrip("\n").split("\n"))


def plain_table() -> Table:
    """Return an empty table with a line below its heading and no border."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
