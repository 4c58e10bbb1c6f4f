"""Close namespaces together and wait until the kernel has destroyed them.

The kernel destroys a namespace in the background, and packets of other namespaces are delayed by that work.
`Namespace.close` does not wait for it.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Iterable

from .namespace import Namespace
from .netlink import ACK, REQUEST, Channel, Request

_NEWNSID, _DELNSID, _GETNSID = 88, 89, 90
_NUMBER, _DESCRIPTOR = 1, 3
"""NETNSA_NSID, NETNSA_FD."""
_ANY = -1
"""NETNSA_NSID_NOT_ASSIGNED: the kernel chooses."""
_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_OF_NUMBERS = 270, 1, 28
"""RTNLGRP_NSID."""
_HEADER = struct.Struct("=IHHII")
_BODY = struct.Struct("=B3x")
"""struct rtgenmsg."""


def close_and_wait(descriptors: Iterable[int], *, deadline_s: float) -> bool:
    """Close the descriptors of namespaces and wait for their destruction; return False when the deadline passes first.

    A namespace that something else still holds open is not waited for. cleanup_net() (net/core/net_namespace.c, 4.20 to
    7.3) processes every dead namespace that exists when it starts, never runs twice at a time, announces each namespace
    that has an nsid here before it destroys it, and ends with rcu_barrier(). A closed socket keeps its namespace alive
    until an RCU callback (netlink_release()). Therefore three empty namespaces are closed one after the other. The work
    for the first ends when all earlier callbacks have run; so by the announcement of the second the
    destruction of the given namespaces has started, and by that of the third it has finished.
    """
    deadline = time.monotonic() + deadline_s
    for descriptor in descriptors:
        os.close(descriptor)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as announcements, Channel.current() as channel:
        announcements.bind((0, 0))
        announcements.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_OF_NUMBERS)
        return all(_announced(announcements, _numbered_and_closed(channel), deadline) for _ in range(3))


def _numbered_and_closed(channel: Channel) -> int:
    """Create an empty namespace, give it an nsid here, close it, and return the nsid."""
    with Namespace.create() as namespace:
        which = struct.pack("=HHI", 8, _DESCRIPTOR, namespace.fd)
        channel.transact([_request("number a namespace", _NEWNSID, struct.pack("=HHi", 8, _NUMBER, _ANY) + which)])
        (answer,) = channel.transact([_request("ask a namespace's number", _GETNSID, which)])
    return _number(answer)


def _request(asks: str, kind: int, attributes: bytes) -> Request:
    body = _BODY.pack(socket.AF_UNSPEC) + attributes
    return Request(asks, _HEADER.pack(_HEADER.size + len(body), kind, REQUEST | ACK, 0, 0) + body)


def _number(message: bytes) -> int:
    number: int = struct.unpack_from("=i", message, _HEADER.size + _BODY.size + 4)[0]
    return number


def _announced(announcements: socket.socket, number: int, deadline: float) -> bool:
    while True:
        # Poll once more after the deadline: an emulated guest's clock jumps while it waits for its disk.
        if not select.select([announcements], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        message = announcements.recv(1 << 16)
        if _HEADER.unpack_from(message)[1] == _DELNSID and _number(message) == number:
            return True
