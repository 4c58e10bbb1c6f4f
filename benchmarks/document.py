"""A document with measured sections: each stands between two marks of its own and is replaced without the others."""

from __future__ import annotations


class NoPlace(Exception):
    """The document lacks a section's marks; ``str()`` says which to put in."""


def replaced(text: str, name: str, lines: list[str]) -> str:
    """Return the document with ``lines`` as the section's content. Raises NoPlace."""
    begin, end = f"<!-- measured: {name} -->", f"<!-- /measured: {name} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise NoPlace(f"there is no place for {name}: put {begin} and {end} there, each in a line of its own")
    return "\n".join([before + begin, *lines, end + after])
