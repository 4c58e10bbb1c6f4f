"""Real traffic through the relay, on the running kernel: what comes out, when, and what is left when it ends."""

from __future__ import annotations

import hashlib
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from rttcheck_netns import (
    Distribution,
    Lab,
    LimitTooSmall,
    Netem,
    Offloads,
    RandomLoss,
    RelayFailed,
    UnsupportedByEngine,
    routed,
)
from rttcheck_netns.host import Host
from rttcheck_netns.relay.line import Fate, Line
from rttcheck_netns.relay.packets import Packets, late_ns
from rttcheck_netns.relay.relay import Relay

MS = 1_000_000
DEADLINE_S = 20.0
_SO_TIMESTAMPNS, _SO_RCVBUFFORCE = 35, 33


@contextmanager
def relayed(out: Netem | None = None, back: Netem | None = None, **wiring: object) -> Iterator[tuple[Lab, Relay]]:
    with routed(engine="relay", out=out, back=back, **wiring) as lab:  # type: ignore[arg-type]  # passed on as it came
        assert lab.relay is not None
        yield lab, lab.relay


@contextmanager
def datagrams(lab: Lab, family: int = 4) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A socket of the client, connected to one of the server."""
    domain = socket.AF_INET6 if family == 6 else socket.AF_INET
    with (
        lab.client.namespace.socket(domain, socket.SOCK_DGRAM) as sending,
        lab.server.namespace.socket(domain, socket.SOCK_DGRAM) as receiving,
    ):
        receiving.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 4 << 20)
        receiving.bind((lab.server.address(family), 0))
        receiving.settimeout(DEADLINE_S)
        sending.connect(receiving.getsockname())
        yield sending, receiving


def numbers(receiving: socket.socket) -> list[int]:
    """The numbers of the datagrams that are there, in the order in which they came."""
    received = []
    receiving.setblocking(False)
    while True:
        try:
            received.append(int.from_bytes(receiving.recv(2048)[:4], "big"))
        except BlockingIOError:
            return received


def send_numbers(sending: socket.socket, count: int, length: int = 4) -> None:
    for number in range(count):
        sending.send(number.to_bytes(4, "big") + bytes(length - 4))


def going_out(packets: Packets, count: int) -> Packets:
    """The records of the first so many packets that went out, without their copies, in order of arrival."""
    rows = np.flatnonzero((packets["direction"] == 0) & (packets["copy"] == 0))
    return packets[rows[:count]]


@contextmanager
def tap(host: Host, interface: str) -> Iterator[socket.socket]:
    """A capture of our own on one of the link's interfaces, with the kernel's time of each frame."""
    with host.namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as made:
        made.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 4 << 20)
        made.bind((interface, 3))
        made.setblocking(False)
        yield made


def seen(capture: socket.socket) -> dict[int, int]:
    """When each numbered UDP datagram over IPv4 was seen, CLOCK_REALTIME in ns."""
    times: dict[int, int] = {}
    while select.select([capture], [], [], 0)[0]:
        frame, ancillary, _, _ = capture.recvmsg(2048, 64)
        if frame[12:14] == b"\x08\x00" and frame[23] == 17:
            seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
            times[int.from_bytes(frame[42:46], "big")] = seconds * 10**9 + nanoseconds
    return times


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    "offloads", [Offloads(), Offloads(checksum=True), Offloads(True, True, True, True)], ids=["none", "checksum", "all"]
)
def test_tcp_comes_through_both_ways_unharmed(family: int, offloads: Offloads) -> None:
    content = random.Random(1).randbytes(400_000)
    domain = socket.AF_INET6 if family == 6 else socket.AF_INET
    with (
        relayed(Netem(delay_ns=2 * MS), Netem(delay_ns=MS), offloads=offloads) as (lab, relay),
        lab.server.namespace.socket(domain, socket.SOCK_STREAM) as listener,
        lab.client.namespace.socket(domain, socket.SOCK_STREAM) as client,
    ):
        listener.bind((lab.server.address(family), 0))
        listener.listen()
        for one in (listener, client):
            one.settimeout(DEADLINE_S)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        with server:
            server.settimeout(DEADLINE_S)
            for sender, receiver in ((client, server), (server, client)):
                sending = threading.Thread(target=sender.sendall, args=(content,))
                sending.start()
                assert digest(receiver, len(content)) == hashlib.sha256(content).hexdigest()
                sending.join()
        counted = relay.statistics()
    assert {way.drops for way in counted.values()} == {0}


@pytest.mark.parametrize("mtu", [1280, 1920, 2030, 4050, 65_535])
def test_the_longest_packets_fit(mtu: int) -> None:
    """Just below and above what a slot of the ring holds, and the longest that IP has."""
    length = min(mtu, 65_535) - 28
    with relayed(mtu=mtu) as (lab, relay), datagrams(lab) as (sending, receiving):
        content = random.Random(1).randbytes(length)
        sending.send(content)
        assert receiving.recv(1 << 17) == content
        assert relay.packets()["length"].tolist() == [mtu + 14]


def digest(receiver: socket.socket, size: int) -> str:
    total = hashlib.sha256()
    while size:
        part = receiver.recv(1 << 16)
        assert part, "the connection ended too soon"
        total.update(part)
        size -= len(part)
    return total.hexdigest()


@pytest.mark.parametrize("family", [4, 6])
def test_a_datagram_arrives_once_and_only_once(family: int) -> None:
    """The link's own kernel must not forward what the relay takes."""
    with relayed() as (lab, _), datagrams(lab, family) as (sending, receiving):
        send_numbers(sending, 50)
        lab.drain(deadline_s=DEADLINE_S)
        assert numbers(receiving) == list(range(50))


def test_no_packet_is_early_neither_by_the_record_nor_on_the_wire() -> None:
    asked = Netem(delay_ns=3 * MS, jitter_ns=2 * MS, distribution=Distribution.named("normal"), seed=5)
    with (
        relayed(out=asked) as (lab, relay),
        datagrams(lab) as (sending, receiving),
    ):
        assert lab.link is not None
        with tap(lab.link, "to-client") as near, tap(lab.link, "to-server") as far:
            for number in range(300):
                sending.send(number.to_bytes(4, "big"))
                select.select([], [], [], 0.0005)
            for _ in range(300):
                receiving.recv(2048)
            came, went = seen(near), seen(far)
        packets = going_out(relay.packets(), 300)
    line = Line(asked, 5)
    hold_ns = np.array([line.admit(0, 46)[0][0] for _ in range(300)])
    assert np.array_equal(packets["due_ns"] - packets["taken_ns"], hold_ns)
    assert (packets["released_ns"] >= packets["due_ns"]).all()
    on_the_wire = np.array([went[number] - came[number] for number in range(300)])
    assert (on_the_wire >= hold_ns).all()
    # The record and the captures are of the same packets: their delays differ by the way through the kernel only.
    assert np.median(on_the_wire - (packets["released_ns"] - packets["taken_ns"])) < 0.1 * MS


def test_the_seed_says_which_packets_are_lost() -> None:
    asked = Netem(delay_ns=MS, loss=RandomLoss(20), seed=11)
    with relayed(out=asked) as (lab, relay), datagrams(lab) as (sending, receiving):
        send_numbers(sending, 200)
        lab.drain(deadline_s=DEADLINE_S)
        received = numbers(receiving)
        statistics = relay.statistics()["out"]
        fates = going_out(relay.packets(), 200)["fate"]
    line = Line(asked, 11)
    predicted = [number for number in range(200) if line.admit(0, 46)[0][1] is Fate.PASSED]
    assert received == predicted
    assert np.flatnonzero(fates == Fate.PASSED).tolist() == predicted
    assert statistics.drops == statistics.xstats["lost"] >= 200 - len(predicted)


def test_a_seed_that_was_not_asked_for_is_drawn_and_told() -> None:
    with relayed(Netem(loss=RandomLoss(1)), Netem(loss=RandomLoss(1))) as (lab, _):
        out, back = lab.held("out"), lab.held("back")
        assert out is not None
        assert back is not None
        assert out.seed != back.seed
        assert lab.out == Netem(loss=RandomLoss(1))


def test_duplicates_arrive_twice() -> None:
    with relayed(out=Netem(delay_ns=MS, duplicate=100)) as (lab, relay), datagrams(lab) as (sending, receiving):
        send_numbers(sending, 30)
        lab.drain(deadline_s=DEADLINE_S)
        assert sorted(numbers(receiving)) == sorted([*range(30), *range(30)])
        assert relay.statistics()["out"].xstats["copies"] >= 30
        assert (relay.packets()["copy"] == 1).sum() >= 30


def test_reordered_packets_overtake_those_that_wait() -> None:
    asked = Netem(delay_ns=200 * MS, reorder=100, gap=10)
    with relayed(out=asked) as (lab, relay), datagrams(lab) as (sending, receiving):
        send_numbers(sending, 30)
        received = [int.from_bytes(receiving.recv(64), "big") for _ in range(30)]
        assert relay.statistics()["out"].xstats["reordered"] == 3
        waited_ns = np.ptp(going_out(relay.packets(), 30)["taken_ns"])
    assert waited_ns < 200 * MS, "this machine stood still while 30 datagrams were sent"
    assert received[:3] == [9, 19, 29]
    assert sorted(received) == list(range(30))


def test_a_rate_spaces_what_comes_at_once() -> None:
    # 1000 bytes with their Ethernet header at 100,000 bytes/s: 10 ms each.
    with relayed(out=Netem(rate_bytes=100_000)) as (lab, relay), datagrams(lab) as (sending, receiving):
        send_numbers(sending, 20, length=1000 - 42)
        assert [int.from_bytes(receiving.recv(2048)[:4], "big") for _ in range(20)] == list(range(20))
        packets = going_out(relay.packets(), 20)
    assert (packets["length"] == 1000).all()
    assert (np.diff(packets["due_ns"]) >= 10 * MS).all()
    assert packets["released_ns"][-1] - packets["taken_ns"][0] >= 200 * MS


def test_beyond_the_limit_packets_are_dropped_and_counted() -> None:
    with relayed(out=Netem(delay_ns=400 * MS, limit=10)) as (lab, relay), datagrams(lab) as (sending, receiving):
        send_numbers(sending, 50)
        received = [int.from_bytes(receiving.recv(64), "big") for _ in range(10)]
        statistics = relay.statistics()["out"]
        packets = going_out(relay.packets(), 50)
    assert np.ptp(packets["taken_ns"]) < 400 * MS, "this machine stood still while 50 datagrams were sent"
    assert received == list(range(10))
    assert (packets["fate"] == [Fate.PASSED] * 10 + [Fate.OVERFLOW] * 40).all()
    assert (statistics.overlimits, statistics.drops) == (40, 40)


def test_a_limit_that_cannot_hold_the_traffic_is_refused_before_anything_starts() -> None:
    with (
        pytest.raises(LimitTooSmall),
        relayed(out=Netem(delay_ns=1000 * MS, limit=10), expected_rate_bytes=1_000_000),
    ):
        pass


def test_impairments_change_while_it_runs_and_what_waited_is_dropped() -> None:
    with relayed(out=Netem(delay_ns=60_000 * MS)) as (lab, relay), datagrams(lab) as (sending, receiving):
        send_numbers(sending, 5)
        while relay.statistics()["out"].qlen < 5:
            select.select([], [], [], 0.001)
        lab.impair(out=Netem(delay_ns=MS), back=None)
        assert relay.statistics()["out"].packets == 0
        sending.send((99).to_bytes(4, "big"))
        assert int.from_bytes(receiving.recv(64), "big") == 99
        packets = relay.packets()
        assert relay.statistics()["out"].qlen == 0
    assert packets["fate"].tolist() == [Fate.REPLACED] * 5 + [Fate.PASSED]
    assert packets["setting"].tolist() == [0] * 5 + [1]
    assert (packets["released_ns"] == 0).tolist() == [True] * 5 + [False]


def test_what_the_relay_cannot_do_changes_nothing() -> None:
    with relayed(out=Netem(delay_ns=MS)) as (lab, _):
        with pytest.raises(UnsupportedByEngine, match="netem back: corrupt"):
            lab.impair(out=None, back=Netem(corrupt=1))
        assert lab.out == Netem(delay_ns=MS)
        lab.drain(deadline_s=DEADLINE_S)


def test_each_direction_has_its_own_delay() -> None:
    with relayed(Netem(delay_ns=5 * MS), Netem(delay_ns=9 * MS)) as (lab, relay):
        lab.drain(deadline_s=DEADLINE_S)
        packets = relay.packets()
    hold_ns = packets["due_ns"] - packets["taken_ns"]
    assert set(hold_ns[packets["direction"] == 0].tolist()) == {5 * MS}
    assert set(hold_ns[packets["direction"] == 1].tolist()) == {9 * MS}


def test_the_links_own_addresses_answer_for_themselves() -> None:
    with (
        relayed(Netem(delay_ns=60_000 * MS), Netem(delay_ns=60_000 * MS)) as (lab, relay),
        lab.client.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking,
    ):
        asking.settimeout(DEADLINE_S)
        asking.connect(("198.18.1.1", 9))
        asking.send(b"anybody?")
        with pytest.raises(ConnectionRefusedError):
            asking.recv(16)
        assert len(relay.packets()) == 0


def test_a_lab_says_what_impairs_it() -> None:
    with relayed() as (lab, relay):
        assert (lab.engine, lab.relay) == ("relay", relay)
        assert "SCHED_FIFO" in relay.scheduling
    with routed() as lab:
        assert (lab.engine, lab.relay) == ("netem", None)


def test_a_relay_keeps_to_the_core_that_it_is_given_and_still_looks_at_the_clock() -> None:
    cpu = max(os.sched_getaffinity(0))
    delay = Netem(delay_ns=5 * MS)
    with relayed(delay, delay, relay_cpu=cpu) as (lab, relay):
        assert relay.scheduling.endswith(f"on CPU {cpu}")
        assert os.sched_getaffinity(relay.pid) == {cpu}
        with datagrams(lab) as (sending, receiving):
            for _ in range(20):
                sending.send(b"there")
                assert receiving.recv(16) == b"there"
        assert relay.lateness().packets >= 20
        assert (late_ns(relay.packets()) >= 0).all()


def test_a_lab_ends_its_relay_and_leaves_nothing_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with relayed(out=Netem(delay_ns=60_000 * MS)) as (_, relay):
        watch = os.pidfd_open(relay.pid)
    assert not Path(f"/proc/{relay.pid}").exists()
    os.close(watch)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_relay_that_ends_by_itself_is_an_error_and_not_silence() -> None:
    with relayed() as (lab, relay):
        os.kill(relay.pid, signal.SIGKILL)
        with pytest.raises(RelayFailed, match="ended by itself with status -9"):
            lab.impair(out=None, back=None)
        with pytest.raises(RelayFailed, match="ended by itself with status -9"):
            lab.statistics()


BUILD_AND_WAIT = """
import sys, threading
from rttcheck_netns import Netem, routed
def build():
    with routed(engine="relay", out=Netem(delay_ns=10**10)) as lab:
        print(lab.relay.pid, flush=True)
        sys.stdin.read()
if sys.argv[1] == "thread":
    thread = threading.Thread(target=build)
    thread.start()
    thread.join()
else:
    build()
"""


@pytest.mark.parametrize("where", ["main", "thread"])
def test_a_killed_process_takes_its_relay_with_it(where: str) -> None:
    """With the relay go its sockets, and with them the last that holds the link's namespace."""
    with subprocess.Popen(
        [sys.executable, "-c", BUILD_AND_WAIT, where], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            watch = os.pidfd_open(int(child.stdout.readline()))
            child.send_signal(signal.SIGKILL)
            ended = select.select([watch], [], [], DEADLINE_S)[0]
            os.close(watch)
            assert ended, "the relay is still there"
        finally:
            child.kill()


def test_a_lab_may_outlive_the_thread_that_built_it() -> None:
    """PR_SET_PDEATHSIG takes the end of a thread for the end of its process."""
    built: list[tuple[Lab, Relay]] = []
    stack = relayed(out=Netem(delay_ns=MS))
    thread = threading.Thread(target=lambda: built.append(stack.__enter__()))
    thread.start()
    thread.join()
    lab, relay = built[0]
    try:
        lab.drain(deadline_s=DEADLINE_S)
        assert relay.statistics()["out"].packets > 0
    finally:
        stack.__exit__(None, None, None)


def test_the_relay_stops_waiting_as_soon_as_it_is_told() -> None:
    """Idle it sleeps for an hour, and is woken by its control socket."""
    with relayed() as (lab, _):
        started = time.monotonic()
        lab.impair(out=Netem(delay_ns=MS), back=None)
        assert time.monotonic() - started < 10
