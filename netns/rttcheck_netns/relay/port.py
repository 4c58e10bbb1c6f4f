"""One of the relay's two interfaces: frames in by a ring that the kernel fills, frames out by the same packet socket.

Sets the socket's options and filter, maps the ring and rewrites the frame's headers. Runs in the relay's process:
standard library only, and written for speed where each packet passes.

Each frame has the kernel's virtio_net_hdr before it, in and out (PACKET_VNET_HDR): a checksum that is not yet computed
and a packet of many segments pass through unchanged, whatever the offloads. Source: net/packet/af_packet.c
(``tpacket_rcv()``, ``packet_snd()``), ring of version 2, which has no timer. The addresses of the Ethernet header
become those that a router would write; the rest of the frame is unchanged, its TTL too.
"""

from __future__ import annotations

import ctypes
import mmap
import socket
import struct
import time
from dataclasses import dataclass

from .clock import Clock
from .forwarded import forwarded

_SOL_PACKET = 263
_RX_RING, _STATISTICS, _VERSION, _VNET_HDR, _IGNORE_OUTGOING = 5, 6, 10, 15, 23
_TPACKET_V2 = 1
_ETH_P_ALL = 3
_SO_ATTACH_FILTER = 26
_KERNEL, _USER = 0, 1
_VNET = 10
_HEADROOM = 128
"""Upper bound of what precedes a frame: struct tpacket2_hdr, sockaddr_ll, virtio_net_hdr, Ethernet header,
alignment."""
_MOST_BYTES = 65_535
_SLOTS = 4096
_RING_BYTES = 16 << 20
_HEADER = struct.Struct("=IIIHHII")


@dataclass(frozen=True, slots=True, kw_only=True)
class PortSide:
    """One interface of the link: its name and MAC, the MAC of its neighbour, and the link's own addresses.

    ``segmented`` allows packets of many segments, up to the length that IP permits.
    """

    interface: str
    mac: str
    neighbour: str
    addresses: tuple[str, ...]
    mtu: int = 1500
    segmented: bool = False


class Port:
    """An open side. Raises OSError where the kernel refuses a step."""

    def __init__(self, packet_socket: socket.socket, side: PortSide, clock: Clock) -> None:
        self.side = side
        self._socket, self._clock = packet_socket, clock
        longest = _MOST_BYTES if side.segmented else side.mtu
        self._slot_bytes = 1 << (longest + _HEADROOM - 1).bit_length()
        slots = min(_SLOTS, _RING_BYTES // self._slot_bytes)
        block = max(self._slot_bytes, mmap.PAGESIZE)
        blocks = slots * self._slot_bytes // block
        packet_socket.setblocking(False)
        packet_socket.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V2)
        packet_socket.setsockopt(_SOL_PACKET, _VNET_HDR, 1)
        packet_socket.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        packet_socket.setsockopt(_SOL_PACKET, _RX_RING, struct.pack("=IIII", block, blocks, self._slot_bytes, slots))
        _attach(packet_socket, forwarded(side.addresses))
        memory = mmap.mmap(packet_socket.fileno(), blocks * block)
        self._bytes = memoryview(memory)
        self._words = self._bytes.cast("I")
        self._next, self._last = 0, (slots - 1) * self._slot_bytes
        packet_socket.bind((side.interface, _ETH_P_ALL))
        self._ethernet = bytes.fromhex((side.neighbour + side.mac).replace(":", ""))
        self._oldest_ns = time.monotonic_ns()

    def fileno(self) -> int:
        return self._socket.fileno()

    def ready(self) -> bool:
        """Return whether a frame has arrived."""
        return bool(self._words[self._next >> 2] & _USER)

    def seen_empty(self, now_ns: int) -> None:
        """Note that the ring was empty at this time: later frames arrived after it, which checks the kernel's clock."""
        self._oldest_ns = now_ns

    def take(self, other: Port) -> tuple[int, int, bytes | None]:
        """Return the next frame: its arrival (CLOCK_MONOTONIC, ns), its length, its bytes for the other port.

        The bytes are None where the ring could not hold all of them.
        """
        start = self._next
        self._next = start + self._slot_bytes if start < self._last else 0
        _status, length, captured, at, _net, seconds, nanoseconds = _HEADER.unpack_from(self._bytes, start)
        taken_ns = self._clock.monotonic(seconds * 1_000_000_000 + nanoseconds, self._oldest_ns)
        frame: bytes | None = None
        if captured == length:
            at += start
            data = self._bytes
            frame = b"".join((data[at - _VNET : at], other._ethernet, data[at + 12 : at + length]))
        self._words[start >> 2] = _KERNEL
        return taken_ns, length, frame

    def dropped(self) -> int:
        """Return how many frames arrived while the ring was full, since the last call."""
        return int(struct.unpack("=II", self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 8))[1])

    def send(self, frame: bytes) -> None:
        """Send a frame on the interface. Raises OSError when the kernel refuses it."""
        self._socket.send(frame)


def _attach(packet_socket: socket.socket, program: bytes) -> None:
    """SO_ATTACH_FILTER takes a struct sock_fprog with the program's address: it must live until the call returns."""
    held = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HP", len(program) // 8, ctypes.addressof(held))
    packet_socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, header)
