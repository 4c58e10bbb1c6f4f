"""The table of probe backends: name, best coverage, and how each is loaded and attached; `probe` chooses one."""

from __future__ import annotations

import mmap
import platform
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rttcheck.collect.bpf_files import BPF
from rttcheck.collect.probe.bcc_module import import_bcc
from rttcheck.collect.probe.bcc_object import headers, open_bcc
from rttcheck.collect.probe.bpf_object import BpfObject, load_object
from rttcheck.collect.probe.cgroup import open_cgroup
from rttcheck.collect.probe.function import FUNCTION, Unproven, proven_symbol
from rttcheck.collect.probe.libbpf import Refused
from rttcheck.collect.probe.lockdown import forbids_tracing, lockdown_mode
from rttcheck.collect.probe.ring import EventRing, open_ring
from rttcheck.collect.probe.trial import record_trial
from rttcheck.collect.probe.watch import Loaded, Watch
from rttcheck.record.event import EVENT
from rttcheck.record.view import SOCKOPS, SOCKOPS_WITHOUT_ARGUMENTS, TRACEPOINT, WHOLE, View

OBJECT: Final = BPF / "rtt_probe.bpf.o"

KPROBE_EVENTS: Final = Path("/sys/bus/event_source/devices/kprobe/type")

_ALIKE: Final = ("rtt_fexit_1", "rtt_fexit_2", "rtt_fexit_3", "rtt_fexit_4")
"""So many calls may interrupt each other in the middle of a program on one CPU: two are common, three were not seen."""

_TRIAL_WATCH: Final = 0
"""The number of the watch that tries a backend, which no other watch has."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An attached backend: its object, the ring of its events, what it sees, and where it is attached, for the user."""

    loaded: Loaded
    ring: EventRing
    view: View
    where: str


@dataclass(slots=True)
class ProbedKernel:
    """Facts about the running kernel that backends need, looked up once for all of them."""

    _symbol: str | Unproven | Refused | None = field(default=None)

    @property
    def symbol(self) -> str:
        """The symbol of ``tcp_ack_update_rtt``. Raises Unproven, Refused."""
        if self._symbol is None:
            try:
                self._symbol = proven_symbol()
            except (Unproven, Refused) as error:
                self._symbol = error
        if isinstance(self._symbol, Exception):
            raise self._symbol
        return self._symbol


@dataclass(frozen=True, slots=True)
class Backend:
    """One row of the table. ``open`` raises Unproven, Refused or CapabilityError where it does not work."""

    name: str
    view: View
    """What it sees at best."""
    how: str
    """What it attaches to, in a few words."""
    open: Callable[[ProbedKernel, int], AbstractContextManager[Opened]]
    """Takes the kernel and the room for events in bytes."""
    remedy: str
    ready: Callable[[ProbedKernel], str] | None = None
    """Only for a backend that takes seconds to open: check the conditions without opening it; return a description or
    raise as ``open``. ``auto`` leaves such a backend out."""

    @property
    def slow(self) -> bool:
        """Whether opening it takes seconds."""
        return self.ready is not None


@contextmanager
def _fexit(kernel: ProbedKernel, ring_bytes: int) -> Iterator[Opened]:
    symbol = kernel.symbol
    with _either_fexit(symbol, ring_bytes) as loaded, open_ring(loaded.map("events").fd, EVENT) as ring:
        yield Opened(loaded, ring, WHOLE, f"the return of {symbol}")


@contextmanager
def _either_fexit(symbol: str, ring_bytes: int) -> Iterator[BpfObject]:
    """Load several programs where the kernel may skip one (since 5.12, see the C source); where it refuses, one."""
    # Only the kprobe programs use the map of calls in progress.
    sizes = {"events": ring_bytes, "calls": 1}
    with ExitStack() as stack:
        try:
            loaded = stack.enter_context(load_object(OBJECT, dict.fromkeys(_ALIKE, symbol), sizes))
            loaded.attach_alike(_ALIKE)
        except Refused:
            stack.close()
            loaded = stack.enter_context(load_object(OBJECT, {"rtt_fexit": symbol}, sizes))
            loaded.attach("rtt_fexit")
        yield loaded


@contextmanager
def _kprobe(kernel: ProbedKernel, ring_bytes: int) -> Iterator[Opened]:
    symbol = kernel.symbol
    require_kprobes()
    with load_object(OBJECT, {"rtt_kprobe": None, "rtt_kretprobe": None}, {"events": ring_bytes}) as loaded:
        loaded.attach_kprobe("rtt_kretprobe", symbol, on_return=True)
        loaded.attach_kprobe("rtt_kprobe", symbol, on_return=False)
        with open_ring(loaded.map("events").fd, EVENT) as ring:
            yield Opened(loaded, ring, WHOLE, f"the entry and the return of {symbol}")


@contextmanager
def _bcc(kernel: ProbedKernel, ring_bytes: int) -> Iterator[Opened]:
    import_bcc()
    kfunc = _takes_fexit(kernel)
    if not kfunc:
        require_kprobes()
    with (
        open_bcc(BPF / "rtt_bcc.c.in", ring_bytes, kernel.symbol, kfunc=kfunc) as loaded,
        open_ring(loaded.map("events").fd, EVENT) as ring,
    ):
        yield Opened(loaded, ring, WHOLE, loaded.kind)


def _bcc_ready(kernel: ProbedKernel) -> str:
    import_bcc()
    headers(platform.release())
    kind = "kfunc" if _takes_fexit(kernel) else "kprobe and kretprobe"
    if kind != "kfunc":
        require_kprobes()
    if kind != "kfunc" or forbids_tracing(lockdown_mode()):
        # A kernel that refuses this program because of its memory reads refuses bcc's, too.
        with load_object(OBJECT, {"rtt_kprobe": None, "rtt_kretprobe": None}, {"events": mmap.PAGESIZE}):
            pass
    return f"{kind} on {kernel.symbol}, compiled when it is asked for, which takes seconds"


def _takes_fexit(kernel: ProbedKernel) -> bool:
    """Return whether the kernel accepts fexit programs, bcc's kfunc: a test load is cheaper than a compilation."""
    symbol = kernel.symbol
    try:
        with load_object(OBJECT, {"rtt_fexit": symbol}, {"events": mmap.PAGESIZE, "calls": 1}):
            return symbol == FUNCTION
    except Refused:
        return False


@contextmanager
def _sockops(_kernel: ProbedKernel, ring_bytes: int) -> Iterator[Opened]:
    with (
        open_cgroup() as cgroup,
        load_object(BPF / "rtt_sockops.bpf.o", {"rtt_sockops": None}, {"events": ring_bytes, "calls": 1}) as loaded,
    ):
        loaded.attach_cgroup("rtt_sockops", cgroup.fd)
        with open_ring(loaded.map("events").fd, EVENT) as ring:
            events = record_trial(lambda: Watch(loaded, ring, _TRIAL_WATCH))
            if not len(events):
                raise Unproven(
                    f"attached to {cgroup.where}, but sockets of this process do not call it: before Linux 5.15 this "
                    "happens after net_cls or net_prio of cgroup version 1 was used"
                )
            # Even without arguments a socket's first sample is available.
            complete = bool((events["sample_us"] >= 0).all())
            view = SOCKOPS if complete else SOCKOPS_WITHOUT_ARGUMENTS
            note = "" if complete else ", where this kernel passes no arguments"
            yield Opened(loaded, ring, view, f"{cgroup.where}{note}")


@contextmanager
def _tracepoint(_kernel: ProbedKernel, ring_bytes: int) -> Iterator[Opened]:
    with _either_tracepoint(ring_bytes) as (loaded, kind), open_ring(loaded.map("events").fd, EVENT) as ring:
        if not len(record_trial(lambda: Watch(loaded, ring, _TRIAL_WATCH))):
            raise Unproven(f"attached to {kind} tcp:tcp_probe, but incoming segments do not call it")
        yield Opened(loaded, ring, TRACEPOINT, f"{kind} tcp:tcp_probe")


@contextmanager
def _either_tracepoint(ring_bytes: int) -> Iterator[tuple[Loaded, str]]:
    """Load ``tp_btf``, whose argument BTF proves to be a socket; where the kernel refuses that, ``raw_tp``."""
    path, sizes = BPF / "rtt_tracepoint.bpf.o", {"events": ring_bytes, "calls": 1}
    try:
        attempt = load_object(path, {"rtt_tp_btf": None}, sizes)
        loaded = attempt.__enter__()
    except Refused:
        with load_object(path, {"rtt_raw_tp": None}, sizes) as raw:
            raw.attach("rtt_raw_tp")
            yield raw, "raw_tp"
        return
    try:
        loaded.attach("rtt_tp_btf")
        yield loaded, "tp_btf"
    finally:
        attempt.__exit__(None, None, None)


def require_kprobes() -> None:
    """Raise Unproven unless the kernel has kprobes and this machine the registers that the program reads."""
    if platform.machine() != "x86_64":
        raise Unproven(f"the kprobe program reads the registers of x86_64 and this is {platform.machine()}")
    if not KPROBE_EVENTS.exists():
        raise Unproven(f"the kernel has no kprobes ({KPROBE_EVENTS} is missing; it needs CONFIG_KPROBE_EVENTS)")


BACKENDS: Final = (
    Backend(
        "fexit",
        WHOLE,
        "the function's return",
        _fexit,
        "a kernel of 5.5 or later with BTF whose policy lets root trace (no lockdown)",
    ),
    Backend(
        "kprobe", WHOLE, "the function's entry and return", _kprobe, "a kernel with CONFIG_KPROBE_EVENTS=y on x86_64"
    ),
    Backend(
        "bcc",
        WHOLE,
        "the function, by a program compiled at run time",
        _bcc,
        "apt install python3-bpfcc linux-headers-amd64, on a kernel that takes fexit or kprobe",
        ready=_bcc_ready,
    ),
    Backend(
        "sockops",
        SOCKOPS,
        "RTT_CB, a callback of sockets in a cgroup",
        _sockops,
        "a kernel of 5.10 or later with CONFIG_CGROUP_BPF=y and a cgroup hierarchy of version 2",
    ),
    Backend(
        "tracepoint",
        TRACEPOINT,
        "tcp:tcp_probe, before each incoming segment",
        _tracepoint,
        "a kernel of 5.10 or later with CONFIG_BPF_EVENTS=y",
    ),
)
"""From the one that sees the most to the least; ``auto`` tries them in this order."""

NAMES: Final = tuple(backend.name for backend in BACKENDS)
