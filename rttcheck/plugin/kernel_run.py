"""One kernel of the session: what was asked for, where it runs, what has become of its tests.

Owns the account and its words. It starts nothing, and refuses to know how tests get to a kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from rttcheck.kernels.guest import GuestSettings

HOST = "host"
"""What the user calls the running kernel."""

ATTEMPTS = 2
"""A guest that is lost is tried once more, in a fresh one; what is lost then stays lost."""


@dataclass(slots=True, eq=False)
class KernelRun:
    """One kernel and its tests. ``settings`` are its guest's, None for the running kernel; times are monotonic s."""

    asked: str
    """What the user calls it: ``host``, ``debian:6.12``, a path."""
    release: str
    name: str
    """Of its gateway, and of its console's file."""
    settings: GuestSettings | None = None
    exact: str = ""
    """What just this kernel is called on any machine, ``debian:6.12.107+deb13``; empty where it is only here."""
    attempt: int = 0
    """How many times it was started."""
    where: str = ""
    """The machine that it was started on, empty for this one."""
    collected: tuple[str, ...] = ()
    finished: set[str] = field(default_factory=set)
    losses: list[str] = field(default_factory=list)
    """Why each guest that was lost was lost, with the end of its console."""
    departures: list[str] = field(default_factory=list)
    """Why each machine that it was on went away; that is no fault of the kernel's."""
    started_s: float = 0.0
    first_test_s: float = 0.0
    ended_s: float = 0.0

    @property
    def is_host(self) -> bool:
        """Whether it is the running kernel, which needs no guest."""
        return self.settings is None

    @property
    def gateway(self) -> str:
        """The name of the gateway of the present attempt."""
        return self.name if self.attempt < ATTEMPTS else f"{self.name}.{self.attempt}"

    @property
    def console(self) -> Path | None:
        """Where the console of the present attempt's guest is kept."""
        if self.settings is None or self.settings.console is None:
            return None
        console = self.settings.console
        return console if self.attempt < ATTEMPTS else console.with_suffix(f".{self.attempt}{console.suffix}")

    @property
    def lost(self) -> bool:
        """Whether it is lost for good."""
        return len(self.losses) >= ATTEMPTS

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Its tests that have not come to an end."""
        return tuple(nodeid for nodeid in self.collected if nodeid not in self.finished)

    def attempt_settings(self) -> GuestSettings:
        """The present attempt's guest: the second is booted though a frozen one may be at hand."""
        assert self.settings is not None, "the running kernel has no guest"
        return replace(self.settings, console=self.console, fresh=bool(self.losses))

    def remote_settings(self) -> GuestSettings:
        """The same for another machine: this very kernel, whatever is the newest of its series there."""
        settings = self.attempt_settings()
        names = (("RTTCHECK_KERNEL", settings.kernel), *settings.environment)
        return replace(settings, kernel=self.exact, environment=names)

    def lose(self, cause: str, *, when: str = "") -> str:
        """Its guest is gone, ``when`` as in "during test_x"; what it was lost of.

        That is the launcher's word for it, which has the kernel's own; ``cause`` where there is none.
        """
        from rttcheck.kernels.console import read_loss

        how = "" if self.console is None else read_loss(self.console)
        why = f"it {how}" if how else cause
        self.losses.append(self.loss_report(f" {when}: {why}" if when else f": {why}"))
        return why

    def loss_report(self, loss: str) -> str:
        """Why its guest is lost, and the last it said."""
        from rttcheck.kernels.console import read_console_tail

        who = f"the guest {self.asked}" if not self.is_host else "the process on the running kernel"
        where = f" on {self.where}" if self.where else ""
        if self.console is None:
            return f"{who}{where} was lost{loss}"
        return (
            f"{who}{where} was lost{loss}; the end of its console ({self.console}):\n{read_console_tail(self.console)}"
        )

    def facts(self) -> dict[str, object]:
        """The account as JSON can hold it; seconds from its start."""
        return {
            "asked": self.asked,
            "release": self.release,
            "where": self.where,
            "attempts": self.attempt,
            "seconds_to_first_test": round(max(0.0, self.first_test_s - self.started_s), 1),
            "seconds": round(max(0.0, self.ended_s - self.started_s), 1),
            "tests": len(self.collected),
            "lost": len(self.unfinished) if self.lost else 0,
            "losses": list(self.losses),
            "departures": list(self.departures),
        }


KERNEL_RUNS = pytest.StashKey[Sequence[KernelRun]]()
"""The session's kernels, in a controller's ``config.stash``."""
