"""The ways to see samples: for each backend a name, what it covers at best, and how it is loaded and attached.

It owns the table and its order. It chooses none, and does not say what came of trying one.
"""

from __future__ import annotations

import mmap
import platform
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import rttcheck
from rttcheck.collect.probe.bcc_module import import_bcc
from rttcheck.collect.probe.bcc_object import headers, open_bcc
from rttcheck.collect.probe.bpf_object import BpfObject, load_object
from rttcheck.collect.probe.cgroup import open_cgroup
from rttcheck.collect.probe.coverage import SOCKOPS, SOCKOPS_WITHOUT_ARGUMENTS, TRACEPOINT, WHOLE, View
from rttcheck.collect.probe.function import FUNCTION, Unproven, proven_symbol
from rttcheck.collect.probe.layout import EVENT
from rttcheck.collect.probe.libbpf import Refused
from rttcheck.collect.probe.rehearsal import rehearse
from rttcheck.collect.probe.ring import Ring, open_ring
from rttcheck.collect.probe.watch import Loaded, Watch

BPF: Final = Path(rttcheck.__file__).parent / "bpf"
OBJECT: Final = BPF / "rtt_probe.bpf.o"

KPROBE_EVENTS: Final = Path("/sys/bus/event_source/devices/kprobe/type")

_ALIKE: Final = ("rtt_fexit_1", "rtt_fexit_2", "rtt_fexit_3", "rtt_fexit_4")
"""So many calls may interrupt each other in the middle of a program on one CPU: two are common, three were not seen."""

_REHEARSED: Final = 0
"""The number of a watch that is none of the user's."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An attached backend: its object, the ring of its events, what it sees, and where it is, for a person."""

    loaded: Loaded
    ring: Ring
    view: View
    where: str


@dataclass(slots=True)
class Kernel:
    """The running kernel, as far as backends have to know it: looked at once for all of them."""

    _symbol: str | Unproven | Refused | None = field(default=None)

    @property
    def symbol(self) -> str:
        """The symbol that is ``tcp_ack_update_rtt``. Raises Unproven, Refused."""
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
    """What it hangs on, in a few words."""
    open: Callable[[Kernel, int], AbstractContextManager[Opened]]
    """Takes the kernel and the room for events in bytes."""
    remedy: str
    ready: Callable[[Kernel], str] | None = None
    """Of a backend that takes seconds to open: whether it could be, without opening it; says so or raises as ``open``.
    ``auto`` leaves such a one out."""

    @property
    def slow(self) -> bool:
        """Whether opening it takes seconds."""
        return self.ready is not None


@contextmanager
def _fexit(kernel: Kernel, ring_bytes: int) -> Iterator[Opened]:
    symbol = kernel.symbol
    with _either_fexit(symbol, ring_bytes) as loaded, open_ring(loaded.map("events").fd, EVENT) as ring:
        yield Opened(loaded, ring, WHOLE, f"the return of {symbol}")


@contextmanager
def _either_fexit(symbol: str, ring_bytes: int) -> Iterator[BpfObject]:
    """Several programs where the kernel may skip one (since 5.12, see the C source); where it refuses these, one."""
    # The map of calls under way is the kprobes' own.
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
def _kprobe(kernel: Kernel, ring_bytes: int) -> Iterator[Opened]:
    symbol = kernel.symbol
    require_kprobes()
    with load_object(OBJECT, {"rtt_kprobe": None, "rtt_kretprobe": None}, {"events": ring_bytes}) as loaded:
        loaded.attach_kprobe("rtt_kretprobe", symbol, on_return=True)
        loaded.attach_kprobe("rtt_kprobe", symbol, on_return=False)
        with open_ring(loaded.map("events").fd, EVENT) as ring:
            yield Opened(loaded, ring, WHOLE, f"the entry and the return of {symbol}")


@contextmanager
def _bcc(kernel: Kernel, ring_bytes: int) -> Iterator[Opened]:
    import_bcc()
    kfunc = _takes_fexit(kernel)
    if not kfunc:
        require_kprobes()
    with (
        open_bcc(BPF / "rtt_bcc.c.in", ring_bytes, kernel.symbol, kfunc=kfunc) as loaded,
        open_ring(loaded.map("events").fd, EVENT) as ring,
    ):
        yield Opened(loaded, ring, WHOLE, loaded.kind)


def _bcc_ready(kernel: Kernel) -> str:
    import_bcc()
    headers(platform.release())
    kind = "kfunc" if _takes_fexit(kernel) else "kprobe and kretprobe"
    if kind != "kfunc":
        require_kprobes()
        # A kernel that refuses this program for what it reads refuses bcc's, too.
        with load_object(OBJECT, {"rtt_kprobe": None, "rtt_kretprobe": None}, {"events": mmap.PAGESIZE}):
            pass
    return f"{kind} on {kernel.symbol}, compiled when it is asked for, which takes seconds"


def _takes_fexit(kernel: Kernel) -> bool:
    """Whether the kernel takes the programs that bcc calls kfunc: cheaper to find out than by compiling one."""
    symbol = kernel.symbol
    try:
        with load_object(OBJECT, {"rtt_fexit": symbol}, {"events": mmap.PAGESIZE, "calls": 1}):
            return symbol == FUNCTION
    except Refused:
        return False


@contextmanager
def _sockops(_kernel: Kernel, ring_bytes: int) -> Iterator[Opened]:
    with (
        open_cgroup() as cgroup,
        load_object(BPF / "rtt_sockops.bpf.o", {"rtt_sockops": None}, {"events": ring_bytes, "calls": 1}) as loaded,
    ):
        loaded.attach_cgroup("rtt_sockops", cgroup.fd)
        with open_ring(loaded.map("events").fd, EVENT) as ring:
            events = rehearse(lambda: Watch(loaded, ring, _REHEARSED))
            if not len(events):
                raise Unproven(
                    f"attached to {cgroup.where}, and sockets of this process do not call it: before Linux 5.15 that "
                    "is so once net_cls or net_prio of cgroup version 1 was used"
                )
            # Without arguments a socket's first sample is known all the same.
            told = bool((events["sample_us"] >= 0).all())
            view = SOCKOPS if told else SOCKOPS_WITHOUT_ARGUMENTS
            said = "" if told else ", where this kernel passes no arguments"
            yield Opened(loaded, ring, view, f"{cgroup.where}{said}")


@contextmanager
def _tracepoint(_kernel: Kernel, ring_bytes: int) -> Iterator[Opened]:
    with _either_tracepoint(ring_bytes) as (loaded, kind), open_ring(loaded.map("events").fd, EVENT) as ring:
        if not len(rehearse(lambda: Watch(loaded, ring, _REHEARSED))):
            raise Unproven(f"attached to {kind} tcp:tcp_probe, and segments that come in do not call it")
        yield Opened(loaded, ring, TRACEPOINT, f"{kind} tcp:tcp_probe")


@contextmanager
def _either_tracepoint(ring_bytes: int) -> Iterator[tuple[Loaded, str]]:
    """``tp_btf``, whose argument BTF proves to be a socket; where the kernel refuses that, ``raw_tp``."""
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
    """Raise Unproven unless the kernel has kprobes whose registers our programs know."""
    if platform.machine() != "x86_64":
        raise Unproven(f"the kprobe program knows the registers of x86_64 and this is {platform.machine()}")
    if not KPROBE_EVENTS.exists():
        raise Unproven(f"the kernel has no kprobes ({KPROBE_EVENTS} is missing; it wants CONFIG_KPROBE_EVENTS)")


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
        "the function, by a program that is compiled on the spot",
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
"""From what sees the most to what sees the least; ``auto`` tries them in this order."""

NAMES: Final = tuple(backend.name for backend in BACKENDS)
