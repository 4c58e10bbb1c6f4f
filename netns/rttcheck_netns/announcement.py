"""Wait for the kernel's netlink announcement that an IPv6 address has become usable.

An IPv6 address, even without duplicate address detection, has no local route until a kernel work item has run
(addrconf_dad_start() schedules addrconf_dad_work(), 4.x to 7.x); a packet that arrives earlier is dropped silently. The
work item announces RTM_NEWADDR while it holds the rtnl lock, which it releases once the route exists.
"""

from __future__ import annotations

import select
import socket
import struct
import time

from .errors import NetnsError

_NEWADDR = 20
_IPV6_ADDRESSES = 0x100
"""RTMGRP_IPV6_IFADDR."""
_HEADER = struct.Struct("=IHHII")
_INDEX_OFFSET = _HEADER.size + 4
_DEADLINE_S = 10.0


class AddressAnnouncements:
    """Announcements from now on in the calling thread's current namespace; a context manager."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        self._socket.bind((0, _IPV6_ADDRESSES))

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> AddressAnnouncements:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self, indexes: tuple[int, ...]) -> None:
        """Return once each of these interfaces has had an address announced; raise NetnsError after ten seconds.

        A caller that takes the rtnl lock after this finds the addresses usable.
        """
        missing = set(indexes)
        deadline = time.monotonic() + _DEADLINE_S
        while missing:
            # Poll once more after the deadline: an emulated guest's clock jumps while it waits for its disk.
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._socket], [], [], left)[0]:
                raise NetnsError(
                    f"the IPv6 address of interface {min(missing)} did not become usable within {_DEADLINE_S:g} s: "
                    "look for hung tasks in dmesg"
                )
            missing -= _announced(self._socket.recv(1 << 16))


def _announced(data: bytes) -> set[int]:
    """Return the indexes of the interfaces whose new addresses these messages announce."""
    indexes: set[int] = set()
    offset = 0
    while offset + _INDEX_OFFSET + 4 <= len(data):
        length, kind, _flags, _sequence, _port = _HEADER.unpack_from(data, offset)
        if kind == _NEWADDR:
            indexes.add(struct.unpack_from("=I", data, offset + _INDEX_OFFSET)[0])
        offset += (length + 3) & ~3
    return indexes
