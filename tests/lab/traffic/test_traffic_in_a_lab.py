"""Traffic through real namespaces: what goes over the wire, what stays behind, what happens when the link goes away."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import rttcheck_netns as netns
from rttcheck.collect.traffic import FlowResult, run_traffic
from rttcheck.collect.traffic.endpoint import accept, connect, open_client, open_listener
from rttcheck.collect.traffic.threads import TrafficThreads
from rttcheck.errors import TrafficError
from rttcheck.record.event import TcpState
from rttcheck.scenario.model import Scenario, Step
from rttcheck.scenario.traffic import Traffic
from rttcheck_netns import Host, Lab, Netem

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="making a network namespace needs root"),
    pytest.mark.skipif(not shutil.which("ss"), reason="no ss here: install iproute2"),
]

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
TOPOLOGIES: dict[str, Callable[..., AbstractContextManager[Lab]]] = {"routed": netns.routed, "direct": netns.direct}
KINDS = {
    "pingpong": Traffic(kind="pingpong", count=20, size=3),
    "oneway": Traffic(kind="oneway", count=20, size=7),
    "paced": Traffic(kind="paced", count=5, interval_us=2_000),
    "bulk": Traffic(kind="bulk", size=1_000_000),
    "connections": Traffic(kind="connections", count=5),
}


def scenario(traffic: Traffic, *, family: int = 4, after: tuple[int, ...] = ()) -> Scenario:
    steps = tuple(Step(after=each, out=Netem(), back=Netem()) for each in after)
    base = Scenario(name="lab", out=Netem(), back=Netem(), traffic=traffic)
    return replace(base, family=4 if family == 4 else 6, steps=steps)


def ss(host: Host, *words: str) -> list[str]:
    """The lines of ``ss -H`` inside ``host``'s namespace, details joined to their socket."""
    ran = host.namespace.run(lambda: subprocess.run(["ss", "-HO", *words], capture_output=True, text=True, check=True))
    return ran.stdout.splitlines()


def set_link(host: Host, *, up: bool) -> None:
    """IFF_UP of ``host``'s interface, at once: starting a program takes most of a second in an emulated guest."""
    with host.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        name = host.interface.encode()
        flags = struct.unpack_from("=H", fcntl.ioctl(asking, SIOCGIFFLAGS, struct.pack("=16s24x", name)), 16)[0]
        changed = flags | IFF_UP if up else flags & ~IFF_UP
        fcntl.ioctl(asking, SIOCSIFFLAGS, struct.pack("=16sH22x", name, changed))


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Each test ends with the threads and descriptors that it began with."""

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    with netns.direct():  # what is opened at first use and kept for the session
        pass
    threads, open_before = set(threading.enumerate()), descriptors()
    yield
    assert set(threading.enumerate()) == threads
    assert descriptors() == open_before


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_goes_from_client_to_server(kind: str, topology: str, family: int) -> None:
    with TOPOLOGIES[topology]() as lab:
        flows = run_traffic(lab, scenario(KINDS[kind], family=family)).flows
        ends = [host.ipv4 if family == 4 else host.ipv6 for host in (lab.client, lab.server)]
    for flow in flows:
        assert [flow.client_address[0], flow.server_address[0]] == ends
        assert flow.client_info.unacked == flow.server_info.unacked == 0
        assert flow.client_info.min_rtt_us
        assert flow.server_info.min_rtt_us


@pytest.mark.parametrize("kind", KINDS)
def test_every_fin_is_acknowledged_when_it_returns(kind: str) -> None:
    with netns.routed() as lab:
        flows = run_traffic(lab, scenario(replace(KINDS[kind], flows=2))).flows
        assert ss(lab.server, "-tan") == []
        left = ss(lab.client, "-tan")
    assert len(left) == len(flows)
    assert all(line.startswith("TIME-WAIT") for line in left)


def test_sixteen_flows_at_once() -> None:
    with netns.routed() as lab:
        flows = run_traffic(lab, scenario(Traffic(count=20, flows=16))).flows
    assert len({flow.client_address for flow in flows}) == 16
    assert max(flow.connected_ns for flow in flows) <= min(int(flow.timings["sent_ns"][0]) for flow in flows)


@pytest.mark.parametrize("kind", ["pingpong", "oneway", "paced", "bulk"])
@pytest.mark.parametrize("quickack", [True, False])
def test_at_a_step_nothing_is_under_way_on_either_side(kind: str, quickack: bool) -> None:
    seen: list[str] = []
    with netns.routed(quickack=quickack) as lab:

        def look(_: int) -> None:
            seen.extend(ss(lab.client, "-tin", "state", "established"))
            seen.extend(ss(lab.server, "-tin", "state", "established"))

        run_traffic(lab, scenario(replace(KINDS[kind], flows=3), after=(3,)), on_step=look)
    assert len(seen) == 6
    for line in seen:
        received, sent, *_ = line.split()
        assert (received, sent) == ("0", "0")
        assert "unacked:" not in line


def test_between_connections_a_step_finds_no_connection() -> None:
    seen: list[str] = []
    with netns.routed() as lab:

        def look(_: int) -> None:
            seen.extend(ss(lab.server, "-tn", "state", "connected"))
            seen.extend(ss(lab.client, "-tn", "state", "connected", "exclude", "time-wait"))

        run_traffic(lab, scenario(replace(KINDS["connections"], flows=3), after=(3,)), on_step=look)
    assert seen == []


@pytest.mark.parametrize("congestion", ["cubic", "reno", "bbr"])
def test_both_ends_use_the_congestion_control_that_was_asked_for(congestion: str) -> None:
    with socket.socket() as asking:
        try:
            asking.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
        except OSError as lack:
            pytest.skip(f"this kernel has no {congestion} ({lack.strerror})")
    seen: list[str] = []
    with netns.direct() as lab:
        asked = scenario(replace(KINDS["pingpong"], congestion=congestion), after=(3,))

        def look(_: int) -> None:
            seen.extend(ss(lab.client, "-tin", "state", "established"))
            seen.extend(ss(lab.server, "-tin", "state", "established"))

        run_traffic(lab, asked, on_step=look)
    assert len(seen) == 2
    assert all(f" {congestion} " in line for line in seen)


def test_a_congestion_control_that_is_not_there_is_refused_before_any_traffic() -> None:
    with netns.direct() as lab, pytest.raises(TrafficError, match=r"congestion='vegetables'.*it has .*reno"):
        run_traffic(lab, scenario(Traffic(congestion="vegetables")))


def test_the_link_that_goes_down_in_mid_traffic_ends_all_by_the_deadline() -> None:
    with netns.routed() as lab:
        asked = scenario(Traffic(count=100, flows=8, deadline_s=0.5), after=(50,))
        begun_s = time.monotonic()
        with pytest.raises(TrafficError) as caught:
            run_traffic(lab, asked, on_step=lambda _: set_link(lab.server, up=False))
        assert 0.5 <= time.monotonic() - begun_s < 2.5
    said = str(caught.value)
    assert f"pingpong flow 0 ({lab.client.ipv4} port " in said
    assert "(and 7 more flows) was still exchanging data, 50 of 100 exchanges done" in said
    assert "deadline of 0.5 s passed" in said


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_cannot_be_reached_ends_all_by_the_deadline(kind: str) -> None:
    with netns.routed() as lab:
        set_link(lab.server, up=False)
        begun_s = time.monotonic()
        with pytest.raises(TrafficError, match=r"flow 0 \(not connected to .*connecting, 0 of "):
            run_traffic(lab, scenario(replace(KINDS[kind], flows=2, deadline_s=0.3)))
        assert time.monotonic() - begun_s < 2


def test_an_aborted_run_leaves_no_socket_to_keep_the_namespace_alive() -> None:
    with netns.routed() as lab:
        asked = scenario(Traffic(kind="bulk", size=50_000_000, flows=2, deadline_s=0.3), after=(5,))
        with pytest.raises(TrafficError):
            run_traffic(lab, asked, on_step=lambda _: set_link(lab.server, up=False))
        assert ss(lab.client, "-tan") == []
        assert ss(lab.server, "-tan") == []


def acks_of(traffic: Traffic) -> FlowResult:
    with netns.routed(quickack=False) as lab:
        return run_traffic(lab, scenario(traffic)).flows[0]


def test_quickack_is_set_again_after_each_read() -> None:
    lazy = acks_of(Traffic(count=30))
    quick = acks_of(Traffic(count=30, quickack=True))
    for name in ("server_info", "client_info"):
        pure = {
            flow is quick: getattr(flow, name).value("segs_out") - getattr(flow, name).value("data_segs_out")
            for flow in (lazy, quick)
        }
        assert pure[True] >= 28, name
        assert pure[False] <= 5, name


@contextmanager
def delayed() -> Iterator[Lab]:
    """A routed lab with 40 ms of round trip, where the kernel has netem."""
    with ExitStack() as stack:
        try:
            lab = stack.enter_context(netns.routed(out=Netem(delay_ns=20_000_000), back=Netem(delay_ns=20_000_000)))
        except netns.UnsupportedByKernel as lack:
            pytest.skip(str(lack))
        yield lab


@pytest.mark.parametrize("kind", KINDS)
def test_with_a_delay_too_every_fin_is_acknowledged_when_it_returns(kind: str) -> None:
    seen: list[str] = []
    with delayed() as lab:
        asked = scenario(replace(KINDS[kind], flows=2), after=(3,))
        run_traffic(lab, asked, on_step=lambda _: seen.extend(ss(lab.server, "-tin", "state", "connected")))
        assert ss(lab.server, "-tan") == []
    assert len(seen) == (0 if kind == "connections" else 2)
    assert not any("unacked:" in line for line in seen)


@pytest.mark.parametrize(("nodelay", "least", "most"), [(True, 8, 8), (False, 1, 3)])
def test_without_nodelay_small_writes_wait_for_the_ack_of_the_one_before(nodelay: bool, least: int, most: int) -> None:
    # Fewer writes than the initial congestion window has segments, in less than a round trip.
    asked = Traffic(kind="paced", count=8, interval_us=1_000, nodelay=nodelay)
    with delayed() as lab:
        sent = run_traffic(lab, scenario(asked)).flows[0].client_info.value("data_segs_out")
    assert least <= sent <= most


def test_the_last_to_close_waits_for_the_ack_of_its_fin() -> None:
    traffic = Traffic(deadline_s=10)
    with netns.direct() as lab, TrafficThreads(deadline_s=10) as threads:
        listener = open_listener(threads, lab.server, traffic, family=4, backlog=1)
        with lab.client.namespace.entered():
            client = open_client(threads, traffic, family=4)
        connect(client, listener.getsockname())
        server = accept(threads, listener, traffic)
        client.sock.shutdown(socket.SHUT_WR)
        server.await_end_of_stream()
        set_link(lab.client, up=False)
        closing = threading.Thread(target=server.close_last)
        closing.start()
        closing.join(0.1)
        assert closing.is_alive()
        assert server.info().state is TcpState.LAST_ACK
        set_link(lab.client, up=True)
        closing.join(5)
        assert not closing.is_alive()
        assert ss(lab.server, "-tn", "state", "connected") == []


def test_the_tcp_info_of_a_ping_pong_counts_its_segments() -> None:
    with netns.routed() as lab:
        flow = run_traffic(lab, scenario(Traffic(count=50))).flows[0]
    for info in (flow.client_info, flow.server_info):
        assert info.value("data_segs_out") == info.value("data_segs_in") == info.value("bytes_received") == 50
