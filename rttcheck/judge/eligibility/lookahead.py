"""An iterator with lookahead: the next items can be read before they are taken."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Lookahead(Generic[Item]):
    """Items in order, with lookahead."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = iter(items)
        self._buffer: deque[Item] = deque()

    def at(self, place: int) -> Item | None:
        """Return the item ``place`` after the next one (0 is the next); None beyond the last."""
        while len(self._buffer) <= place:
            item = next(self._items, None)
            if item is None:
                return None
            self._buffer.append(item)
        return self._buffer[place]

    def take(self) -> Item:
        """Remove and return the next item. Raises IndexError when there is none."""
        self.at(0)
        return self._buffer.popleft()
