"""What is to be reported of one kernel, in order: what waits for a verdict holds up what comes after it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class _Entry:
    action: Callable[[], object]
    awaited: Future[Any] | None
    name: str

    @property
    def due(self) -> bool:
        return self.awaited is None or self.awaited.done()


@dataclass(slots=True, eq=False)
class Backlog:
    """Actions in the order of their addition. Who awaits a future calls `work` when it is done."""

    _entries: deque[_Entry] = field(default_factory=deque)

    def __bool__(self) -> bool:
        """Whether anything is left."""
        return bool(self._entries)

    @property
    def awaited(self) -> list[Future[Any]]:
        """The futures that actions wait for."""
        return [entry.awaited for entry in self._entries if entry.awaited is not None]

    @property
    def left(self) -> list[str]:
        """The names of the actions that are left, of those that have one."""
        return [entry.name for entry in self._entries if entry.name]

    def add(self, action: Callable[[], object], awaited: Future[Any] | None = None, *, name: str = "") -> None:
        """Call ``action`` after all others and when the future that it awaits is done; at once, if that is now."""
        self._entries.append(_Entry(action, awaited, name))
        self.work()

    def work(self) -> None:
        """Call the actions up to the first that has to wait."""
        while self._entries and self._entries[0].due:
            self._entries.popleft().action()
