"""A stream of which the next few are known: those that a walk must see before it comes to them.

It owns how many are kept. It does not know what they are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Ahead(Generic[Item]):
    """Items in order, one after the other."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._rest = iter(items)
        self._known: deque[Item] = deque()

    def at(self, place: int) -> Item | None:
        """The item that is ``place`` behind the next one, which is 0; None beyond the last."""
        while len(self._known) <= place:
            item = next(self._rest, None)
            if item is None:
                return None
            self._known.append(item)
        return self._known[place]

    def take(self) -> Item:
        """The next item, which is gone then. Raises IndexError when there is none."""
        self.at(0)
        return self._known.popleft()
