"""Several programs on one function: a call that the kernel skips one of them in is recorded by another, once."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from rttcheck.collect.probe.bpf_object import BpfObject, load_object
from rttcheck.collect.probe.function import proven_symbol
from rttcheck.collect.probe.libbpf import Refused
from rttcheck.collect.probe.probe import OBJECT, open_probe, probe_support
from rttcheck.collect.probe.ring import open_ring
from rttcheck.collect.probe.watch import Watch
from rttcheck.record.event import COUNTS, EVENT, ProbeMode
from rttcheck_netns.namespace import Namespace
from tests.support.loopback import connection, exchange, network, ping_pong

OWN = {"timestamp_ns", "generation", "jiffies", "timer_jiffies"}
"""What two programs that look at one call may see differently."""

PREEMPTION = Path("/sys/kernel/debug/sched/preempt")

PRESSES = 10


@pytest.fixture(scope="module", autouse=True)
def fexit() -> None:
    support = next(attempt for attempt in probe_support() if attempt.backend == "fexit")
    if not support.ok:
        pytest.skip(f"fexit: {support.reason}")


@contextmanager
def attached(numbers: str) -> Iterator[tuple[BpfObject, Watch]]:
    """Some of the programs, in the order in which the kernel runs them."""
    programs = [f"rtt_fexit_{number}" for number in numbers]
    with ExitStack() as stack:
        try:
            loading = load_object(OBJECT, dict.fromkeys(programs, proven_symbol()), {"events": 1 << 20})
            loaded = stack.enter_context(loading)
        except Refused:
            pytest.skip("not needed: this kernel has no guard that skips programs")
        loaded.attach_alike(programs)
        ring = stack.enter_context(open_ring(loaded.map("events").fd, EVENT))
        yield loaded, Watch(loaded, ring, 1)


@pytest.mark.parametrize(
    ("numbers", "stands_in"),
    [("1234", False), ("4321", False), ("2314", False), ("234", True), ("42", True), ("3", True), ("1", False)],
)
def test_each_call_is_recorded_once_whichever_programs_the_kernel_runs(numbers: str, stands_in: bool) -> None:
    with attached(numbers) as (loaded, watch), open_probe("kprobe") as other, network() as namespace:
        with other.watch([namespace.inode]) as due:
            everything = ProbeMode.EVENTS | ProbeMode.HISTOGRAM
            watch.start([namespace.inode], port=0, first_below_us=0, last_below_us=0, mode=everything)
            ping_pong(namespace)
            ping_pong(namespace, 5, host="::1")
            watch.stop()
        counts = np.frombuffer(loaded.map("counts").lookup(bytes(4), COUNTS.itemsize), COUNTS)[0]
    seen, expected = watch.events(), due.events()
    assert len(seen) == watch.calls == due.calls == len(expected)
    names = [name for name in EVENT.names or () if name not in OWN | {"hook", "watch"}]
    assert [name for name in names if seen[name].tolist() != expected[name].tolist()] == []
    assert counts["stood_in"] == (watch.calls if stands_in else 0)
    assert watch.lost == 0


@pytest.fixture
def preemptible() -> Iterator[None]:
    """A kernel that preempts its own work at the end of a time slice; of those that can choose, told to."""
    try:
        before = PREEMPTION.read_text()
    except OSError:
        pytest.skip("not to be provoked: this kernel has no choice of preemption")
    model = before[before.index("(") + 1 : before.index(")")]
    if model in ("full", "lazy"):
        yield
        return
    PREEMPTION.write_text("full")
    try:
        yield
    finally:
        PREEMPTION.write_text(model)


def press(namespace: Namespace) -> None:
    """Fill a socket, so that its own thread takes ACKs from the backlog, and interrupt it with more traffic."""

    def send() -> None:
        for _ in range(30):
            client.sendall(bytes(1 << 16))
        client.shutdown(socket.SHUT_WR)

    def receive() -> None:
        while server.recv(1 << 12):
            pass

    with connection(namespace) as (client, server), connection(namespace) as (urgent, other):
        threads = [threading.Thread(target=work) for work in (send, receive)]
        for thread in threads:
            thread.start()
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        try:
            while any(thread.is_alive() for thread in threads):
                time.sleep(100e-6)
                exchange(urgent, other, 1)
        finally:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        for thread in threads:
            thread.join()


@pytest.mark.usefixtures("preemptible")
def test_no_call_is_lost_while_threads_are_preempted_in_a_program() -> None:
    with open_probe("fexit") as probe, network() as namespace:
        skipped = probe._opened.loaded.skipped
        with probe.watch([namespace.inode]) as watch:
            for _ in range(PRESSES):
                if not skipped()[0]:
                    press(namespace)
        skips = skipped()
    assert watch.losses["skipped"] == 0, skips
    assert len(watch.events()) == watch.calls
    if not skips[0]:
        pytest.skip("not provoked: this kernel has preempted no thread in a program")
