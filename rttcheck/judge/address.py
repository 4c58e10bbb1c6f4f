"""Addresses of sockets: as text, and as the 16 bytes in which events and packets hold them."""

from __future__ import annotations

import socket

Address = tuple[str, int]
"""An IP address as text, IPv4 or IPv6, and a port."""


def address_bytes(address: str) -> bytes:
    """Return an address as in events: 16 bytes in network order, IPv4 as ``::ffff:a.b.c.d``.

    Raises OSError when the text is not an address.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.inet_pton(socket.AF_INET6, f"::ffff:{address}" if family == socket.AF_INET else address)


def address_text(packed: bytes) -> str:
    """Return the text of the 16-byte address of an event, IPv4 in its own notation."""
    if packed.startswith(b"\x00" * 10 + b"\xff\xff"):
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return socket.inet_ntop(socket.AF_INET6, packed)
