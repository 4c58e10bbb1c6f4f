"""Those that read round-trip times from a running kernel: rttcheck's own probes, and the tools that people use.

Each is attached for as long as its context lasts. rttcheck's probes are idle until they watch; a tool never is.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.bpf_programs import counted, programs
from rttcheck.record.event import EVENT
from rttcheck_netns import Lab

ATTACHED_S: Final = 120.0
"""Seconds of the guest that a tool may take until its program has run; bcc compiles for some ten."""

_END_S: Final = 30.0


class NotHere(Exception):
    """The observer does not work here; ``str()`` gives the reason for the table."""


@dataclass(slots=True)
class Watched:
    """How many events a watch has recorded, set when it is over; None for a tool, which does not say."""

    events: int | None = None


Watch = Callable[[], AbstractContextManager[Watched]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observer:
    """One row. ``open`` attaches it, given the lab and what makes it see an event; it raises NotHere."""

    name: str
    hook: str
    records: str
    open: Callable[[Lab, Callable[[], object]], AbstractContextManager[Watch]]


@contextmanager
def _probe(
    backend: str, lab: Lab, _event: Callable[[], object], *, events: bool = True, watching: bool = True
) -> Iterator[Watch]:
    from rttcheck.collect.probe.probe import open_probe
    from rttcheck.errors import CapabilityError

    try:
        opened = open_probe(backend)
        probe = opened.__enter__()
    except CapabilityError as error:
        raise NotHere(str(error)) from None

    @contextmanager
    def watch() -> Iterator[Watched]:
        watched = Watched()
        # As a scenario does: events, and the histogram beside them.
        with probe.watch(lab.inodes, events=events) as on:
            yield watched
            on.stop()
            if on.lost:
                raise NotHere(f"{on.lost} events lost: {on.losses}")
            watched.events = on.calls

    try:
        yield watch if watching else _always
    finally:
        opened.__exit__(None, None, None)


@contextmanager
def _stamps(lab: Lab, _event: Callable[[], object]) -> Iterator[Watch]:
    from rttcheck.collect.stamp.stamps import open_stamps

    with open_stamps() as stamps:
        if stamps.why_not:
            raise NotHere(stamps.why_not)

        @contextmanager
        def watch() -> Iterator[Watched]:
            watched = Watched()
            ends = {lab.client.namespace.inode: 0, lab.server.namespace.inode: 1}
            with stamps.watch(ends) as stamped:
                yield watched
            watched.events = len(stamped.rows)

        yield watch


@contextmanager
def _tool(command: list[str], package: str, _lab: Lab, event: Callable[[], object]) -> Iterator[Watch]:
    """Start a tool, wait until a program of its has seen an event, and interrupt it in the end."""
    if shutil.which(command[0]) is None:
        raise NotHere(f"not installed: apt install {package}")
    before = programs()
    with tempfile.TemporaryFile() as output, counted():
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + ATTACHED_S
            while not any(one.times for number, one in programs().items() if number not in before):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise NotHere(f"does not start: {_reason(output.fileno())}")
                event()
                time.sleep(0.2)
            yield _always
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def _always() -> Iterator[Watched]:
    yield Watched()


def _reason(output: int) -> str:
    """Return the first error that a tool printed, or its last line."""
    lines = os.pread(output, 1 << 20, 0).decode(errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    return next((line for line in said if "error:" in line), said[-1] if said else "it printed nothing")


_TCPRTT: Final = "/usr/sbin/tcprtt-bpfcc"

_AMENDED: Final = (
    (
        # Its copy of uapi/linux/bpf.h is older than the kernel's headers, which take these structures' sizes.
        "#include <uapi/linux/ptrace.h>",
        "#include <uapi/linux/ptrace.h>\n"
        + "".join(f"struct bpf_{name} {{ __u64 opaque[2]; }};\n" for name in ("wq", "rb_root", "rb_node", "refcount")),
    ),
    # Macros since 6.2, and bcc's rewriter breaks on them.
    ("= tcp_sk(sk)", "= (struct tcp_sock *)sk"),
    ("= inet_sk(sk)", "= (struct inet_sock *)sk"),
)
"""What Debian 12's bcc (0.26) needs so that its tcprtt compiles against headers of 6.2 or later."""


@contextmanager
def _bcc_tcprtt(lab: Lab, event: Callable[[], object]) -> Iterator[Watch]:
    """Start a copy of bcc's tcprtt, amended so that it compiles against any kernel's headers."""
    if not Path(_TCPRTT).exists():
        raise NotHere("not installed: apt install bpfcc-tools")
    text = Path(_TCPRTT).read_text()
    for old, new in _AMENDED:
        text = text.replace(old, new)
    with tempfile.NamedTemporaryFile("w", prefix="tcprtt-") as amended:
        amended.write(text)
        amended.flush()
        with _tool(["/usr/bin/python3", amended.name], "bpfcc-tools", lab, event) as watch:
            yield watch


def _bpftrace(program: str) -> Callable[[Lab, Callable[[], object]], AbstractContextManager[Watch]]:
    return partial(_tool, ["bpftrace", "-e", program], "bpftrace")


_EVENT: Final = f"an event of {len(EVENT.names or ())} members ({EVENT.itemsize} bytes) and two histograms"

OBSERVERS: Final = (
    Observer(name="`fexit`", hook="the function's return", records=_EVENT, open=partial(_probe, "fexit")),
    Observer(
        name="`fexit`, no watch active",
        hook="the function's return",
        records="nothing",
        open=partial(_probe, "fexit", watching=False),
    ),
    Observer(
        name="`fexit`, histograms only",
        hook="the function's return",
        records="two histograms, of first-acked samples in µs and ms",
        open=partial(_probe, "fexit", events=False),
    ),
    Observer(name="`kprobe`", hook="the function's entry and return", records=_EVENT, open=partial(_probe, "kprobe")),
    Observer(name="`bcc`", hook="the function's return", records=_EVENT, open=partial(_probe, "bcc")),
    Observer(
        name="`sockops`",
        hook="RTT_CB, once a round trip",
        records=f"{_EVENT}, some of them absent",
        open=partial(_probe, "sockops"),
    ),
    Observer(
        name="`tracepoint`",
        hook="each segment received",
        records=f"{_EVENT}, without the sample",
        open=partial(_probe, "tracepoint"),
    ),
    Observer(name="stamps", hook="each packet sent", records="a packet's numbers and its time stamp", open=_stamps),
    Observer(
        name="bcc's `tcprtt`", hook="each segment received", records="a histogram of the smoothed RTT", open=_bcc_tcprtt
    ),
    Observer(
        name="libbpf-tools' `tcprtt`",
        hook="each segment received",
        records="a histogram of the smoothed RTT",
        open=partial(_tool, ["tcprtt", "-i", "1000000"], "libbpf-tools"),
    ),
    Observer(
        name="`bpftrace`, kprobe",
        hook="the function's entry",
        records="a histogram of first-acked samples",
        open=_bpftrace("kprobe:tcp_ack_update_rtt { @us = hist(arg2); }"),
    ),
    Observer(
        name="`bpftrace`, kretfunc",
        hook="the function's return",
        records="a histogram of first-acked samples",
        open=_bpftrace("kretfunc:tcp_ack_update_rtt { @us = hist(args->seq_rtt_us); }"),
    ),
)
"""rttcheck's, then the others; "the function" is ``tcp_ack_update_rtt()``."""
