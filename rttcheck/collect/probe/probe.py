"""The RTT probe: sees every call of the kernel's ``tcp_ack_update_rtt()``, through the best hook that works here.

It owns the choice of the backend and says the reason for it. ``fexit`` sees a call whole in one program; ``kprobe``
puts it together from the entry and the return. Both make the same event. It does not know what traffic there is.
"""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import rttcheck
from rttcheck.collect.probe.bpf_object import BpfObject, load_object
from rttcheck.collect.probe.function import Unproven, proven_symbol
from rttcheck.collect.probe.layout import EVENT, Mode
from rttcheck.collect.probe.libbpf import Refused, libbpf
from rttcheck.collect.probe.ring import Ring, open_ring
from rttcheck.collect.probe.watch import Watch
from rttcheck.errors import CapabilityError, ProbeError

BACKENDS: Final = ("fexit", "kprobe")
"""In the order in which ``auto`` tries them."""

RING_BYTES: Final = 16 << 20
"""Room for about 58,000 events between two reads."""

OBJECT: Final = Path(rttcheck.__file__).parent / "bpf" / "rtt_probe.bpf.o"

KPROBE_EVENTS: Final = Path("/sys/bus/event_source/devices/kprobe/type")

_CAP_SYS_ADMIN, _CAP_PERFMON, _CAP_BPF = 21, 38, 39


@dataclass(frozen=True, slots=True)
class Attempt:
    """A backend that was tried, and what came of it; ``reason`` quotes the kernel where it refused."""

    backend: str
    ok: bool
    reason: str


class Probe:
    """A loaded and attached probe; see :func:`open_probe`. Idle, and nearly free, while no watch is on."""

    def __init__(self, backend: str, tried: tuple[Attempt, ...], loaded: BpfObject, ring: Ring) -> None:
        self.backend = backend
        self.tried = tried
        self._loaded = loaded
        self._ring = ring
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
        self._watches += 1
        mode = (Mode.EVENTS if events else Mode(0)) | (Mode.HISTOGRAM if histogram else Mode(0))
        self._watching = True
        try:
            watch = Watch(self._loaded, self._ring, self._watches)
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
def open_probe(backend: str = "auto", *, ring_bytes: int = RING_BYTES) -> Iterator[Probe]:
    """Load and attach the probe: ``fexit``, ``kprobe``, or ``auto`` for the first of them that works.

    ``ring_bytes`` is the room for events between two reads: a power of two, a page at least. The probe is gone when the
    context is left and when the process dies, however it dies.

    Raises CapabilityError when no backend works, with the reason of each, and ProbeError for an unknown backend.
    """
    if backend != "auto" and backend not in BACKENDS:
        raise ProbeError(f"the probe backend {backend!r} was asked for and there are: auto, {', '.join(BACKENDS)}")
    require_privilege()
    tried: list[Attempt] = []
    symbol_of = cache(proven_symbol)
    for candidate in BACKENDS if backend == "auto" else (backend,):
        with ExitStack() as stack:
            opened = _try(stack, candidate, symbol_of, ring_bytes, tried)
            if opened is not None:
                yield Probe(candidate, tuple(tried), *opened)
                return
    reasons = "; ".join(f"{attempt.backend}: {attempt.reason}" for attempt in tried)
    raise CapabilityError(
        f"no RTT probe ({backend} was asked for) works on Linux {platform.release()}: {reasons}: "
        "run on a kernel that allows one, for instance in a guest"
    )


def probe_support() -> tuple[Attempt, ...]:
    """Try every backend on this machine, load and attach it, and leave nothing behind."""
    tried: list[Attempt] = []
    try:
        require_privilege()
        libbpf()
    except CapabilityError as error:
        return tuple(Attempt(backend, False, str(error)) for backend in BACKENDS)
    symbol_of = cache(proven_symbol)
    for backend in BACKENDS:
        with ExitStack() as stack:
            _try(stack, backend, symbol_of, 1 << 16, tried)
    return tuple(tried)


def require_privilege(status: Path = Path("/proc/self/status")) -> None:
    """Raise CapabilityError unless this process may load tracing programs."""
    line = next(line for line in status.read_text().splitlines() if line.startswith("CapEff:"))
    held = int(line.split()[1], 16)
    if held >> _CAP_SYS_ADMIN & 1 or (held >> _CAP_BPF & 1 and held >> _CAP_PERFMON & 1):
        return
    raise CapabilityError(
        f"the RTT probe needs root (CAP_SYS_ADMIN, or CAP_BPF with CAP_PERFMON) and this process, of user "
        f"{os.geteuid()}, has neither: run it with sudo"
    )


def _try(
    stack: ExitStack, backend: str, symbol_of: Callable[[], str], ring_bytes: int, tried: list[Attempt]
) -> tuple[BpfObject, Ring] | None:
    try:
        symbol = symbol_of()
        loaded = stack.enter_context(_attached(backend, symbol, ring_bytes))
        ring = stack.enter_context(open_ring(loaded.map("events").fd, EVENT))
    except Unproven as unproven:
        tried.append(Attempt(backend, False, str(unproven)))
        return None
    except Refused as refused:
        policy = " (the process has the privilege: the kernel's configuration or a policy such as lockdown forbids it)"
        tried.append(Attempt(backend, False, f"{refused}{policy if refused.number == errno.EPERM else ''}"))
        return None
    where = {"fexit": f"the return of {symbol}", "kprobe": f"the entry and the return of {symbol}"}[backend]
    tried.append(Attempt(backend, True, f"attached to {where}"))
    return loaded, ring


@contextmanager
def _attached(backend: str, symbol: str, ring_bytes: int) -> Iterator[BpfObject]:
    # The map of calls under way is the kprobes' own.
    sizes = {"events": ring_bytes}
    if backend == "fexit":
        with load_object(OBJECT, {"rtt_fexit": symbol}, {**sizes, "calls": 1}) as loaded:
            loaded.attach("rtt_fexit")
            yield loaded
        return
    if platform.machine() != "x86_64":
        raise Unproven(f"the kprobe program knows the registers of x86_64 and this is {platform.machine()}")
    if not KPROBE_EVENTS.exists():
        raise Unproven(f"the kernel has no kprobes ({KPROBE_EVENTS} is missing; it wants CONFIG_KPROBE_EVENTS)")
    with load_object(OBJECT, {"rtt_kprobe": None, "rtt_kretprobe": None}, sizes) as loaded:
        loaded.attach_kprobe("rtt_kretprobe", symbol, on_return=True)
        loaded.attach_kprobe("rtt_kprobe", symbol, on_return=False)
        yield loaded
