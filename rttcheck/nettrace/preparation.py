"""What must be true before the observer may look: eight steps in a fixed order, each with a sentence when it fails.

It owns the order and what each step asks of the machine: BTF, kernel version, mode, choice of operations, symbols,
privilege, kernel features, backups. It loads and attaches nothing, and does not know what will be printed.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from rttcheck.collect.probe.btf import Prototype, kernel_btf
from rttcheck.collect.probe.function import KALLSYMS, VMLINUX, Unproven, resolve, symbols
from rttcheck.collect.probe.probe import KPROBE_EVENTS, require_privilege
from rttcheck.errors import CapabilityError
from rttcheck.nettrace.trace_point import TRACE_POINTS, PointStatus, TraceMode, TracePoint, mark_backups

PrototypeOf = Callable[[str], Prototype | None]
"""Looks a kernel function up by its exact name."""

OLDEST_KERNEL = (5, 10)
NEWEST_KERNEL_READ = (7, 3)
"""The oldest and the newest source in which ``tcp_ack_update_rtt()`` was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRequest:
    """What the observer was asked to show. Limits are microseconds, 0 for none."""

    mode: TraceMode = TraceMode.STATISTICS
    first_below_us: int = 0
    """Leave out events whose first-acked sample is below."""
    last_below_us: int = 0
    """Leave out events whose last-acked sample is below."""
    every_sample: bool = False
    """Show samples from SACK and from timestamps as well, which nettrace does not see."""
    port: int = 0
    inodes: tuple[int, ...] | None = None
    """Network namespaces, by inode number; None for all."""
    operations: str = "auto"

    @property
    def filtered(self) -> bool:
        """Whether a filter on the values is set."""
        return self.first_below_us > 0 or self.last_below_us > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceMachine:
    """Where the steps look. The defaults are this machine."""

    release: str = field(default_factory=platform.release)
    btf: Path = VMLINUX
    kallsyms: Path = KALLSYMS
    kprobe_events: Path = KPROBE_EVENTS
    jit: Path = Path("/proc/sys/net/core/bpf_jit_enable")
    lockdown: Path = Path("/sys/kernel/security/lockdown")
    status: Path = Path("/proc/self/status")
    architecture: str = field(default_factory=platform.machine)
    prototypes: PrototypeOf | None = None
    """None for the running kernel's BTF."""

    @contextmanager
    def prototype_of(self) -> Iterator[PrototypeOf]:
        """Look functions up in the kernel's BTF while the context lasts."""
        if self.prototypes is not None:
            yield self.prototypes
            return
        with kernel_btf() as btf:
            yield btf.function


@dataclass(frozen=True, slots=True)
class Operations:
    """One way to look at a function, and what a machine lacks for it: empty when it is supported."""

    name: str
    lacks: Callable[[TraceMachine], str]


def _fexit_lacks(machine: TraceMachine) -> str:
    try:
        jit = machine.jit.read_text().strip()
    except OSError:
        return ""
    return "" if jit != "0" else f"the BPF JIT is off ({machine.jit} is 0): write 1 to it"


def _kprobe_lacks(machine: TraceMachine) -> str:
    if machine.architecture != "x86_64":
        return f"its program knows the registers of x86_64 and this is {machine.architecture}"
    if not machine.kprobe_events.exists():
        return f"the kernel has no kprobes ({machine.kprobe_events} is missing; it wants CONFIG_KPROBE_EVENTS)"
    return ""


OPERATIONS = (Operations("fexit", _fexit_lacks), Operations("kprobe", _kprobe_lacks))
"""In the order in which they are tried; the first that is supported wins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePlan:
    """What was decided: which points, through which operations (names in order of preference), and what to say."""

    request: TraceRequest
    points: tuple[PointStatus, ...]
    operations: tuple[str, ...]
    notices: tuple[str, ...] = ()

    @property
    def point(self) -> TracePoint:
        """The trace point that is looked at."""
        return next(status.point for status in self.points if status.usable)

    @property
    def backend(self) -> str:
        """What to ask the probe for: a name, or ``auto`` where there is a choice."""
        return self.operations[0] if len(self.operations) == 1 else "auto"

    def enabled(self) -> tuple[str, ...]:
        """A line for each enabled point, and one for each that was left out."""
        return tuple(
            f"{'/'.join(self.operations)}: {status.point.name}, group {status.point.group}, analyzer "
            f"{status.point.analyzer}, {self.request.mode.value}"
            + (f", monitor mode {status.point.monitor}" if status.point.monitor else "")
            if status.usable
            else f"not used: {status.point.name} ({status.invalid or 'off by default'})"
            for status in self.points
        )


def prepare(
    request: TraceRequest,
    machine: TraceMachine | None = None,
    *,
    points: tuple[TracePoint, ...] = TRACE_POINTS,
    operations: tuple[Operations, ...] = OPERATIONS,
) -> TracePlan:
    """Go through the steps in order and decide. Raises CapabilityError in the step that finds something missing."""
    machine = machine if machine is not None else TraceMachine()
    _require_btf(machine)
    notices = _check_version(machine)
    points = _points_for_mode(request, points)
    chosen, passed_over = _choose_operations(request, machine, operations)
    statuses = _resolve_symbols(machine, points)
    require_privilege(machine.status)
    _check_features(machine)
    statuses = mark_backups(statuses)
    if not any(status.usable for status in statuses):
        reasons = "; ".join(f"{status.point.name}: {status.invalid}" for status in statuses if status.invalid)
        raise CapabilityError(
            f"a trace of TCP round-trip times was asked for and no trace point can be used on Linux {machine.release}: "
            f"{reasons or 'none is enabled'}: run it on another kernel, for instance in a guest"
        )
    return TracePlan(request=request, points=statuses, operations=chosen, notices=(*notices, *passed_over))


def _require_btf(machine: TraceMachine) -> None:
    if not machine.btf.exists():
        raise CapabilityError(
            f"the observer needs the kernel's BTF and {machine.btf} is missing: run it on a kernel that was built with "
            "CONFIG_DEBUG_INFO_BTF=y, as all distributions' are"
        )


def _check_version(machine: TraceMachine) -> tuple[str, ...]:
    found = re.match(r"(\d+)\.(\d+)", machine.release)
    if found is None:
        return (f"the kernel calls itself {machine.release}, which is no version: its age is not known",)
    version = int(found[1]), int(found[2])
    if version < OLDEST_KERNEL:
        raise CapabilityError(
            f"the observer reads tcp_ack_update_rtt as it is since Linux {_dotted(OLDEST_KERNEL)} and this is "
            f"{machine.release}: run it on a newer kernel"
        )
    if version > NEWEST_KERNEL_READ:
        newest = _dotted(NEWEST_KERNEL_READ)
        return (
            f"Linux {machine.release} is newer than {newest}, the newest whose source was read: arguments are proved "
            "by BTF, their meaning is not",
        )
    return ()


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _points_for_mode(request: TraceRequest, points: tuple[TracePoint, ...]) -> tuple[TracePoint, ...]:
    """With a filter on the values a point makes events only where its condition holds."""
    return tuple(point.monitored() for point in points) if request.filtered else points


def _choose_operations(
    request: TraceRequest, machine: TraceMachine, operations: tuple[Operations, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the supported sets in order, and why those before the first one were passed over."""
    asked = [each for each in operations if request.operations in ("auto", each.name)]
    if not asked:
        known = ", ".join(["auto", *(each.name for each in operations)])
        raise CapabilityError(f"the probe '{request.operations}' was asked for and there are: {known}")
    lacks = {each.name: each.lacks(machine) for each in asked}
    supported = tuple(name for name, lack in lacks.items() if not lack)
    if not supported:
        reasons = "; ".join(f"{name}: {lack}" for name, lack in lacks.items())
        raise CapabilityError(
            f"no probe on tcp_ack_update_rtt ({request.operations}) is supported here: {reasons}: "
            "run it on a kernel that allows one, for instance in a guest"
        )
    names = list(lacks)
    return supported, tuple(f"{name} is passed over: {lacks[name]}" for name in names[: names.index(supported[0])])


def _resolve_symbols(machine: TraceMachine, points: tuple[TracePoint, ...]) -> tuple[PointStatus, ...]:
    """Mark the points whose function the kernel has under its own name, with the arguments that it should have."""
    try:
        found = symbols(machine.kallsyms.read_bytes())
    except OSError as error:
        raise CapabilityError(
            f"the kernel's symbols were looked for in {machine.kallsyms} and it cannot be read ({error.strerror}): "
            "mount /proc"
        ) from error
    statuses = []
    with machine.prototype_of() as prototype_of:
        for point in points:
            try:
                statuses.append(PointStatus(replace(point, name=resolve(found, prototype_of))))
            except Unproven as unproven:
                statuses.append(PointStatus(point, invalid=str(unproven)))
    return tuple(statuses)


def _check_features(machine: TraceMachine) -> None:
    """The kernel's lockdown in its strictest mode hides kernel memory from BPF programs."""
    try:
        lockdown = machine.lockdown.read_text()
    except OSError:
        return
    if "[confidentiality]" in lockdown:
        raise CapabilityError(
            f"the probe reads kernel memory and the kernel is locked down against that ({machine.lockdown} says "
            "[confidentiality]): boot it with lockdown=integrity or without lockdown"
        )
