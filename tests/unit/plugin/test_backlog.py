"""What is reported of one kernel keeps its order, whatever waits for a verdict."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial
from typing import Any

from rttcheck.plugin.backlog import Backlog


def test_without_a_wait_actions_are_called_at_once() -> None:
    called: list[int] = []
    backlog = Backlog()
    backlog.add(partial(called.append, 1))
    assert (called, bool(backlog)) == ([1], False)


def test_what_waits_holds_up_what_comes_after_it() -> None:
    called: list[int] = []
    first: Future[Any] = Future()
    third: Future[Any] = Future()
    backlog = Backlog()
    backlog.add(partial(called.append, 1), first, name="one")
    backlog.add(partial(called.append, 2))
    backlog.add(partial(called.append, 3), third, name="three")
    third.set_result(None)
    backlog.work()
    assert called == []
    assert (backlog.awaited, backlog.left) == ([first, third], ["one", "three"])
    first.set_result(None)
    backlog.work()
    assert called == [1, 2, 3]
    assert not backlog


def test_an_action_may_add_another() -> None:
    called: list[int] = []
    backlog = Backlog()
    backlog.add(partial(backlog.add, partial(called.append, 1)))
    assert called == [1]
