"""Slots for guests on the session's machines, and the order in which kernels are started.

An emulated guest keeps a core busy. The running kernel has real time and needs the machine for itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from rttcheck.kernels.guest import GuestSettings, gateway_spec
from rttcheck.plugin.kernel_run import KernelRun

_SPARE_MB = 256
"""Memory of a guest's QEMU and launcher beside the guest's own."""


class SessionMachine(Protocol):
    """A machine for guests. ``name`` is empty for this machine, ``slots`` the number of guests at the same time."""

    @property
    def name(self) -> str: ...

    @property
    def slots(self) -> int: ...

    def gateway_spec(self, settings: GuestSettings, *, name: str) -> str:
        """Return the execnet spec of a gateway into such a guest on the machine."""

    def fetch_files(self, settings: GuestSettings, *, name: str) -> None:
        """Fetch console and recordings of a guest that has ended. Raises RemoteError if the machine does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalMachine:
    """The machine that the session was started on."""

    slots: int
    name: str = ""

    def gateway_spec(self, settings: GuestSettings, *, name: str) -> str:
        """Return the same as `rttcheck.kernels.guest.gateway_spec`."""
        return gateway_spec(settings, name=name)

    def fetch_files(self, settings: GuestSettings, *, name: str) -> None:
        """Do nothing: the files are on this machine."""


@dataclass(slots=True, eq=False)
class Slots:
    """The session's machines, and the runs on them."""

    machines: list[SessionMachine]
    taken: dict[KernelRun, SessionMachine] = field(default_factory=dict)

    def take(self, run: KernelRun) -> SessionMachine | None:
        """Take a slot for ``run`` and return its machine; None if there is none. `leave` frees the slot."""
        for machine in self.machines:
            others = [other for other, where in self.taken.items() if where is machine]
            # The running kernel has real time: no guest may keep its cores busy.
            crowded = bool(others) if run.is_host else any(other.is_host for other in others)
            if not crowded and len(others) < machine.slots and self._suits(run, machine):
                self.taken[run] = machine
                return machine
        return None

    def may_wait(self, run: KernelRun) -> bool:
        """Return whether any machine has slots for ``run``, free or not."""
        return any(machine.slots > 0 and self._suits(run, machine) for machine in self.machines)

    @staticmethod
    def _suits(run: KernelRun, machine: SessionMachine) -> bool:
        """Return whether the machine has the kernel: the running one, and one given by path, are only on this one."""
        return not machine.name or bool(run.exact)

    def leave(self, run: KernelRun) -> None:
        """Free the slot of ``run``."""
        self.taken.pop(run, None)

    def close(self, machine: SessionMachine) -> None:
        """Remove a machine that does not answer."""
        if machine in self.machines:
            self.machines.remove(machine)


def guest_slots(settings: Iterable[GuestSettings], *, cores: int | None = None, available_mb: int | None = None) -> int:
    """Return how many of such guests a machine can run at the same time without slowing each other; at least 1.

    ``cores`` and ``available_mb`` (mebibytes of memory) are by default those of this machine. A guest in virtual time
    has one processor and uses one core.
    """
    each = list(settings)
    if not each:
        return 1
    widest = max(1 if one.clock == "virtual" else one.cpus for one in each)
    largest_mb = max(one.memory_mb for one in each) + _SPARE_MB
    cores = len(os.sched_getaffinity(0)) if cores is None else cores
    memory_mb = _available_mb() if available_mb is None else available_mb
    return max(1, min(cores // widest, memory_mb // largest_mb))


def _available_mb() -> int:
    """Return the memory available without swapping (proc(5), MemAvailable), mebibytes."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) // 1024
    return 0


def start_order(runs: Iterable[KernelRun], took_s: Mapping[str, float]) -> list[KernelRun]:
    """Return the runs in the order of their start: the running kernel first, then those that take longest.

    A long run that starts last would keep the other slots idle. ``took_s`` is the time that each took before, seconds,
    by the user's name; an unknown one counts as longest, as it may have to be booted.
    """
    return sorted(runs, key=lambda run: (not run.is_host, -took_s.get(run.asked, float("inf"))))
