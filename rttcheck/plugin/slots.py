"""Where guests can run at the same time, and which kernel is next.

Owns the counting: an emulated guest keeps a core busy, and the running kernel, whose time is real, wants the machine
for itself. It starts nothing.
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
"""What a guest's QEMU and its launcher take beside the guest's own memory."""


class SessionMachine(Protocol):
    """A machine that has room for guests. ``name`` is empty for this one, ``slots`` how many it has room for."""

    @property
    def name(self) -> str: ...

    @property
    def slots(self) -> int: ...

    def gateway_spec(self, settings: GuestSettings, *, name: str) -> str:
        """The execnet spec of a gateway into such a guest there."""

    def fetch_files(self, settings: GuestSettings, *, name: str) -> None:
        """The guest has ended: put its console and its recordings in their places here; RemoteError if it is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalMachine:
    """The machine that the session was started on."""

    slots: int
    name: str = ""

    def gateway_spec(self, settings: GuestSettings, *, name: str) -> str:
        """As `rttcheck.kernels.guest.gateway_spec`."""
        return gateway_spec(settings, name=name)

    def fetch_files(self, settings: GuestSettings, *, name: str) -> None:
        """They are."""


@dataclass(slots=True, eq=False)
class Slots:
    """Machines with room, and the runs that sit there."""

    machines: list[SessionMachine]
    taken: dict[KernelRun, SessionMachine] = field(default_factory=dict)

    def take(self, run: KernelRun) -> SessionMachine | None:
        """A machine for ``run``, which it has until `leave`; None while there is no room."""
        for machine in self.machines:
            there = [other for other, where in self.taken.items() if where is machine]
            # The running kernel is timed in real time: nothing of ours may keep its cores busy.
            crowded = bool(there) if run.is_host else any(other.is_host for other in there)
            if not crowded and len(there) < machine.slots and self._suits(run, machine):
                self.taken[run] = machine
                return machine
        return None

    def may_wait(self, run: KernelRun) -> bool:
        """Whether ``run`` will get a slot when others have left; not where its machines have all gone away."""
        return any(machine.slots > 0 and self._suits(run, machine) for machine in self.machines)

    @staticmethod
    def _suits(run: KernelRun, machine: SessionMachine) -> bool:
        """The running kernel, and one given by its path, are here and nowhere else."""
        return not machine.name or bool(run.exact)

    def leave(self, run: KernelRun) -> None:
        """``run`` has come to an end there."""
        self.taken.pop(run, None)

    def close(self, machine: SessionMachine) -> None:
        """A machine has gone away: nobody gets a slot there any more."""
        if machine in self.machines:
            self.machines.remove(machine)


def guest_slots(settings: Iterable[GuestSettings], *, cores: int | None = None, available_mb: int | None = None) -> int:
    """How many of such guests run at the same time on a machine without getting into each other's way; at least 1.

    ``cores`` and ``available_mb`` (mebibytes of memory) are this machine's where they are not given.

    A guest in virtual time has one processor, and takes a core of this machine's.
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
    """What the kernel says can be had without swapping (proc(5), MemAvailable), mebibytes."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) // 1024
    return 0


def start_order(runs: Iterable[KernelRun], took_s: Mapping[str, float]) -> list[KernelRun]:
    """The running kernel first, then the longest: a long guest that starts last is waited for by all slots.

    ``took_s`` is how long each took the last time, by what it is called; one that is new here may have to be booted.
    """
    return sorted(runs, key=lambda run: (not run.is_host, -took_s.get(run.asked, float("inf"))))
