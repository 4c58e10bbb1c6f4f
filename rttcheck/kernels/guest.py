"""How others speak of a guest: its settings, the gateway into it, what its launcher's exit status means.

Owns the launcher's command line, for both sides of it. Light: the plugin imports it in every session.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from rttcheck.errors import KernelError

EXIT_USAGE = 4
"""The launcher's exit status for a kernel or an option that makes no sense; the same as pytest's."""

EXIT_LOST = 20
"""The launcher's exit status for a guest that died, hung or did not boot: its tests neither passed nor failed."""

BOOT_VARIABLE = "RTTCHECK_BOOT"
"""Set to ``fresh`` in the environment of a launcher, its guest is booted though a frozen one may be at hand."""

CLOCKS = ("virtual", "real")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestSettings:
    """One guest: which kernel, which clock, where its console goes, what it may write to.

    All deadlines are seconds of host time. ``boot_s``: power-on to the start of Python. ``gateway_s``: from there to
    its first byte. ``silence_s``: without a byte from the guest afterwards. ``overall_s``: everything; ``None`` is
    without end. ``gateway``: standard input is a controller, and the guest ends when that does. ``fresh``: booted,
    though a frozen one may be at hand. What lies elsewhere on the launcher's machine than where the guest is to see it:
    ``rw_at`` is ``rw`` in the guest, ``binds`` are pairs (there, in the guest), ``cwd`` the guest's own directory.
    """

    kernel: str
    clock: str = "virtual"
    console: Path | None = None
    rw: Path | None = None
    rw_at: Path | None = None
    binds: tuple[tuple[Path, Path], ...] = ()
    cwd: Path | None = None
    cpus: int = 2
    memory_mb: int = 1024
    boot_s: float = 90.0
    gateway_s: float = 90.0
    silence_s: float = 300.0
    overall_s: float | None = None
    gateway: bool = False
    fresh: bool = False
    environment: tuple[tuple[str, str], ...] = field(default=())

    def __post_init__(self) -> None:
        if self.clock not in CLOCKS:
            raise KernelError(f"a guest's clock is 'virtual' or 'real', not {self.clock!r}; write one of them")

    def options(self) -> list[str]:
        """The launcher's options that say the same."""
        options = ["--kernel", self.kernel, "--clock", self.clock]
        if self.console is not None:
            options += ["--console", str(self.console)]
        if self.rw is not None:
            options += ["--rw", str(self.rw)]
        if self.rw_at is not None:
            options += ["--rw-at", str(self.rw_at)]
        if self.cwd is not None:
            options += ["--cwd", str(self.cwd)]
        for source, place in self.binds:
            options += ["--bind", str(source), str(place)]
        default = GuestSettings(kernel=self.kernel)
        for name in ("cpus", "memory_mb", "boot_s", "gateway_s", "silence_s", "overall_s"):
            value = getattr(self, name)
            if value != getattr(default, name):
                options += [f"--{name.replace('_', '-')}", str(value)]
        options += [f"--{name}" for name in ("gateway", "fresh") if getattr(self, name)]
        for name, value in self.environment:
            options += ["--env", f"{name}={value}"]
        return options


def launcher_command(settings: GuestSettings, *, python: str = sys.executable) -> list[str]:
    """The command that boots such a guest; the arguments for its Python follow it."""
    return [python, "-m", "rttcheck.kernels.launcher", *settings.options(), "--"]


def gateway_spec(settings: GuestSettings, *, name: str, python: str = sys.executable) -> str:
    """The execnet spec (pytest-xdist's ``--tx``) of a gateway called `name` into such a guest.

    Raises `KernelError` when a path in it holds ``//``, which execnet takes for the end of a part.
    """
    command = shlex.join(launcher_command(replace(settings, gateway=True), python=python))
    if "//" in command or "//" in name:
        raise KernelError(f"a gateway's command line cannot hold '//' ({command}); give paths without it")
    return f"popen//id={name}//python={command}"
