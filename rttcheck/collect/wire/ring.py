"""One packet socket with its own ring: packets that pass an interface, with the kernel's time, read once at the end.

Nothing reads while traffic runs: a frame costs the kernel a copy of its headers and this process nothing, and a full
ring keeps its content and counts what it drops.

Source: net/packet/af_packet.c, ``tpacket_rcv()``; version 2 of the ring, whose frames are equally spaced and which has
no timer (version 3 closes its blocks by one). The time is ``ktime_get_real_ts64()`` at the tap: on ingress before IP
and TCP, on egress after the queueing discipline.
"""

from __future__ import annotations

import ctypes
import mmap
import socket
import struct
from typing import Final

import numpy as np

from rttcheck.collect.wire.frames import Frames
from rttcheck.collect.wire.parser import SNAP
from rttcheck.errors import CaptureError
from rttcheck_netns.namespace import Namespace

FRAME: Final = 256
"""Bytes of a frame in the ring: its header, the address, padding and `SNAP` bytes of the packet."""

_BLOCK = 65_536
_FRAMES_A_BLOCK = _BLOCK // FRAME

_SOL_PACKET, _PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION = 263, 5, 6, 10
_TPACKET_V2 = 1
_ETH_P_ALL = 3
_SO_ATTACH_FILTER = 26
_STATUS_USER = 1
_PACKET_OUTGOING = 4

_HEADER = np.dtype(
    {
        "names": ["status", "length", "captured", "mac", "sec", "nsec", "pkttype"],
        "formats": ["<u4", "<u4", "<u4", "<u2", "<u4", "<u4", "u1"],
        # struct tpacket2_hdr, then at its aligned end struct sockaddr_ll, whose pkttype is its eleventh byte.
        "offsets": [0, 4, 8, 12, 16, 20, 42],
        "itemsize": FRAME,
    }
)

# Classic BPF over the Ethernet frame: TCP over IPv4 or IPv6, cut after its headers. (code, jt, jf, k)
_ONLY_TCP = (
    (0x28, 0, 0, 12),  # ldh [12]
    (0x15, 0, 2, 0x0800),  # jeq IPv4, else +2
    (0x30, 0, 0, 23),  # ldb [23], the protocol
    (0x15, 3, 4, 6),  # jeq TCP: take, else drop
    (0x15, 0, 3, 0x86DD),  # jeq IPv6, else drop
    (0x30, 0, 0, 20),  # ldb [20], the next header
    (0x15, 0, 1, 6),  # jeq TCP: take, else drop
    (0x06, 0, 0, SNAP),
    (0x06, 0, 0, 0),
)


_ALL = ((0x06, 0, 0, SNAP),)


class CaptureRing:
    """A running capture on one interface, from its creation on; ``close`` frees everything."""

    def __init__(self, namespace: Namespace, interface: str, *, frames: int, only_tcp: bool = True) -> None:
        """Start the capture. Raises CaptureError when the kernel refuses: no CAP_NET_RAW, no sockets, no memory."""
        blocks = max(1, -(-frames // _FRAMES_A_BLOCK))
        self._dropped = 0
        try:
            # Protocol 0: nothing is received before ring and filter are in place.
            self._socket = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        except OSError as problem:
            raise CaptureError(_refused(interface, problem)) from problem
        try:
            self._socket.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V2)
            request = struct.pack("=IIII", _BLOCK, blocks, FRAME, blocks * _FRAMES_A_BLOCK)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_RX_RING, request)
            _attach(self._socket, _ONLY_TCP if only_tcp else _ALL)
            self._memory = mmap.mmap(self._socket.fileno(), blocks * _BLOCK)
            self._socket.bind((interface, _ETH_P_ALL))
        except OSError as problem:
            self._socket.close()
            raise CaptureError(_refused(interface, problem)) from problem

    def read(self) -> Frames:
        """Return all packets that the ring has taken so far."""
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        # Reading resets the kernel's counter to zero.
        self._dropped += struct.unpack("=II", statistics)[1]
        # One copy of the used part; nothing may point into the memory when it is unmapped.
        headers = np.frombuffer(self._memory, dtype=_HEADER)
        used = int(((headers["status"] & _STATUS_USER) != 0).sum())
        del headers
        with memoryview(self._memory) as memory:
            copy = np.array(memory[: used * FRAME], dtype=np.uint8).reshape(used, FRAME)
        headers = copy.reshape(-1).view(_HEADER)
        content = np.zeros((used, SNAP), dtype=np.uint8)
        for first in np.unique(headers["mac"]).tolist():
            rows = headers["mac"] == first
            part = copy[rows, first : first + SNAP]
            content[rows, : part.shape[1]] = part
        seconds = headers["sec"].astype(np.int64)
        return Frames(
            bytes=content,
            captured=headers["captured"].astype(np.int64),
            lengths=headers["length"].astype(np.int64),
            realtime_ns=seconds * 1_000_000_000 + headers["nsec"],
            outgoing=(headers["pkttype"] == _PACKET_OUTGOING).astype(np.uint8),
            dropped=self._dropped,
        )

    def close(self) -> None:
        """Stop capturing and free the memory."""
        self._memory.close()
        self._socket.close()

    def __enter__(self) -> CaptureRing:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _attach(packet_socket: socket.socket, steps: tuple[tuple[int, int, int, int], ...]) -> None:
    program = b"".join(struct.pack("=HBBI", *step) for step in steps)
    held = ctypes.create_string_buffer(program, len(program))
    packet_socket.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(steps), ctypes.addressof(held))
    )


def _refused(interface: str, problem: OSError) -> str:
    return (
        f"packets on {interface} could not be captured, the kernel reports {problem.strerror}: run as root "
        "(CAP_NET_RAW) on a kernel with CONFIG_PACKET, with some MiB of memory free"
    )
