"""A guest as its callers describe it: its settings, the launcher's command line, the launcher's exit statuses.

The plugin imports this module in every session, so it imports little.
"""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from rttcheck.errors import KernelError

EXIT_USAGE = 4
"""The launcher's exit status for an unknown kernel or an invalid option; the same as pytest's."""

EXIT_LOST = 20
"""The launcher's exit status for a guest that died, hung or did not boot. Its tests neither passed nor failed."""

BOOT_VARIABLE = "RTTCHECK_BOOT"
"""``fresh`` in this variable of the launcher's environment: boot the guest even if a frozen one is in the cache."""

CLOCKS = ("virtual", "real")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestSettings:
    """The settings of one guest.

    ``kernel`` is a spec (`rttcheck.kernels.spec`), ``console`` the file for its console, ``rw`` the one directory that
    it can write to. All deadlines are seconds of host time, without the time in which the guest waited for a processor
    (`rttcheck.kernels.patience`): ``boot_s`` from power-on to the start of Python,
    ``gateway_s`` from there to its first byte, ``silence_s`` between two bytes afterwards, ``overall_s`` for everything
    (``None``: no limit). ``gateway``: standard input is a controller, and the guest ends when it closes. ``fresh``:
    boot even if a frozen guest is in the cache.

    Paths that differ in the guest: ``rw_at`` is the path of ``rw`` in the guest, ``binds`` are pairs (path on the
    launcher's machine, path in the guest), ``cwd`` is the guest's working directory.
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
        for name, _ in self.environment:
            if not name.isidentifier():
                raise KernelError(f"{name!r} is no name of an environment variable; write another")

    def to_json(self) -> str:
        """Return the settings as one line of JSON, without those that have their default."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        changed = {one.name: values[one.name] for one in fields(self) if values[one.name] != one.default}
        # Without escapes for non-ASCII characters: some login shells interpret backslashes in quoted arguments.
        return json.dumps(changed, default=str, ensure_ascii=False)

    @classmethod
    def of_json(cls, text: str) -> GuestSettings:
        """Return the settings that `to_json` wrote. Raises `KernelError` for any other text."""
        try:
            values = dict(json.loads(text))
            for name in ("console", "rw", "rw_at", "cwd"):
                if values.get(name) is not None:
                    values[name] = Path(values[name])
            values["binds"] = tuple((Path(source), Path(place)) for source, place in values.get("binds", ()))
            values["environment"] = tuple((str(name), str(value)) for name, value in values.get("environment", ()))
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise KernelError(f"--settings {text} is invalid ({error}); use --kernel SPEC instead") from error


def launcher_command(settings: GuestSettings, *, python: str = sys.executable) -> list[str]:
    """Return the command that boots such a guest. The arguments for its Python are to be appended."""
    return [python, "-m", "rttcheck.kernels.launcher", "--settings", settings.to_json(), "--"]


def gateway_spec(settings: GuestSettings, *, name: str, python: str = sys.executable) -> str:
    """Return the execnet spec (pytest-xdist's ``--tx``) of a gateway called `name` into such a guest.

    Raises `KernelError` when the command line contains ``//``, which separates the parts of a spec.
    """
    command = shlex.join(launcher_command(replace(settings, gateway=True), python=python))
    if "//" in command or "//" in name:
        raise KernelError(f"a gateway's command line cannot contain '//' ({command}); give paths without it")
    return f"popen//id={name}//python={command}"
