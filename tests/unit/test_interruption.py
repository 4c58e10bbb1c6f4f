"""SIGTERM as an interruption: once per request, in the process that installed the handler, until it is removed."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from rttcheck.interruption import Terminated, interrupted_by_sigterm

FORKED = """
import os, signal, sys
from rttcheck.interruption import interrupted_by_sigterm

with interrupted_by_sigterm():
    child = os.fork()
    if not child:
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    sys.exit(0 if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTERM else 1)
"""


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_the_signal_is_an_interruption_as_long_as_the_context_lasts() -> None:
    with interrupted_by_sigterm(), pytest.raises(KeyboardInterrupt, match="interrupted by SIGTERM"):
        terminate()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_it_leaves_the_context_as_any_exception_does() -> None:
    with pytest.raises(Terminated), interrupted_by_sigterm():
        terminate()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_one_that_follows_is_the_same_request() -> None:
    with interrupted_by_sigterm():
        with pytest.raises(Terminated):
            terminate()
        terminate()


def test_one_that_comes_much_later_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rttcheck.interruption._AGAIN_S", 0.0)
    with interrupted_by_sigterm():
        for _ in range(2):
            with pytest.raises(Terminated):
                terminate()


def test_what_is_ending_is_not_interrupted() -> None:
    with interrupted_by_sigterm() as interruption:
        interruption.ending = True
        terminate()


@pytest.mark.parametrize("theirs", [signal.SIG_IGN, lambda *_: None])
def test_what_others_do_with_the_signal_is_theirs(theirs: signal.Handlers) -> None:
    before = signal.signal(signal.SIGTERM, theirs)
    try:
        with interrupted_by_sigterm():
            assert signal.getsignal(signal.SIGTERM) is theirs
            terminate()
        assert signal.getsignal(signal.SIGTERM) is theirs
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_handler_that_is_set_meanwhile_stays() -> None:
    with interrupted_by_sigterm():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.signal(signal.SIGTERM, signal.SIG_DFL) is signal.SIG_IGN


def test_another_thread_has_none() -> None:
    seen: list[object] = []

    def look() -> None:
        with interrupted_by_sigterm():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]


def test_a_forked_child_dies_of_it(pytester: pytest.Pytester) -> None:
    # In a process of its own: pytest, forked, would go on in two.
    assert pytester.runpython_c(FORKED).ret == 0
