"""The two topologies: `routed` (the delay in the middle) and `direct` (two hosts, the delay at the ends).

This module chooses names, numbers and addresses and the order of set-up; everything ends with the block. Addresses are
from the blocks reserved for benchmarks (RFC 2544, RFC 5180), so that they collide with no other network.

In `routed` netem sits on the node in the middle: on an end's own interface it would change what that end's TCP knows of
its queue (netem orphans packets), and hide the delay from captures there. `direct` is the usual manual set-up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import qdisc, rtnetlink, sysctl
from .announcement import AddressAnnouncements
from .engine import Egress, Engine, EngineName, KernelNetem
from .ethtool import set_offloads
from .host import Host
from .lab import Lab
from .namespace import Namespace, restored_namespace
from .netem import Netem
from .netlink import GENERIC, Channel, Request
from .offloads import Offloads

if TYPE_CHECKING:
    from .relay.relay import Relay

_PREFIX = {4: 24, 6: 64}
# Not the first free indexes: tunnel modules create interfaces of their own in each new namespace.
_END, _TO_CLIENT, _TO_SERVER = 10, 11, 12


@dataclass(frozen=True, slots=True)
class _Port:
    """One interface: its place, its name, and its addresses."""

    name: str
    index: int
    mac: str
    ipv4: str
    ipv6: str

    @property
    def addresses(self) -> tuple[tuple[str, int], tuple[str, int]]:
        return (self.ipv4, _PREFIX[4]), (self.ipv6, _PREFIX[6])


_CLIENT = _Port("eth0", _END, "02:00:00:00:01:02", "198.18.1.2", "2001:2:0:1::2")
_NEAR = _Port("to-client", _TO_CLIENT, "02:00:00:00:01:01", "198.18.1.1", "2001:2:0:1::1")
_FAR = _Port("to-server", _TO_SERVER, "02:00:00:00:02:01", "198.18.2.1", "2001:2:0:2::1")
_SERVER = _Port("eth0", _END, "02:00:00:00:02:02", "198.18.2.2", "2001:2:0:2::2")
_NEIGHBOUR = _Port("eth0", _END, "02:00:00:00:01:03", "198.18.1.3", "2001:2:0:1::3")


class _Node:
    """A namespace under construction: its channels, its address announcements, and its pinned sysctls."""

    def __init__(self, name: str, values: Mapping[str, str], asked: Mapping[str, str], resources: ExitStack) -> None:
        """Create the namespace and stay in it for the steps that must be done from inside."""
        self.name = name
        self.namespace = resources.enter_context(Namespace.create_and_enter())
        self.route = resources.enter_context(Channel.current())
        self.generic = resources.enter_context(Channel.current(GENERIC))
        self.announcements = resources.enter_context(AddressAnnouncements())
        self.sysctls = sysctl.pin({**sysctl.ADDRESSING, **values})
        self.sysctls |= sysctl.pin(asked, required=True)
        self.sysctls |= sysctl.read(sysctl.RECORDED)

    def finish(self, indexes: tuple[int, ...], offloads: Offloads) -> None:
        """Wait until the addresses are usable, then set the offloads, which waits for the announcer's rtnl lock."""
        self.announcements.wait(indexes)
        set_offloads(self.generic, indexes, offloads)

    def host(self, *ports: _Port) -> Host:
        return Host(
            name=self.name,
            namespace=self.namespace,
            interfaces=tuple(port.name for port in ports),
            indexes=tuple(port.index for port in ports),
            ipv4=ports[0].ipv4,
            ipv6=ports[0].ipv6,
            sysctls=self.sysctls,
        )


@contextmanager
def routed(
    *,
    out: Netem | None = None,
    back: Netem | None = None,
    offloads: Offloads = Offloads(),  # noqa: B008  # frozen
    sysctls: Mapping[str, str] | None = None,
    quickack: bool = True,
    mtu: int = 1500,
    expected_rate_bytes: int = 0,
    expected_packet_bytes: int = 0,
    engine: EngineName = "netem",
    relay_cpu: int | None = None,
) -> Iterator[Lab]:
    """Build client, link and server in three namespaces; the link forwards and impairs each direction on egress.

    ``sysctls`` are set on both ends after the pinned ones; ``quickack`` puts RTAX_QUICKACK on the ends' routes, so that
    no ACK is delayed; ``expected_rate_bytes`` per second (0: unknown), in packets of ``expected_packet_bytes`` (0: as
    large as ``mtu`` allows), is the rate that limits are checked against;
    ``engine`` does the impairment: the kernel's netem, or the relay, a process that forwards instead of the kernel and
    keeps to the core ``relay_cpu``, if one is given. Raises NetnsError and its subclasses; then nothing is left behind.
    """
    with ExitStack() as resources:
        with restored_namespace():
            asked = sysctls or {}
            client = _Node("client", sysctl.TCP, asked, resources)
            server = _Node("server", sysctl.TCP, asked, resources)
            forwarding = sysctl.FORWARDING if engine == "netem" else sysctl.NOT_FORWARDING
            link = _Node("link", forwarding, {}, resources)
        segments = 0 if offloads.gso else 1
        link.route.transact(
            [
                _loopback(),
                _pair(_NEAR, _CLIENT, client, mtu, segments),
                _pair(_FAR, _SERVER, server, mtu, segments),
            ]
        )
        client.route.transact([_loopback(), *_end(_CLIENT, _NEAR), *_routes(_CLIENT, _SERVER, _NEAR, quickack)])
        server.route.transact([_loopback(), *_end(_SERVER, _FAR), *_routes(_SERVER, _CLIENT, _FAR, quickack)])
        link.route.transact([*_addressed(_NEAR, _CLIENT), *_addressed(_FAR, _SERVER)])
        for node, indexes in ((client, (_END,)), (server, (_END,)), (link, (_TO_CLIENT, _TO_SERVER))):
            node.finish(indexes, offloads)
        relay = _relay(link, mtu, offloads, relay_cpu, resources) if engine == "relay" else None
        impairing: Engine = relay or KernelNetem(
            {"out": Egress(link.route, _TO_SERVER), "back": Egress(link.route, _TO_CLIENT)}
        )
        lab = Lab(
            topology="routed",
            client=client.host(_CLIENT),
            server=server.host(_SERVER),
            link=link.host(_NEAR, _FAR),
            engine=impairing,
            relay=relay,
            offloads=offloads,
            mtu=mtu,
            sysctls=client.sysctls,
            expected_rate_bytes=expected_rate_bytes,
            expected_packet_bytes=expected_packet_bytes,
        )
        lab.impair(out=out, back=back)
        yield lab


@contextmanager
def direct(
    *,
    out: Netem | None = None,
    back: Netem | None = None,
    offloads: Offloads = Offloads(),  # noqa: B008  # frozen
    sysctls: Mapping[str, str] | None = None,
    quickack: bool = True,
    mtu: int = 1500,
    expected_rate_bytes: int = 0,
    expected_packet_bytes: int = 0,
) -> Iterator[Lab]:
    """Build client and server in two namespaces on one veth pair, each impairing its egress; otherwise as `routed`.

    With offloads on, netem sees TCP's packets of many segments before they are cut.
    """
    with ExitStack() as resources:
        with restored_namespace():
            asked = sysctls or {}
            server = _Node("server", sysctl.TCP, asked, resources)
            client = _Node("client", sysctl.TCP, asked, resources)
        client.route.transact([_loopback(), _pair(_CLIENT, _NEIGHBOUR, server, mtu, 0 if offloads.gso else 1)])
        server.route.transact([_loopback(), *_end(_NEIGHBOUR, _CLIENT), *_routes(_NEIGHBOUR, _CLIENT, None, quickack)])
        client.route.transact([*_addressed(_CLIENT, _NEIGHBOUR), *_routes(_CLIENT, _NEIGHBOUR, None, quickack)])
        for node in (client, server):
            node.finish((_END,), offloads)
        lab = Lab(
            topology="direct",
            client=client.host(_CLIENT),
            server=server.host(_NEIGHBOUR),
            link=None,
            engine=KernelNetem({"out": Egress(client.route, _END), "back": Egress(server.route, _END)}),
            offloads=offloads,
            mtu=mtu,
            sysctls=client.sysctls,
            expected_rate_bytes=expected_rate_bytes,
            expected_packet_bytes=expected_packet_bytes,
        )
        lab.impair(out=out, back=back)
        yield lab


def _relay(link: _Node, mtu: int, offloads: Offloads, cpu: int | None, resources: ExitStack) -> Relay:
    """Start the relay in the link's node, between interfaces that transmit from now on."""
    # Imported here: the other engine does not need it.
    from .relay.port import PortSide
    from .relay.relay import open_relay

    link.route.transact([qdisc.add_noqueue(index) for index in (_TO_CLIENT, _TO_SERVER)])
    near, far = (
        PortSide(
            interface=port.name,
            mac=port.mac,
            neighbour=neighbour.mac,
            addresses=(_NEAR.ipv4, _NEAR.ipv6, _FAR.ipv4, _FAR.ipv6),
            mtu=mtu,
            segmented=offloads.gso or offloads.tso or offloads.gro,
        )
        for port, neighbour in ((_NEAR, _CLIENT), (_FAR, _SERVER))
    )
    return resources.enter_context(open_relay(link.namespace, near=near, far=far, cpu=cpu))


def _loopback() -> Request:
    return rtnetlink.link_up(1)


def _pair(here: _Port, there: _Port, peer: _Node, mtu: int, segments: int) -> Request:
    return rtnetlink.veth_pair(
        here.name, here.index, here.mac, there.name, there.index, there.mac, peer.namespace.fd, mtu, segments
    )


def _end(port: _Port, neighbour: _Port) -> list[Request]:
    """Configure an end's interface: it comes up second, when its peer is up, so that it transmits from then on."""
    return [rtnetlink.link_up(port.index), *_addressed(port, neighbour)]


def _addressed(port: _Port, neighbour: _Port) -> list[Request]:
    return [
        *(rtnetlink.address(port.index, address, prefix) for address, prefix in port.addresses),
        *(rtnetlink.neighbour(port.index, address, neighbour.mac) for address, _ in neighbour.addresses),
    ]


def _routes(port: _Port, to: _Port, gateway: _Port | None, quickack: bool) -> list[Request]:
    """Return routes to the other end: its networks through the gateway, or itself on the link."""
    if gateway is None:
        return [
            rtnetlink.route(port.index, to.ipv4, 32, None, quickack),
            rtnetlink.route(port.index, to.ipv6, 128, None, quickack),
        ]
    return [
        rtnetlink.route(port.index, "198.18.2.0" if to is _SERVER else "198.18.1.0", 24, gateway.ipv4, quickack),
        rtnetlink.route(port.index, "2001:2:0:2::" if to is _SERVER else "2001:2:0:1::", 64, gateway.ipv6, quickack),
    ]
