"""What all of the project's own tests share: pytest's means of testing a plugin, and a Ctrl-C that is heard."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def interruptible(request: pytest.FixtureRequest) -> Iterator[None]:
    """SIGINT as in the foreground: a shell that runs tests in the background has it ignored, and that is inherited.

    Scenarios are left as they were started: in the background, a Ctrl-C is for somebody else.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN or request.node.get_closest_marker("rtt"):
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
