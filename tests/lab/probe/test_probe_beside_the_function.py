"""Backends that do not hang on tcp_ack_update_rtt, on real TCP: sockops, tracepoint, and both at once."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from rttcheck.collect.probe.cgroup import open_cgroup, own_path
from rttcheck.collect.probe.probe import Attempt, Probe, open_probe, open_second, probe_support
from rttcheck.doctor.capabilities import kernel_option
from rttcheck.errors import ProbeError
from rttcheck.record.event import FLAG_SYN_ACKED, Hook, TcpState
from rttcheck_netns.namespace import Namespace
from tests.support.loopback import bucket_counts, connection, exchange, network, ping_pong

EXCHANGES = 30


@pytest.fixture(scope="module")
def support() -> dict[str, Attempt]:
    return {attempt.backend: attempt for attempt in probe_support()}


def opened(support: dict[str, Attempt], name: str) -> Iterator[Probe]:
    if not support[name].ok:
        pytest.skip(f"{name}: {support[name].reason}")
    with open_probe(name) as probe:
        yield probe


@pytest.fixture(scope="module")
def sockops(support: dict[str, Attempt]) -> Iterator[Probe]:
    yield from opened(support, "sockops")


@pytest.fixture(scope="module")
def tracepoint(support: dict[str, Attempt]) -> Iterator[Probe]:
    yield from opened(support, "tracepoint")


@pytest.mark.parametrize(("name", "option"), [("sockops", "CONFIG_CGROUP_BPF"), ("tracepoint", "CONFIG_BPF_EVENTS")])
def test_it_works_on_every_kernel_that_was_built_for_it(support: dict[str, Attempt], name: str, option: str) -> None:
    # A guest of rttcheck's has a kernel that lacks neither, and no file that says so.
    unsaid = "y" if Path("/run/rttcheck").is_dir() else "n"
    if os.geteuid() != 0 or any((kernel_option(each) or unsaid) != "y" for each in (option, "CONFIG_DEBUG_INFO_BTF")):
        pytest.skip(f"this kernel does not say {option}=y, or this is not root")
    assert support[name].ok, support[name].reason


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with network() as made:
        yield made


def info_of(end: socket.socket) -> dict[str, int]:
    info = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    names = {"rtt_us": 68, "rttvar_us": 72, "min_rtt_us": 148}
    return {name: struct.unpack_from("=I", info, offset)[0] for name, offset in names.items()}


def test_sockops_sees_both_ends_of_a_connection_from_the_handshake_on(sockops: Probe, namespace: Namespace) -> None:
    with sockops.watch([namespace.inode]) as watch:
        client, server = ping_pong(namespace, EXCHANGES)
    events = watch.events()
    assert watch.lost == 0
    assert len(events) == watch.calls
    for port, state in ((client, TcpState.SYN_SENT), (server, TcpState.SYN_RECV)):
        mine = events[events["sport"] == port]
        assert mine["state"][0] == state
        assert (mine["flag"] & FLAG_SYN_ACKED != 0).tolist() == [True] + [False] * (len(mine) - 1)
        assert len(np.unique(mine["generation"])) == 1
        # Each exchange is a round trip of its own, but for one whose ACK also covers the FIN.
        assert len(mine) >= EXCHANGES
    assert set(events["hook"].tolist()) == {Hook.SOCKOPS}
    assert (events["taken"] == 1).all()


def test_what_sockops_does_not_see_says_so(sockops: Probe, namespace: Namespace) -> None:
    with sockops.watch([namespace.inode]) as watch:
        ping_pong(namespace, EXCHANGES)
    events = watch.events()
    for name in ("first_rtt_us", "sack_rtt_us", "last_rtt_us", "rs_rtt_us", "sample_us"):
        assert (events[name] == -1).all() == (not sockops.view.sees(name)), name
    for name in ("rto_jiffies", "backoff"):
        assert not sockops.view.sees(name)
        assert not events[name].any()


def test_each_round_trip_of_sockops_makes_the_estimators_that_tcp_info_shows(
    sockops: Probe, namespace: Namespace
) -> None:
    if not sockops.view.sees("sample_us"):
        pytest.skip("this kernel passes no arguments to RTT_CB")
    with sockops.watch([namespace.inode]) as watch, connection(namespace) as (client, server):
        exchange(client, server, EXCHANGES)
        shown = info_of(client)
        mine = watch.events()
        mine = mine[mine["sport"] == client.getsockname()[1]]
    srtt = 0
    for event in mine:  # tcp_rtt_estimator()
        sample = int(event["sample_us"])
        srtt = max(1, srtt + sample - (srtt >> 3) if srtt else sample << 3)
        assert int(event["srtt_us"]) == srtt
    last = mine[-1]
    assert shown == {
        "rtt_us": int(last["srtt_us"]) >> 3,
        "rttvar_us": int(last["mdev_us"]) >> 2,
        "min_rtt_us": int(last["min_rtt"]["v"][0]),
    }
    assert mine["min_rtt"]["v"][-1, 0] <= mine["sample_us"].min()


def test_the_histogram_of_sockops_is_that_of_its_samples(sockops: Probe, namespace: Namespace) -> None:
    with sockops.watch([namespace.inode]) as watch:
        ping_pong(namespace, EXCHANGES)
    samples = watch.events()["sample_us"]
    samples = samples[samples >= 0]
    assert watch.histograms()["us"].tolist() == bucket_counts(samples)
    assert watch.histograms()["ms"].tolist() == bucket_counts(samples // 1000)


@pytest.mark.parametrize("name", ["sockops", "tracepoint"])
def test_another_namespaces_traffic_is_left_alone(
    name: str, namespace: Namespace, request: pytest.FixtureRequest
) -> None:
    probe: Probe = request.getfixturevalue(name)
    with network() as other, ExitStack() as stack:
        with probe.watch([namespace.inode]) as watch:
            client, server = stack.enter_context(connection(other))
            exchange(client, server, 3)
            ours = ping_pong(namespace, 3)
        events = watch.events()
        # A socket of another namespace is not even told to call.
        with probe.watch(None) as everywhere:
            exchange(client, server, 3)
        seen = set(everywhere.events()["sport"].tolist()) & {client.getsockname()[1], server.getsockname()[1]}
    assert set(events["netns"].tolist()) == {namespace.inode}
    assert set(events["sport"].tolist()) <= set(ours)
    assert bool(seen) == (name == "tracepoint")


def test_ipv6_is_seen_by_either(sockops: Probe, tracepoint: Probe, namespace: Namespace) -> None:
    with sockops.watch([namespace.inode]) as one, tracepoint.watch([namespace.inode]) as other:
        ping_pong(namespace, 3, host="::1")
    for watch in (one, other):
        events = watch.events()
        assert set(events["family"].tolist()) == {socket.AF_INET6}
        assert {bytes(address) for address in events["daddr"]} == {bytes(15) + b"\1"}


def test_the_tracepoint_shows_before_each_segment_what_sockops_saw_being_made(
    sockops: Probe, tracepoint: Probe, namespace: Namespace
) -> None:
    if not sockops.view.sees("srtt_us"):
        pytest.skip("this kernel passes no arguments to RTT_CB")
    with sockops.watch([namespace.inode]) as one, tracepoint.watch([namespace.inode]) as other:
        ping_pong(namespace, EXCHANGES)
    made, found = one.events(), other.events()
    assert (found["sample_us"] == -1).all()
    compared = 0
    for state in found:
        before = made[(made["sk"] == state["sk"]) & (made["timestamp_ns"] < state["timestamp_ns"])]
        before = before[before["delivered"] == state["delivered"]]
        if not len(before):  # the server's handshake counts as delivered after its sample
            assert state["delivered"] == 1
            continue
        for name in ("srtt_us", "mdev_us", "mdev_max_us", "rttvar_us", "rtt_seq", "min_rtt", "snd_una"):
            assert state[name].tolist() == before[-1][name].tolist(), name
        compared += 1
    assert compared >= 2 * EXCHANGES


def test_a_second_backend_is_another_one_and_runs_beside_the_first(sockops: Probe, namespace: Namespace) -> None:
    with open_second(sockops) as second:
        assert second is not None
        assert second.backend != "sockops"
        with sockops.watch([namespace.inode]) as one, second.watch([namespace.inode]) as other:
            ping_pong(namespace, 3)
        assert len(one.events()) > 0
        assert len(other.events()) > 0


def test_a_machine_without_a_mounted_version_2_gets_a_hierarchy_of_its_own(
    tmp_path: Path, namespace: Namespace, monkeypatch: pytest.MonkeyPatch, support: dict[str, Attempt]
) -> None:
    if not support["sockops"].ok:
        pytest.skip(support["sockops"].reason)
    (tmp_path / "mountinfo").write_text("32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n")
    mounts = Path("/proc/self/mountinfo").read_text()
    monkeypatch.setattr(open_cgroup.__wrapped__, "__kwdefaults__", {  # type: ignore[attr-defined] # of contextmanager
        "mountinfo": tmp_path / "mountinfo", "cgroup": Path("/proc/self/cgroup"),
    })  # fmt: skip
    with open_probe("sockops") as probe, probe.watch([namespace.inode]) as watch:
        own = own_path(Path("/proc/self/cgroup").read_text())
        assert probe.tried[-1].reason.startswith(f"attached to the cgroup {own} in a hierarchy of its own")
        assert Path("/proc/self/mountinfo").read_text() == mounts
        ping_pong(namespace, 3)
    assert len(watch.events()) > 0


@pytest.mark.parametrize("filters", [{"first_below_us": 5}, {"last_below_us": 5}])
def test_a_filter_on_what_is_not_seen_is_refused(sockops: Probe, namespace: Namespace, filters: dict[str, int]) -> None:
    with pytest.raises(ProbeError, match="sockops does not see"):
        sockops.watch([namespace.inode], **filters).__enter__()  # type: ignore[arg-type] # the values are integers
