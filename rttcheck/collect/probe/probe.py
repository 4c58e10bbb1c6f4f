"""The RTT probe: record the kernel's round-trip samples with the best backend that works here.

This module chooses the backend and gives the reason; `rttcheck.collect.probe.backend` has the table. ``fexit`` and
``kprobe`` see every call of ``tcp_ack_update_rtt()``, others less, and all make the same event.
"""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rttcheck.collect.probe.backend import BACKENDS, KPROBE_EVENTS, NAMES, OBJECT, Backend, Opened, ProbedKernel
from rttcheck.collect.probe.function import Unproven
from rttcheck.collect.probe.libbpf import Refused, libbpf
from rttcheck.collect.probe.lockdown import UNLOCK, forbids_tracing, lockdown_mode
from rttcheck.collect.probe.watch import Watch
from rttcheck.errors import CapabilityError, ProbeError
from rttcheck.record.event import ProbeMode
from rttcheck.record.view import WHOLE, View
from rttcheck_netns.errors import NetnsError

__all__ = [
    "KPROBE_EVENTS", "NAMES", "OBJECT", "RING_BYTES", "Attempt", "Probe", "open_probe", "open_second", "probe_support",
    "require_privilege",
]  # fmt: skip

RING_BYTES: Final = 16 << 20
"""Room for about 58,000 events between two reads."""

_QUOTED_LINES: Final = 3
"""How many of the last lines of a verifier's log a message quotes; `probe_support` has them all."""

_CAP_SYS_ADMIN, _CAP_PERFMON, _CAP_BPF = 21, 38, 39


@dataclass(frozen=True, slots=True)
class Attempt:
    """A backend that was tried, and the result; ``reason`` quotes the kernel where it refused."""

    backend: str
    ok: bool
    reason: str
    view: View = WHOLE
    """What it sees: on this kernel if it works, else at best."""
    remedy: str = ""
    """The remedy where there is a more specific one than `Backend.remedy`."""

    @property
    def brief(self) -> str:
        """The reason with the end of the kernel's message."""
        what, separator, message = self.reason.partition("; message: ")
        lines = message.split(" / ")
        return what + separator + " / ".join(["...", *lines[-_QUOTED_LINES:]] if len(lines) > _QUOTED_LINES else lines)


class Probe:
    """A loaded and attached probe; see :func:`open_probe`. Idle, and nearly free, while no watch is active."""

    def __init__(self, backend: str, tried: tuple[Attempt, ...], opened: Opened) -> None:
        self.backend = backend
        self.tried = tried
        self.view = opened.view
        self._opened = opened
        self._watches = 0
        self._watching = False

    @contextmanager
    def watch(
        self,
        inodes: Sequence[int] | None,
        *,
        port: int = 0,
        first_below_us: int = 0,
        last_below_us: int = 0,
        events: bool = True,
        histogram: bool = True,
    ) -> Iterator[Watch]:
        """Watch the sockets of some network namespaces (inode numbers), or of all (None), until the context is left.

        ``port``: only sockets with this port at either end. ``first_below_us``, ``last_below_us``: ignore calls whose
        first-acked or last-acked sample is below, as nettrace's ``filter-srtt`` and ``filter-minrtt`` do; calls without
        a first-acked sample are ignored then, too. ``events=False`` counts in the histograms only.

        One watch at a time. Readings outlive the context. Raises ProbeError.
        """
        if self._watching:
            raise ProbeError("a second watch was asked for while one is on: leave the first one's context before")
        if (first_below_us and not self.view.sees("first_rtt_us")) or (
            last_below_us and not self.view.sees("last_rtt_us")
        ):
            raise ProbeError(
                f"a filter on first-acked or last-acked samples was asked for and {self.backend} does not see these: "
                "leave the filter out, or use fexit or kprobe"
            )
        self._watches += 1
        mode = (ProbeMode.EVENTS if events else ProbeMode(0)) | (ProbeMode.HISTOGRAM if histogram else ProbeMode(0))
        self._watching = True
        try:
            watch = Watch(self._opened.loaded, self._opened.ring, self._watches)
            try:
                watch.start(inodes, port=port, first_below_us=first_below_us, last_below_us=last_below_us, mode=mode)
                yield watch
            finally:
                watch.stop()
        except Refused as refused:
            raise ProbeError(f"the {self.backend} probe failed in the middle of a session: {refused}") from None
        finally:
            self._watching = False


@contextmanager
def open_probe(backend: str = "auto", *, among: Sequence[str] = NAMES, ring_bytes: int = RING_BYTES) -> Iterator[Probe]:
    """Load and attach the probe: a backend by its name, or ``auto`` for the first of the table (``among``) that works.

    ``ring_bytes`` is the room for events between two reads: a power of two, a page at least. The probe is gone when the
    context is left and when the process dies, however it dies.

    Raises CapabilityError when no backend works, with the reason of each, and ProbeError for an unknown backend.
    """
    if backend != "auto" and backend not in NAMES:
        raise ProbeError(f"the probe backend {backend!r} was asked for and there are: auto, {', '.join(NAMES)}")
    require_privilege()
    libbpf()
    candidates = [
        each
        for each in BACKENDS
        if each.name == backend or (backend == "auto" and each.name in among and not each.slow)
    ]
    tried: list[Attempt] = []
    with ExitStack() as stack:
        probe = _first(stack, candidates, ring_bytes, tried)
        if probe is None:
            asked = f"no RTT probe ({backend} was asked for) works on Linux {platform.release()}"
            if forbids_tracing(lockdown_mode()):
                raise CapabilityError(f"{asked}, which is locked down, {lockdown_mode()}: {UNLOCK}, or use a guest")
            reasons = "; ".join(f"{attempt.backend}: {attempt.brief}" for attempt in tried)
            raise CapabilityError(f"{asked}: {reasons}: run on a kernel that allows one, for instance in a guest")
        yield probe


@contextmanager
def open_second(first: Probe, *, ring_bytes: int = RING_BYTES) -> Iterator[Probe | None]:
    """Load and attach another backend beside ``first``, to compare the two event by event; None where none works.

    The most different backend with samples is tried first: two that attach to the same function share their errors.
    """
    candidates = [each for each in reversed(BACKENDS) if each.name != first.backend and not each.slow]
    candidates.sort(key=lambda each: (not each.view.samples, each.view.every_sample))
    with ExitStack() as stack:
        yield _first(stack, candidates, ring_bytes, [])


def probe_support() -> tuple[Attempt, ...]:
    """Try every backend on this machine, load and attach it, and detach it again.

    Of a backend that takes seconds to open, only the conditions are checked.
    """
    try:
        require_privilege()
        libbpf()
    except CapabilityError as error:
        return tuple(Attempt(backend.name, False, str(error), backend.view) for backend in BACKENDS)
    tried: list[Attempt] = []
    kernel = ProbedKernel()
    for backend in BACKENDS:
        with ExitStack() as stack:
            if backend.ready is not None:
                _look(backend, kernel, tried)
            else:
                _try(stack, backend, kernel, 1 << 16, tried)
    return tuple(tried)


def require_privilege(status: Path = Path("/proc/self/status")) -> None:
    """Raise CapabilityError unless this process may load tracing programs."""
    line = next(line for line in status.read_text().splitlines() if line.startswith("CapEff:"))
    held = int(line.split()[1], 16)
    if held >> _CAP_SYS_ADMIN & 1 or (held >> _CAP_BPF & 1 and held >> _CAP_PERFMON & 1):
        return
    remedy = "run it with sudo" if os.geteuid() else "run the container with --privileged or --cap-add SYS_ADMIN"
    raise CapabilityError(
        f"the RTT probe needs root (CAP_SYS_ADMIN, or CAP_BPF with CAP_PERFMON) and this process, of user "
        f"{os.geteuid()}, has neither: {remedy}"
    )


def _first(stack: ExitStack, candidates: Sequence[Backend], ring_bytes: int, tried: list[Attempt]) -> Probe | None:
    """Return the first of ``candidates`` that works, attached for as long as ``stack`` is open, or None."""
    kernel = ProbedKernel()
    for candidate in candidates:
        opened = _try(stack, candidate, kernel, ring_bytes, tried)
        if opened is not None:
            return Probe(candidate.name, tuple(tried), opened)
    return None


def _look(backend: Backend, kernel: ProbedKernel, tried: list[Attempt]) -> None:
    try:
        tried.append(Attempt(backend.name, True, backend.ready(kernel) if backend.ready else "", backend.view))
    except (Unproven, CapabilityError) as error:
        tried.append(Attempt(backend.name, False, str(error), backend.view))
    except Refused as refused:
        tried.append(_refusal(backend, refused))


def _try(
    stack: ExitStack, backend: Backend, kernel: ProbedKernel, ring_bytes: int, tried: list[Attempt]
) -> Opened | None:
    try:
        opened = stack.enter_context(backend.open(kernel, ring_bytes))
    except (Unproven, CapabilityError, NetnsError) as error:
        tried.append(Attempt(backend.name, False, str(error), backend.view))
        return None
    except Refused as refused:
        tried.append(_refusal(backend, refused))
        return None
    tried.append(Attempt(backend.name, True, f"attached to {opened.where}", opened.view))
    return opened


def _refusal(backend: Backend, refused: Refused) -> Attempt:
    """Return the attempt with the kernel's message to a privileged process, and the policy that may have caused it.

    Locked down for confidentiality, the kernel refuses kprobes with EPERM, and programs that read its memory with
    EINVAL, as if there were no such helper function (``bpf_tracing_func_proto()``).
    """
    mode = lockdown_mode()
    held = "the process has the privilege: the kernel"
    if forbids_tracing(mode):
        reason = f"the kernel is locked down, {mode}, so that no program may read its memory: {UNLOCK}; {refused}"
        return Attempt(backend.name, False, reason, backend.view, remedy=UNLOCK)
    if refused.number != errno.EPERM:
        return Attempt(backend.name, False, str(refused), backend.view)
    if mode is None:
        policy = f"{held}'s configuration or a policy such as lockdown forbids it"
    elif "[none]" in mode:
        policy = f"{held} is not locked down, so that its configuration or another policy forbids it"
    else:
        policy = f"{held} is locked down, {mode}, or another policy forbids it: {UNLOCK}"
    return Attempt(backend.name, False, f"{refused} ({policy})", backend.view)
