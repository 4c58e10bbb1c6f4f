"""The networks themselves, on the running kernel: who can talk, what is pinned, what is left behind."""

from __future__ import annotations

import select
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

import rttcheck_netns.topology
from rttcheck_netns import Lab, Netem, Offloads, SysctlRefused, UnsupportedByKernel, direct, routed
from rttcheck_netns.announcement import AddressAnnouncements
from rttcheck_netns.host import Host

TOPOLOGIES: Mapping[str, Callable[..., AbstractContextManager[Lab]]] = {
    "routed": routed,
    "direct": direct,
    "relayed": partial(routed, engine="relay"),
}


@pytest.fixture(params=TOPOLOGIES)
def topology(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def lab_of(topology: str) -> AbstractContextManager[Lab]:
    return TOPOLOGIES[topology]()


class Standing(NamedTuple):
    """What a lab may not change: the thread's namespace and its interfaces, and how many files are open."""

    inode: int
    interfaces: list[tuple[int, str]]
    open_files: int


def standing() -> Standing:
    return Standing(
        Path("/proc/thread-self/ns/net").stat().st_ino,
        socket.if_nameindex(),
        len(list(Path("/proc/self/fd").iterdir())),
    )


def arrives(sender: Host, receiver: Host, family: int) -> bool:
    """Whether a single datagram, sent once, comes through."""
    domain = socket.AF_INET6 if family == 6 else socket.AF_INET
    with (
        sender.namespace.socket(domain, socket.SOCK_DGRAM) as sending,
        receiver.namespace.socket(domain, socket.SOCK_DGRAM) as receiving,
    ):
        receiving.bind((receiver.address(family), 0))
        receiving.settimeout(5)
        sending.sendto(b"once", receiving.getsockname())
        try:
            return str(receiving.recvfrom(16)[1][0]) == sender.address(family)
        except TimeoutError:
            return False


@contextmanager
def capture(host: Host) -> Iterator[socket.socket]:
    with host.namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as tap:
        tap.bind((host.interface, 3))
        tap.setblocking(False)
        yield tap


def captured(tap: socket.socket) -> list[bytes]:
    frames = []
    while select.select([tap], [], [], 0)[0]:
        frames.append(tap.recv(1 << 17))
    return frames


def transfer(lab: Lab, size: int) -> None:
    """Send that many bytes over TCP from client to server."""
    with (
        lab.server.namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as listener,
        lab.client.namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as client,
    ):
        for one in (listener, client):
            one.settimeout(10)
        listener.bind((lab.server.ipv4, 0))
        listener.listen()
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        with server:
            left, received = size, 0
            client.setblocking(False)
            while received < size:
                readable, writable, _ = select.select([server], [client] if left else [], [], 10)
                assert readable or writable
                if writable:
                    left -= client.send(bytes(min(left, 1 << 16)))
                if readable:
                    received += len(server.recv(1 << 16))


@pytest.mark.parametrize("family", [4, 6])
def test_the_first_packet_comes_through_at_once(topology: str, family: int) -> None:
    """A link that is not active yet drops what it is given without a word; ten networks, to meet the race."""
    for _ in range(10):
        with lab_of(topology) as lab:
            assert arrives(lab.client, lab.server, family)
            assert arrives(lab.server, lab.client, family)


def test_the_link_transmits_without_waiting_for_the_kernels_linkwatch(
    topology: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else that takes time is left between bringing up and sending; without the grafts a third gets lost."""
    monkeypatch.setattr(AddressAnnouncements, "wait", lambda _self, _indexes: None)
    monkeypatch.setattr(rttcheck_netns.topology, "set_offloads", lambda _channel, _indexes, _offloads: None)
    for _ in range(20):
        with lab_of(topology) as lab:
            assert arrives(lab.client, lab.server, 4)


def asks_for_somebody(frame: bytes) -> bool:
    """ARP, or ICMPv6 router and neighbour solicitations and their answers (133 to 136)."""
    kind = int.from_bytes(frame[12:14], "big")
    return kind == 0x0806 or (kind == 0x86DD and frame[20] == 58 and 133 <= frame[54] <= 136)


def test_nobody_asks_for_neighbours_or_routers(topology: str) -> None:
    """Multicast listener reports are the one thing that IPv6 cannot be kept from; nothing waits for them."""
    with lab_of(topology) as lab, capture(lab.client) as tap:
        for family in (4, 6):
            assert arrives(lab.client, lab.server, family)
        frames = captured(tap)
    assert {int.from_bytes(frame[12:14], "big") for frame in frames} == {0x0800, 0x86DD}
    assert not [frame for frame in frames if asks_for_somebody(frame)]


def test_the_hosts_own_namespace_is_not_touched(topology: str) -> None:
    before = standing()
    with lab_of(topology) as lab:
        assert socket.if_nameindex() == before.interfaces
        assert before.inode not in lab.inodes
    assert standing() == before


def test_a_lab_that_cannot_be_built_leaves_nothing(topology: str) -> None:
    before = standing()
    with pytest.raises(SysctlRefused), TOPOLOGIES[topology](sysctls={"net.ipv4.tcp_sack": "nonsense"}):
        pass
    assert standing() == before


def test_labs_stand_side_by_side() -> None:
    with routed() as one, routed() as other:
        assert len({*one.inodes, *other.inodes}) == 6
        assert arrives(one.client, one.server, 4)
        assert arrives(other.client, other.server, 4)
    assert one.topology == "routed"


def test_the_link_stands_between_the_ends() -> None:
    with routed() as lab, direct() as two:
        assert lab.link is not None
        assert lab.namespaces == (lab.client.namespace, lab.link.namespace, lab.server.namespace)
        assert lab.link.interfaces == ("to-client", "to-server")
        assert two.link is None
        assert two.inodes == (two.client.namespace.inode, two.server.namespace.inode)


@pytest.mark.parametrize("quickack", [True, False])
def test_routes_to_the_other_end_say_whether_acks_are_quick(topology: str, quickack: bool) -> None:
    ip = shutil.which("ip")
    if ip is None:
        pytest.skip("iproute2 is not installed")
    with TOPOLOGIES[topology](quickack=quickack) as lab:
        for here, there in ((lab.client, lab.server), (lab.server, lab.client)):
            for family in (4, 6):
                command = [ip, f"-{family}", "route", "get", there.address(family)]
                with here.namespace.entered():
                    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                assert ("quickack 1" in said) is quickack


def test_sysctls_are_pinned_and_recorded(topology: str) -> None:
    with TOPOLOGIES[topology](sysctls={"net.ipv4.tcp_sack": "0", "net.ipv4.tcp_rmem": "4096  50000\t60000"}) as lab:
        for host in (lab.client, lab.server):
            with host.namespace.entered():
                assert Path("/proc/sys/net/ipv4/tcp_sack").read_text().strip() == "0"
                assert Path("/proc/sys/net/ipv4/tcp_autocorking").read_text().strip() == "0"
        assert lab.sysctls["net.ipv4.tcp_sack"] == "0"
        assert lab.sysctls["net.ipv4.tcp_rmem"] == "4096 50000 60000"
        assert lab.sysctls["net.ipv4.tcp_comp_sack_nr"] == "0"
        assert lab.sysctls["net.ipv4.tcp_congestion_control"] not in ("", "absent")


def test_only_the_link_forwards() -> None:
    with routed() as lab:
        assert lab.link is not None
        assert lab.link.sysctls["net.ipv4.ip_forward"] == "1"
        assert lab.client.sysctls["net.ipv4.ip_forward"] == "0"


def test_a_pinned_sysctl_that_the_kernel_lacks_is_recorded_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    from rttcheck_netns import sysctl

    monkeypatch.setattr(sysctl, "TCP", {**sysctl.TCP, "net.ipv4.tcp_of_the_future": "1"})
    with routed() as lab:
        assert lab.sysctls["net.ipv4.tcp_of_the_future"] == "absent"


def test_a_sysctl_that_was_asked_for_must_be_there() -> None:
    with (
        pytest.raises(UnsupportedByKernel, match="tcp_of_the_future was asked for"),
        routed(sysctls={"net.ipv4.tcp_of_the_future": "1"}),
    ):
        pass


def test_the_hosts_sysctls_cannot_be_reached() -> None:
    with pytest.raises(SysctlRefused, match="starts with net"), routed(sysctls={"kernel.panic": "1"}):
        pass


def test_by_default_every_segment_is_a_packet_of_its_own(topology: str) -> None:
    with lab_of(topology) as lab, capture(lab.client) as tap:
        transfer(lab, 300_000)
        assert max(len(frame) for frame in captured(tap)) == lab.mtu + 14


@pytest.mark.parametrize("gso", [False, True])
def test_without_gso_tcp_is_told_to_send_single_segments(topology: str, gso: bool) -> None:
    """What a capture cannot show: TCP's packets before they are cut, which is what netem at an end sees."""
    ip = shutil.which("ip")
    if ip is None:
        pytest.skip("iproute2 is not installed")
    with TOPOLOGIES[topology](offloads=Offloads(gso=gso)) as lab:
        for host in (lab.client, lab.server):
            command = [ip, "-d", "link", "show", "dev", host.interface]
            with host.namespace.entered():
                said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            assert ("gso_max_segs 1 " in said) is not gso


def test_offloads_let_long_packets_through(topology: str) -> None:
    with TOPOLOGIES[topology](offloads=Offloads(True, True, True, True)) as lab, capture(lab.client) as tap:
        transfer(lab, 300_000)
        assert max(len(frame) for frame in captured(tap)) > 2 * lab.mtu


@pytest.mark.parametrize(
    "offloads",
    [Offloads(), Offloads(checksum=True, tso=True, gso=True, gro=True), Offloads(checksum=True), Offloads(gro=True)],
    ids=["none", "all", "checksum", "gro"],
)
def test_offloads_are_as_asked_for(topology: str, offloads: Offloads) -> None:
    from rttcheck_netns.ethtool import features
    from rttcheck_netns.netlink import GENERIC, Channel

    with TOPOLOGIES[topology](offloads=offloads) as lab:
        hosts = (lab.client, lab.server, *([lab.link] if lab.link else []))
        for host in hosts:
            with Channel(host.namespace, GENERIC) as channel:
                for index in host.indexes:
                    assert features(channel, index) == offloads.features()


def test_the_mtu_is_the_links(topology: str) -> None:
    with TOPOLOGIES[topology](mtu=9000) as lab, capture(lab.server) as tap:
        transfer(lab, 100_000)
        assert max(len(frame) for frame in captured(tap)) == 9014


def test_draining_an_empty_link_returns(topology: str) -> None:
    with lab_of(topology) as lab:
        lab.drain(deadline_s=5)
        kind = "relay" if topology == "relayed" else "noqueue"
        assert {counted.kind for counted in lab.statistics().values()} == {kind}


@pytest.mark.usefixtures("no_netem_in_kernel")
def test_without_netem_the_remedy_is_named_and_the_lab_goes_on() -> None:
    with routed() as lab:
        with pytest.raises(UnsupportedByKernel, match="modprobe sch_netem"):
            lab.impair(out=Netem(delay_ns=1), back=None)
        assert lab.out is None
        lab.impair(out=None, back=None)
        assert arrives(lab.client, lab.server, 4)
