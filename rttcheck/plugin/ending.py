"""On SIGTERM a session of scenarios ends as with Ctrl-C: guests are ended, results are reported, pytest's status is 2.

pytest and xdist do not handle SIGTERM, whose default ends the process without a report. SIGINT raises
KeyboardInterrupt, which they handle.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from rttcheck.interruption import Interruption, interrupted_by_sigterm


@dataclass(frozen=True, slots=True, eq=False)
class SigtermHandling:
    """Lets SIGTERM interrupt a session until the session has begun to end."""

    interruption: Interruption

    @classmethod
    def begin(cls, config: pytest.Config) -> None:
        """Install the handler; it is removed when pytest is done with ``config``."""
        stack = ExitStack()
        config.add_cleanup(stack.close)
        config.pluginmanager.register(cls(stack.enter_context(interrupted_by_sigterm())), "rttcheck-ending")

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self) -> None:
        """Ignore SIGTERM after an interruption: CI services send it after SIGINT before they kill the job."""
        self.interruption.ending = True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None]:
        """Ignore SIGTERM while files are written."""
        self.interruption.ending = True
        yield
