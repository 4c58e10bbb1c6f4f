"""One kernel of the session: its spec, its machine, and the state of its tests. This module starts nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from rttcheck.kernels.guest import GuestSettings

HOST = "host"
"""The user's name of the running kernel."""

ATTEMPTS = 2
"""How often a guest is started: once more after a loss, then freshly booted."""


@dataclass(slots=True, eq=False)
class KernelRun:
    """One kernel and its tests. ``settings`` are its guest's, None for the running kernel; times are monotonic s."""

    asked: str
    """The user's name of it: ``host``, ``debian:6.12``, a path."""
    release: str
    name: str
    """The name of its gateway and of its console's file."""
    settings: GuestSettings | None = None
    exact: str = ""
    """The spec of exactly this kernel, ``debian:6.12.107+deb13``; empty for a kernel only on this machine."""
    attempt: int = 0
    """The number of times it was started."""
    where: str = ""
    """The machine that it was started on; empty for this one."""
    collected: tuple[str, ...] = ()
    finished: set[str] = field(default_factory=set)
    losses: list[str] = field(default_factory=list)
    """The reason of each loss, with the end of the console."""
    departures: list[str] = field(default_factory=list)
    """The reason of each loss of its machine, which is no loss of the kernel."""
    started_s: float = 0.0
    first_test_s: float = 0.0
    ended_s: float = 0.0

    @property
    def is_host(self) -> bool:
        """Whether it is the running kernel, which needs no guest."""
        return self.settings is None

    @property
    def gateway(self) -> str:
        """The name of the gateway of this attempt."""
        return self.name if self.attempt < ATTEMPTS else f"{self.name}.{self.attempt}"

    @property
    def console(self) -> Path | None:
        """The file of the console of this attempt's guest, or None."""
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
        """Its tests that have not finished."""
        return tuple(nodeid for nodeid in self.collected if nodeid not in self.finished)

    def attempt_settings(self) -> GuestSettings:
        """Return the settings of this attempt's guest, which after a loss is booted even if a frozen one is cached."""
        assert self.settings is not None, "the running kernel has no guest"
        return replace(self.settings, console=self.console, fresh=bool(self.losses))

    def remote_settings(self) -> GuestSettings:
        """Return the same for another machine, with exactly this kernel instead of a series."""
        settings = self.attempt_settings()
        names = (("RTTCHECK_KERNEL", settings.kernel), *settings.environment)
        return replace(settings, kernel=self.exact, environment=names)

    def lose(self, cause: str, *, when: str = "") -> str:
        """Record the loss of its guest, ``when`` as in "during test_x"; return the reason.

        That is the launcher's reason, which includes a kernel panic; ``cause`` if the launcher wrote none.
        """
        from rttcheck.kernels.console import read_loss

        how = "" if self.console is None else read_loss(self.console)
        why = f"it {how}" if how else cause
        self.losses.append(self.loss_report(f" {when}: {why}" if when else f": {why}"))
        return why

    def loss_report(self, loss: str) -> str:
        """Return the reason of a loss, with the end of the console."""
        from rttcheck.kernels.console import read_console_tail

        who = f"the guest {self.asked}" if not self.is_host else "the process on the running kernel"
        where = f" on {self.where}" if self.where else ""
        if self.console is None:
            return f"{who}{where} was lost{loss}"
        return (
            f"{who}{where} was lost{loss}; the end of its console ({self.console}):\n{read_console_tail(self.console)}"
        )

    def facts(self) -> dict[str, object]:
        """Return the state as values for JSON; times are in seconds from its start."""
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
