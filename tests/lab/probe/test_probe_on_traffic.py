"""The probe on real TCP over the loopback of a namespace: every call, once, with the kernel's own numbers."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from rttcheck.collect.probe.probe import Attempt, Probe, open_probe, probe_support
from rttcheck.record.event import EVENT, FLAG_SYN_ACKED, Hook, TcpState
from rttcheck_netns.namespace import Namespace
from tests.support.loopback import (
    EXCHANGES,
    bucket_counts,
    connection,
    exchange,
    network,
    one_acknowledgement_of_many,
    ping_pong,
)


@pytest.fixture(scope="module")
def support() -> dict[str, Attempt]:
    return {attempt.backend: attempt for attempt in probe_support()}


@pytest.fixture(scope="module", params=["fexit", "kprobe"])
def backend(request: pytest.FixtureRequest, support: dict[str, Attempt]) -> str:
    name: str = request.param
    if not support[name].ok:
        pytest.skip(f"{name}: {support[name].reason}")
    return name


@pytest.fixture(scope="module")
def probe(backend: str) -> Iterator[Probe]:
    with open_probe(backend) as opened:
        yield opened


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with network() as made:
        yield made


def test_every_sample_of_both_ends_is_seen_and_nothing_is_lost(probe: Probe, namespace: Namespace) -> None:
    with probe.watch([namespace.inode]) as watch:
        client_port, server_port = ping_pong(namespace)
    events = watch.events()
    assert events.dtype == EVENT
    assert watch.lost == 0
    assert len(events) == watch.calls
    for port, other, state in (
        (client_port, server_port, TcpState.SYN_SENT),
        (server_port, client_port, TcpState.SYN_RECV),
    ):
        mine = events[events["sport"] == port]
        assert set(mine["dport"].tolist()) == {other}
        handshakes = mine[mine["flag"] & FLAG_SYN_ACKED != 0]
        assert handshakes["state"].tolist() == [state]
        # Each byte is acknowledged by the answer to it, or by the next question.
        assert (np.diff(mine["snd_una"].astype(np.int64)) >= 0).all()
        assert mine["taken"].sum() >= EXCHANGES
    assert set(events["hook"].tolist()) == {Hook.FEXIT if probe.backend == "fexit" else Hook.KRETPROBE}
    assert set(events["netns"].tolist()) == {namespace.inode}
    assert (np.diff(events["timestamp_ns"].astype(np.int64)) > 0).all()
    assert threading.get_native_id() in events["pid"]
    armed = events[events["timer"] != 0]
    assert len(armed) > 0
    assert (np.abs(armed["timer_jiffies"]) <= armed["hz"]).all(), "no timer here is set for more than a second"


def test_the_estimator_holds_the_sample_that_the_event_says_was_taken(probe: Probe, namespace: Namespace) -> None:
    with probe.watch([namespace.inode]) as watch:
        ping_pong(namespace)
    events = watch.events()
    for generation in np.unique(events["generation"]):
        mine = events[events["generation"] == generation]
        mine = mine[mine["taken"] == 1]
        srtt, mdev = 0, 0
        for event in mine:  # tcp_rtt_estimator()
            sample = int(event["sample_us"])
            if srtt == 0:
                srtt, mdev = sample << 3, sample << 1
            else:
                error = sample - (srtt >> 3)
                srtt += error
                if error < 0:
                    error = -error - (mdev >> 2)
                    if error > 0:
                        error >>= 3
                else:
                    error -= mdev >> 2
                mdev += error
            srtt = max(1, srtt)
            assert (int(event["srtt_us"]), int(event["mdev_us"])) == (srtt, mdev)
        lowest = mine["rs_rtt_us"][mine["rs_rtt_us"] > 0].min()
        assert mine["min_rtt"]["v"][-1, 0] == lowest


def test_the_last_event_agrees_with_tcp_info(probe: Probe, namespace: Namespace) -> None:
    with probe.watch([namespace.inode]) as watch, connection(namespace) as (client, server):
        exchange(client, server)
        port = client.getsockname()[1]
        cookie = struct.unpack("=Q", client.getsockopt(socket.SOL_SOCKET, 57, 8))[0]  # SO_COOKIE
        exchange(client, server, 1)
        info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        events = watch.events()
    last = events[events["sport"] == port][-1]
    rto_us, rtt_us, rttvar_us = (struct.unpack_from("=I", info, offset)[0] for offset in (8, 68, 72))
    min_rtt_us, mss = struct.unpack_from("=I", info, 148)[0], struct.unpack_from("=I", info, 16)[0]
    assert rtt_us == last["srtt_us"] >> 3
    assert rttvar_us == last["mdev_us"] >> 2
    assert min_rtt_us == last["min_rtt"]["v"][0]
    assert rto_us == last["rto_jiffies"] * 1_000_000 // last["hz"]
    assert mss == last["mss_cache"]
    assert last["cookie"] == cookie
    assert last["ca_state"] == 0
    assert last["family"] == socket.AF_INET
    assert bytes(last["saddr"]) == b"\0" * 10 + b"\xff\xff\x7f\0\0\1"


@pytest.mark.parametrize("read_often", [False, True])
def test_the_kernels_histograms_are_those_of_the_events(probe: Probe, namespace: Namespace, read_often: bool) -> None:
    chunks = []
    with probe.watch([namespace.inode]) as watch:
        for _ in range(3):
            ping_pong(namespace)
            if read_often:
                chunks.append(watch.events())
    events = np.concatenate([*chunks, watch.events()])
    samples = events["first_rtt_us"][events["first_rtt_us"] >= 0]
    histograms = watch.histograms()
    assert histograms["us"].tolist() == bucket_counts(samples)
    assert histograms["ms"].tolist() == bucket_counts(samples // 1000)
    assert sum(histograms["us"]) == len(samples) > 3 * EXCHANGES


def test_another_namespaces_traffic_is_not_seen(probe: Probe, namespace: Namespace) -> None:
    with network() as other, probe.watch([namespace.inode]) as watch:
        foreign = ping_pong(other)
        ours = ping_pong(namespace, count=3)
    events = watch.events()
    assert set(events["netns"].tolist()) == {namespace.inode}
    assert set(events["sport"].tolist()) == set(ours)
    assert watch.histograms()["us"].sum() == (events["first_rtt_us"] >= 0).sum()
    assert foreign != ours


def test_without_a_namespace_filter_all_are_seen(probe: Probe, namespace: Namespace) -> None:
    with network() as other, probe.watch(None) as watch:
        ping_pong(other, count=3)
        ping_pong(namespace, count=3)
    assert {namespace.inode, other.inode} <= set(watch.events()["netns"].tolist())


def test_a_port_filter_holds_for_either_end(probe: Probe, namespace: Namespace) -> None:
    with connection(namespace) as (client, server):
        port = client.getsockname()[1]
        with probe.watch([namespace.inode], port=port) as watch:
            exchange(client, server, 5)
            ping_pong(namespace)
    events = watch.events()
    assert ((events["sport"] == port) | (events["dport"] == port)).all()
    assert {True, False} == set((events["sport"] == port).tolist())


def test_the_filters_ignore_what_nettraces_would(probe: Probe, namespace: Namespace) -> None:
    with probe.watch([namespace.inode]) as watch:
        ping_pong(namespace)
    threshold = int(np.median(watch.events()["first_rtt_us"]))
    for first, last in ((threshold, 0), (0, threshold)):
        with probe.watch([namespace.inode], first_below_us=first, last_below_us=last) as watch:
            ping_pong(namespace, 4 * EXCHANGES)
        events = watch.events()
        assert ((events["first_rtt_us"] >= first) & (events["first_rtt_us"] >= 0)).all()
        assert (events["last_rtt_us"] >= last).all()
        assert watch.histograms()["us"].tolist() == bucket_counts(events["first_rtt_us"])
    with probe.watch([namespace.inode], first_below_us=10**9) as watch:
        ping_pong(namespace)
    assert (len(watch.events()), watch.calls, watch.lost) == (0, 0, 0)


def test_statistics_alone_make_no_events(probe: Probe, namespace: Namespace) -> None:
    with probe.watch([namespace.inode], events=False) as watch:
        ping_pong(namespace)
    assert len(watch.events()) == 0
    assert watch.lost == 0
    assert watch.histograms()["us"].sum() >= 2 * EXCHANGES


def test_events_alone_fill_no_histogram(probe: Probe, namespace: Namespace) -> None:
    with probe.watch([namespace.inode], histogram=False) as watch:
        ping_pong(namespace)
    assert len(watch.events()) == watch.calls >= 2 * EXCHANGES
    assert watch.histograms()["us"].sum() == 0


def test_nothing_of_one_watch_shows_in_the_next(probe: Probe, namespace: Namespace) -> None:
    with probe.watch([namespace.inode]) as first:
        ping_pong(namespace)
    with probe.watch([namespace.inode]) as second:
        ports = ping_pong(namespace, count=2)
    assert set(second.events()["sport"].tolist()) == set(ports)
    assert second.histograms()["us"].sum() <= 10
    ping_pong(namespace)
    assert len(second.events()) == 0, "traffic after the watch was stopped"
    assert first.histograms()["us"].sum() >= 2 * EXCHANGES, "the readings of a watch outlive it"


def test_what_does_not_fit_into_the_ring_is_counted(backend: str, namespace: Namespace) -> None:
    with open_probe(backend, ring_bytes=4096) as probe, probe.watch([namespace.inode]) as watch:
        ping_pong(namespace)
    events = watch.events()
    assert len(events) == 4096 // (EVENT.itemsize + 8)
    assert watch.losses["ring_full"] == watch.lost == watch.calls - len(events) > 0
    assert watch.histograms()["us"].sum() > len(events), "the histogram counts what the ring had no room for"


def test_a_connection_keeps_its_identity_although_sockets_addresses_are_reused(
    probe: Probe, namespace: Namespace
) -> None:
    connections = 30
    with probe.watch([namespace.inode]) as watch:
        ports = [ping_pong(namespace, count=2) for _ in range(connections)]
    events = watch.events()
    assert len(np.unique(events["sk"])) < 2 * connections, "no address was reused: this test shows nothing"
    identities = np.unique(events[["sk", "generation"]])
    assert len(identities) == 2 * connections
    for client, server in ports:
        mine = events[(events["sport"] == client) & (events["dport"] == server)]
        assert len(np.unique(mine[["sk", "generation"]])) == 1
        assert mine["generation"][0] == mine["timestamp_ns"][0]


def test_ipv6_addresses_are_told(probe: Probe, namespace: Namespace) -> None:
    with probe.watch([namespace.inode]) as watch:
        ping_pong(namespace, count=3, host="::1")
    events = watch.events()
    assert set(events["family"].tolist()) == {socket.AF_INET6}
    assert {bytes(address) for address in events["daddr"]} == {bytes(15) + b"\1"}


def test_polling_returns_as_soon_as_there_is_an_event(probe: Probe, namespace: Namespace) -> None:
    with connection(namespace) as (client, server), probe.watch([namespace.inode]) as watch:
        assert len(watch.poll(0)) == 0
        answer = threading.Thread(target=exchange, args=(client, server, 1))
        answer.start()
        events = watch.poll(30)
        answer.join()
        assert len(events) > 0
        while len(watch.poll(0)):
            pass
        assert len(watch.poll(0.01)) == 0


def test_both_backends_agree_event_by_event(support: dict[str, Attempt], namespace: Namespace) -> None:
    for attempt in support.values():
        if not attempt.ok:
            pytest.skip(f"{attempt.backend}: {attempt.reason}")
    with open_probe("fexit") as one, open_probe("kprobe") as other:
        with one.watch([namespace.inode]) as fexit, other.watch([namespace.inode]) as kprobe:
            ping_pong(namespace)
            ping_pong(namespace, host="::1")
            with connection(namespace) as (client, server):
                one_acknowledgement_of_many(client, server)
        seen, also_seen = fexit.events(), kprobe.events()
    # Not the same by nature: when each program ran, and what hangs on that.
    own = {"timestamp_ns", "generation", "hook", "jiffies", "timer_jiffies"}
    assert len(seen) == len(also_seen) > 4 * EXCHANGES
    assert (seen["first_rtt_us"] > seen["last_rtt_us"]).any(), "swapped arguments would not show"
    for name in set(EVENT.names or ()) - own:
        assert seen[name].tolist() == also_seen[name].tolist(), name
    assert {name: value.tolist() for name, value in fexit.histograms().items()} == {
        name: value.tolist() for name, value in kprobe.histograms().items()
    }
