"""Check the observer's preconditions in eight steps: BTF, kernel version, mode, choice of operations, symbols,
privilege, kernel features, backups. Nothing is loaded or attached.
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
    """What the observer shall show. Limits are microseconds, 0 for none."""

    mode: TraceMode = TraceMode.STATISTICS
    first_below_us: int = 0
    """Omit events with a smaller first-acked sample."""
    last_below_us: int = 0
    """Omit events with a smaller last-acked sample."""
    every_sample: bool = False
    """Also show samples from SACK and from timestamps, which nettrace omits."""
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
    """The files and facts that the steps use. The defaults are this machine's."""

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
    """A way to probe a function; ``lacks`` returns what a machine lacks for it, empty if supported."""

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
        return f"its program is for the registers of x86_64, and this is {machine.architecture}"
    if not machine.kprobe_events.exists():
        return f"the kernel has no kprobes ({machine.kprobe_events} is missing; it needs CONFIG_KPROBE_EVENTS)"
    return ""


OPERATIONS = (Operations("fexit", _fexit_lacks), Operations("kprobe", _kprobe_lacks))
"""In the order in which they are tried; the first that is supported wins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePlan:
    """The result of the preparation: trace points, operations (names in order of preference), and notices."""

    request: TraceRequest
    points: tuple[PointStatus, ...]
    operations: tuple[str, ...]
    notices: tuple[str, ...] = ()

    @property
    def point(self) -> TracePoint:
        """The trace point in use."""
        return next(status.point for status in self.points if status.usable)

    @property
    def backend(self) -> str:
        """The probe's backend: a name, or ``auto`` where there is a choice."""
        return self.operations[0] if len(self.operations) == 1 else "auto"

    def enabled(self) -> tuple[str, ...]:
        """Return a line for each trace point, enabled or not."""
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
    """Run the steps in order and return the plan. Raises CapabilityError in the step that finds something missing."""
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
            f"no trace point for TCP round-trip times can be used on Linux {machine.release}: "
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
        return (f"the kernel release {machine.release} is not a version number: the kernel's age is unknown",)
    version = int(found[1]), int(found[2])
    if version < OLDEST_KERNEL:
        raise CapabilityError(
            f"the observer reads tcp_ack_update_rtt as it is since Linux {_dotted(OLDEST_KERNEL)} and this is "
            f"{machine.release}: run it on a newer kernel"
        )
    if version > NEWEST_KERNEL_READ:
        newest = _dotted(NEWEST_KERNEL_READ)
        return (
            f"Linux {machine.release} is newer than {newest}, the newest whose source was read: BTF verifies the "
            "arguments' types, not their meaning",
        )
    return ()


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _points_for_mode(request: TraceRequest, points: tuple[TracePoint, ...]) -> tuple[TracePoint, ...]:
    """Return the points; with a filter on values they emit events only where its condition holds."""
    return tuple(point.monitored() for point in points) if request.filtered else points


def _choose_operations(
    request: TraceRequest, machine: TraceMachine, operations: tuple[Operations, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the supported operations in order, and why those before the first one were skipped."""
    asked = [each for each in operations if request.operations in ("auto", each.name)]
    if not asked:
        known = ", ".join(["auto", *(each.name for each in operations)])
        raise CapabilityError(f"the probe '{request.operations}' is unknown: choose from {known}")
    lacks = {each.name: each.lacks(machine) for each in asked}
    supported = tuple(name for name, lack in lacks.items() if not lack)
    if not supported:
        reasons = "; ".join(f"{name}: {lack}" for name, lack in lacks.items())
        raise CapabilityError(
            f"no probe on tcp_ack_update_rtt ({request.operations}) is supported here: {reasons}: "
            "run it on a kernel that allows one, for instance in a guest"
        )
    names = list(lacks)
    return supported, tuple(f"{name} is skipped: {lacks[name]}" for name in names[: names.index(supported[0])])


def _resolve_symbols(machine: TraceMachine, points: tuple[TracePoint, ...]) -> tuple[PointStatus, ...]:
    """Return the status of each point: whether the kernel has its function, with the expected arguments."""
    try:
        found = symbols(machine.kallsyms.read_bytes())
    except OSError as error:
        raise CapabilityError(
            f"the kernel's symbols in {machine.kallsyms} cannot be read ({error.strerror}): mount /proc"
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
    """Check the kernel's lockdown: its strictest mode hides kernel memory from BPF programs."""
    try:
        lockdown = machine.lockdown.read_text()
    except OSError:
        return
    if "[confidentiality]" in lockdown:
        raise CapabilityError(
            f"the probe reads kernel memory, which the kernel's lockdown forbids ({machine.lockdown} is "
            "[confidentiality]): boot it with lockdown=integrity or without lockdown"
        )
