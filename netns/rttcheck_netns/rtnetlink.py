"""Encode the rtnetlink messages that build a lab: links, addresses, neighbours, routes.

Encoding a message takes pyroute2 70 to 240 microseconds, more than the kernel needs for it, and labs are alike: equal
messages are encoded once a process.
"""

from __future__ import annotations

import errno
import socket
from functools import lru_cache
from typing import Any

from .errors import UnsupportedByKernel
from .netlink import ACK, CREATE, EXCLUSIVE, REQUEST, Request
from .nla import ifaddrmsg, ndmsg, nla, nlmsg, rtmsg

_NEWLINK, _SETLINK, _NEWADDR, _NEWROUTE, _NEWNEIGH = 16, 19, 20, 24, 28
_IFF_UP = 1
_NODAD = 0x02
_PERMANENT = 0x80
_MAIN_TABLE, _STATIC, _UNIVERSE, _ON_LINK, _UNICAST = 254, 4, 0, 253, 1
_NEW = REQUEST | ACK | CREATE | EXCLUSIVE

_LINK_FIELDS = (("family", "B"), ("__align", "x"), ("ifi_type", "H"), ("index", "i"), ("flags", "I"), ("change", "I"))
_LINK_ATTRIBUTES = (
    (1, "IFLA_ADDRESS", "l2addr"),
    (3, "IFLA_IFNAME", "asciiz"),
    (4, "IFLA_MTU", "uint32"),
    (18, "IFLA_LINKINFO", "linkinfo"),
    (28, "IFLA_NET_NS_FD", "uint32"),
    (31, "IFLA_NUM_TX_QUEUES", "uint32"),
    (32, "IFLA_NUM_RX_QUEUES", "uint32"),
    (40, "IFLA_GSO_MAX_SEGS", "uint32"),
)


class peer_link(nla):  # type: ignore[misc]  # noqa: N801  # pyroute2 is untyped; the name is its convention
    """The other end of a veth pair: an ifinfomsg inside an attribute."""

    fields = _LINK_FIELDS
    nla_map = tuple(attribute for attribute in _LINK_ATTRIBUTES if attribute[2] != "linkinfo")


class link_message(nlmsg):  # type: ignore[misc]  # noqa: N801  # as above
    """struct ifinfomsg with the few attributes used here; pyroute2's own pulls in multiprocessing and ten plugins."""

    fields = _LINK_FIELDS
    nla_map = _LINK_ATTRIBUTES

    class linkinfo(nla):  # type: ignore[misc]  # noqa: N801  # as above
        nla_flags = 0x8000
        nla_map = ((1, "IFLA_INFO_KIND", "asciiz"), (2, "IFLA_INFO_DATA", "veth"))

        class veth(nla):  # type: ignore[misc]  # noqa: N801  # as above
            nla_flags = 0x8000
            nla_map = ((1, "VETH_INFO_PEER", "peer_link"),)
            peer_link = peer_link


def encoded(message: Any, kind: int, flags: int) -> bytes:
    """Return the message's bytes with this type and these flags; the channel sets the sequence number."""
    message["header"]["type"] = kind
    message["header"]["flags"] = flags
    message.encode()
    return bytes(message.data)


def family_of(address: str) -> int:
    return int(socket.AF_INET6) if ":" in address else int(socket.AF_INET)


@lru_cache(maxsize=64)
def veth_pair(
    name: str,
    index: int,
    mac: str,
    peer_name: str,
    peer_index: int,
    peer_mac: str,
    peer_fd: int,
    mtu: int,
    segments: int,
) -> Request:
    """Create a veth pair: this end here and up, the other end down, in the namespace behind ``peer_fd``.

    The peer cannot be created up: veth_open() fails while the pair is not yet joined. Indexes are given, so that they
    need not be read back. ``segments`` is IFLA_GSO_MAX_SEGS; 0 leaves it unchanged.
    """
    common: list[list[object]] = [["IFLA_MTU", mtu], ["IFLA_NUM_TX_QUEUES", 1], ["IFLA_NUM_RX_QUEUES", 1]]
    if segments:
        common.append(["IFLA_GSO_MAX_SEGS", segments])
    peer = {
        "index": peer_index,
        "attrs": [["IFLA_IFNAME", peer_name], ["IFLA_ADDRESS", peer_mac], ["IFLA_NET_NS_FD", peer_fd], *common],
    }
    message = link_message()
    message["index"] = index
    message["flags"] = message["change"] = _IFF_UP
    message["attrs"] = [
        ["IFLA_IFNAME", name],
        ["IFLA_ADDRESS", mac],
        *common,
        [
            "IFLA_LINKINFO",
            {"attrs": [["IFLA_INFO_KIND", "veth"], ["IFLA_INFO_DATA", {"attrs": [["VETH_INFO_PEER", peer]]}]]},
        ],
    ]
    return Request(f"create the veth pair {name} and {peer_name}", encoded(message, _NEWLINK, _NEW), _no_veth)


def _no_veth(code: int, _reason: str) -> Exception | None:
    if code != errno.EOPNOTSUPP:
        return None
    return UnsupportedByKernel("a veth pair was asked for and this kernel has none: modprobe veth, or use one with it")


def _no_ipv6(code: int, _reason: str) -> Exception | None:
    if code not in (errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EACCES):
        return None
    return UnsupportedByKernel(
        "an IPv6 address was asked for and this kernel has IPv6 switched off: boot it without ipv6.disable"
    )


@lru_cache(maxsize=64)
def link_up(index: int) -> Request:
    """Bring an interface up."""
    message = link_message()
    message["index"] = index
    message["flags"] = message["change"] = _IFF_UP
    return Request(f"bring interface {index} up", encoded(message, _SETLINK, REQUEST | ACK))


@lru_cache(maxsize=256)
def address(index: int, value: str, prefix: int) -> Request:
    """Add an address with its connected route; for IPv6 without duplicate address detection, usable at once."""
    message = ifaddrmsg()
    message["family"] = family_of(value)
    message["prefixlen"] = prefix
    message["index"] = index
    message["flags"] = _NODAD if ":" in value else 0
    message["attrs"] = [["IFA_LOCAL", value], ["IFA_ADDRESS", value]]
    asks = f"give interface {index} the address {value}/{prefix}"
    return Request(asks, encoded(message, _NEWADDR, _NEW), _no_ipv6 if ":" in value else None)


@lru_cache(maxsize=256)
def neighbour(index: int, value: str, mac: str) -> Request:
    """Add a permanent neighbour entry: no ARP or neighbour discovery adds a round trip to the first packet."""
    message = ndmsg()
    message["family"] = family_of(value)
    message["ifindex"] = index
    message["state"] = _PERMANENT
    message["attrs"] = [["NDA_DST", value], ["NDA_LLADDR", mac]]
    return Request(f"make {mac} the neighbour {value} of interface {index}", encoded(message, _NEWNEIGH, _NEW))


@lru_cache(maxsize=256)
def route(index: int, destination: str, prefix: int, gateway: str | None, quickack: bool) -> Request:
    """Add a route through a gateway, or to a neighbour where there is none; ``quickack`` sets RTAX_QUICKACK."""
    message = rtmsg()
    message["family"] = family_of(destination)
    message["dst_len"] = prefix
    message["table"] = _MAIN_TABLE
    message["proto"] = _STATIC
    message["scope"] = _ON_LINK if gateway is None else _UNIVERSE
    message["type"] = _UNICAST
    message["attrs"] = [["RTA_DST", destination], ["RTA_OIF", index]]
    if gateway is not None:
        message["attrs"].append(["RTA_GATEWAY", gateway])
    if quickack:
        message["attrs"].append(["RTA_METRICS", {"attrs": [["RTAX_QUICKACK", 1]]}])
    return Request(f"route {destination}/{prefix} through {gateway or 'the link'}", encoded(message, _NEWROUTE, _NEW))
