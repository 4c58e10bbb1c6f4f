"""A text made with rich: tables and lines for a terminal, a pipe or a file.

Owns what rich is told of the reader (width, colours) and the look of tables. What stands in them is the caller's.
"""

from __future__ import annotations

from io import StringIO

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table


class Page:
    """Is printed on like rich's console, and read as one text; lines are ``width`` columns wide, ``least`` at least."""

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
        """A table, or a text that is wrapped where it is longer than a line."""
        self._console.print(what)

    def line(self, what: RenderableType) -> None:
        """A text that is not wrapped, and whose brackets are no markup: a command is to be copied in one piece."""
        self._console.print(what, soft_wrap=True, markup=False)

    @property
    def text(self) -> str:
        """All of it, without blanks at the ends of lines and without the last line's end."""
        return "\n".join(line.rstrip() for line in self._text.getvalue().rstrip("\n").split("\n"))


def plain_table() -> Table:
    """A table without columns yet: a line below its heading and none around it."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
