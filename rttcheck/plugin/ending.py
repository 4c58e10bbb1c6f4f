"""A session of scenarios that gets SIGTERM ends as with Ctrl-C: guests gone, everything reported, pytest's status 2.

Owns from when to when the signal does that. pytest and xdist leave it to the system, which ends them without a word;
for SIGINT they have Python's KeyboardInterrupt, and a way from there to the report.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from rttcheck.interruption import Interruption, interrupted_by_sigterm


@dataclass(frozen=True, slots=True, eq=False)
class SigtermHandling:
    """Lets SIGTERM interrupt a session until its end has begun, whatever began it."""

    interruption: Interruption

    @classmethod
    def begin(cls, config: pytest.Config) -> None:
        """From now on; the signal has its usual effect again when pytest is done with ``config``."""
        stack = ExitStack()
        config.add_cleanup(stack.close)
        config.pluginmanager.register(cls(stack.enter_context(interrupted_by_sigterm())), "rttcheck-ending")

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self) -> None:
        """Ctrl-C came, or the signal did; a service that has sent the one sends the other before it gives up."""
        self.interruption.ending = True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None]:
        """Files are written."""
        self.interruption.ending = True
        yield
