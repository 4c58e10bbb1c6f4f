"""The end of namespaces: let go of together, and waited for until the kernel has taken them apart.

Owns one wait. The kernel takes a namespace apart in the background, and packets of others that meet this work are late.
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
    """Close what holds namespaces, and wait for their end; False where it has not come by the deadline.

    What somebody else holds as well is not waited for. cleanup_net() (net/core/net_namespace.c, 4.20 to 7.3) takes
    apart at once whatever is dead when it begins, is never at work twice at a time, announces each namespace that has a
    number here before it goes on to the work, and ends with rcu_barrier(). A closed socket keeps its namespace until
    an RCU callback (netlink_release()): three empty namespaces are closed one after the other. The first one's
    work ends when all callbacks of before have run; so the second is announced when the others have been begun with,
    at the latest, and the third when they are done with.
    """
    deadline = time.monotonic() + deadline_s
    for descriptor in descriptors:
        os.close(descriptor)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as announcements, Channel.here() as channel:
        announcements.bind((0, 0))
        announcements.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_OF_NUMBERS)
        return all(_announced(announcements, _numbered_and_closed(channel), deadline) for _ in range(3))


def _numbered_and_closed(channel: Channel) -> int:
    """The number here of an empty namespace that nobody holds any more."""
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
        # Looked at once more when time is up: an emulated guest's clock jumps while it waits for its disk.
        if not select.select([announcements], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        message = announcements.recv(1 << 16)
        if _HEADER.unpack_from(message)[1] == _DELNSID and _number(message) == number:
            return True
