"""Write captured frames as a pcapng file, which Wireshark, tshark and scapy open; select interfaces from such a file.

The file has a section header, an interface for each point of the lab, a packet for each frame in the order of time, and
the counts of packets that each capture took and dropped.

Source: draft-ietf-opsawg-pcapng ("PCAP Next Generation Capture File Format"), sections 3.5 and 4.1 to 4.6. Little
endian, times in nanoseconds since 1970 (CLOCK_REALTIME), which is what Wireshark expects.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

import rttcheck
from rttcheck.collect.wire.frames import Frames
from rttcheck.collect.wire.parser import SNAP

PACKET_MOST: Final = 28 + -(-SNAP // 4) * 4 + 16
"""Limit of bytes that one packet takes in the file: its block's head, its captured bytes, its direction."""

_SECTION_LENGTH_AT = 16
_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_BYTE_ORDER, _MAJOR, _MINOR = 0x1A2B3C4D, 1, 0
_ETHERNET: Final = 1
"""LINKTYPE_ETHERNET."""

_COMMENT = 1
_HARDWARE, _SYSTEM, _APPLICATION = 2, 3, 4
_NAME, _DESCRIPTION, _RESOLUTION, _FILTER = 2, 3, 9, 11
_STARTED, _ENDED, _RECEIVED, _DROPPED = 2, 3, 4, 5
_FLAGS, _INBOUND, _OUTBOUND = 2, 1, 2
# Codes of options, and of the flags word's direction (figures of sections 4.1, 4.2, 4.3 and 4.6).

_NANOSECONDS = b"\x09"
_HEAD_WORDS, _TAIL_WORDS = 7, 4
_AT_ONCE: Final = 8_192
"""Packets laid out at once, 1.5 MB of them: additional memory is bounded, whatever the number of frames."""

Words = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedInterface:
    """One interface of the file: the point's name, the kernel's name of the interface, and its captured frames."""

    name: str
    interface: str
    frames: Frames


def pcapng(sources: Sequence[CapturedInterface], *, started_ns: int, ended_ns: int, comment: str = "") -> bytes:
    """Return the file's bytes; ``started_ns`` and ``ended_ns`` are CLOCK_REALTIME, between which the captures ran.

    Packets of all sources are in the order of their times, those of one time in the order of ``sources``. Checksums
    are as captured: not yet computed, where an interface leaves that to a later one.
    """
    interfaces = b"".join(_interface(source) for source in sources)
    packets = b"".join(_packets(sources))
    statistics = b"".join(
        _statistics(index, source.frames, started_ns, ended_ns) for index, source in enumerate(sources)
    )
    section = _section(len(interfaces) + len(packets) + len(statistics), comment)
    return b"".join((section, interfaces, packets, statistics))


def interfaces_of(file: bytes) -> tuple[str, ...]:
    """Return the interface names of a file that `pcapng` wrote, in its order. Raises ValueError for another file."""
    return tuple(_name_of(block) for kind, block in _blocks(file) if kind == _INTERFACE)


def packets_at(file: bytes, names: Collection[str]) -> bytes:
    """Return the file with the packets of these interfaces only; all interfaces stay described.

    A tool that follows one point's packets (Wireshark's analysis of sequence numbers) takes the same segment at the
    next point for a retransmission. Raises ValueError for a file that `pcapng` did not write.
    """
    chosen = {index for index, name in enumerate(interfaces_of(file)) if name in names}
    kept = [
        block for kind, block in _blocks(file) if kind != _PACKET or int.from_bytes(block[8:12], "little") in chosen
    ]
    section = bytearray(kept[0])
    struct.pack_into("<q", section, _SECTION_LENGTH_AT, sum(map(len, kept[1:])))
    return b"".join((section, *kept[1:]))


def _blocks(file: bytes) -> Iterator[tuple[int, memoryview]]:
    """Yield type and bytes of each block."""
    view, at = memoryview(file), 0
    if len(file) < 12 or struct.unpack_from("<I4xI", file) != (_SECTION, _BYTE_ORDER):
        raise ValueError("it does not begin with a pcapng section header")
    while at < len(file):
        kind, length = struct.unpack_from("<II", file, at) if at + 12 <= len(file) else (0, 0)
        if length < 12 or length % 4 or at + length > len(file):
            raise ValueError(f"the block at byte {at} is incomplete")
        yield kind, view[at : at + length]
        at += length


def _name_of(interface: memoryview) -> str:
    """Return the interface's name, which `_interface` puts first."""
    code, length = struct.unpack_from("<HH", interface, 16)
    if code != _NAME or 20 + length > len(interface):
        raise ValueError("an interface has no name")
    return bytes(interface[20 : 20 + length]).decode()


def _section(length: int, comment: str) -> bytes:
    system = os.uname()
    body = struct.pack("<IHHq", _BYTE_ORDER, _MAJOR, _MINOR, length)
    return _block(
        _SECTION,
        body,
        (_COMMENT, comment.encode()),
        (_HARDWARE, system.machine.encode()),
        (_SYSTEM, f"{system.sysname} {system.release} {system.version}".encode()),
        (_APPLICATION, f"rttcheck {rttcheck.__version__}".encode()),
    )


def _interface(source: CapturedInterface) -> bytes:
    return _block(
        _INTERFACE,
        struct.pack("<HHI", _ETHERNET, 0, source.frames.bytes.shape[1]),
        (_NAME, source.name.encode()),
        (_DESCRIPTION, f"{source.interface} of the lab".encode()),
        (_RESOLUTION, _NANOSECONDS),
        # The first byte declares the rest as a filter in libpcap's syntax.
        (_FILTER, b"\x00tcp"),
    )


def _statistics(index: int, frames: Frames, started_ns: int, ended_ns: int) -> bytes:
    """Return the counts with dumpcap's meaning: packets that passed the filter, and those dropped by a full ring."""
    return _block(
        _STATISTICS,
        struct.pack("<III", index, *_stamp(ended_ns)),
        (_STARTED, struct.pack("<II", *_stamp(started_ns))),
        (_ENDED, struct.pack("<II", *_stamp(ended_ns))),
        (_RECEIVED, struct.pack("<Q", len(frames.bytes) + frames.dropped)),
        (_DROPPED, struct.pack("<Q", frames.dropped)),
    )


def _stamp(time_ns: int) -> tuple[int, int]:
    """Return a time in the file's form: its upper and its lower half."""
    return time_ns >> 32, time_ns & 0xFFFFFFFF


def _block(kind: int, body: bytes, *options: tuple[int, bytes]) -> bytes:
    """Return a block with its length on both sides; empty options are left out."""
    packed = [struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4) for code, value in options if value]
    content = body + b"".join(packed) + bytes(4 if packed else 0)
    length = 12 + len(content)
    return struct.pack("<II", kind, length) + content + struct.pack("<I", length)


def _packets(sources: Sequence[CapturedInterface]) -> Iterator[bytes]:
    """Yield the blocks of all frames, some thousands at a time.

    Every block is laid out in a row that is as wide as the widest; then the used words of all rows are extracted
    at once.
    """
    if not sources:
        return
    counts = [len(source.frames.bytes) for source in sources]
    owner = np.repeat(np.arange(len(sources)), counts)
    row = np.concatenate([np.arange(count) for count in counts])
    order = np.argsort(np.concatenate([source.frames.realtime_ns for source in sources]), kind="stable")
    for first in range(0, len(order), _AT_ONCE):
        chosen = order[first : first + _AT_ONCE]
        yield _laid_out(sources, owner[chosen], row[chosen])


def _laid_out(sources: Sequence[CapturedInterface], owner: npt.NDArray[np.intp], row: npt.NDArray[np.intp]) -> bytes:
    count = len(owner)
    width = max(source.frames.bytes.shape[1] for source in sources)
    words = -(-width // 4)
    blocks = np.zeros((count, _HEAD_WORDS + words + _TAIL_WORDS), dtype="<u4")
    content = blocks.view(np.uint8)[:, 4 * _HEAD_WORDS : 4 * (_HEAD_WORDS + words)]
    stamps, captured, lengths, outgoing = (np.zeros(count, dtype=np.int64) for _ in range(4))
    for index, source in enumerate(sources):
        here = np.flatnonzero(owner == index)
        frames, taken = source.frames, row[here]
        content[here, : frames.bytes.shape[1]] = frames.bytes[taken]
        stamps[here], captured[here] = frames.realtime_ns[taken], frames.captured[taken]
        lengths[here], outgoing[here] = frames.lengths[taken], frames.outgoing[taken]
    content[np.arange(4 * words) >= captured[:, None]] = 0
    held = -(-captured // 4)
    size = 4 * (_HEAD_WORDS + held + _TAIL_WORDS)
    head = (_PACKET, size, owner, stamps >> 32, stamps & 0xFFFFFFFF, captured, lengths)
    for column, values in enumerate(head):
        blocks[:, column] = values
    rows, tail = np.arange(count), _HEAD_WORDS + held
    # Code and length of the option in one word; its value; the end of the options is zero; the length again.
    blocks[rows, tail] = _FLAGS | 4 << 16
    blocks[rows, tail + 1] = np.where(outgoing, _OUTBOUND, _INBOUND)
    blocks[rows, tail + 2] = 0
    blocks[rows, tail + 3] = size
    used = np.arange(blocks.shape[1]) < (tail + _TAIL_WORDS)[:, None]
    laid_out: bytes = blocks[used].tobytes()
    return laid_out
