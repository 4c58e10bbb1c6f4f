"""Parse the headers of captured frames into rows: Ethernet, IPv4 or IPv6, TCP and its options, whole arrays at a time.

Time, point and direction are filled in by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.record.packet import MOST_SACK_BLOCKS, WIRE

ETHERNET: Final = 14
SNAP: Final = ETHERNET + 60 + 60
"""Bytes of a frame that include every header: Ethernet, the longest IPv4 header, the longest TCP header."""

_IPV6 = 40
_TCP_LEAST, _TCP_MOST = 20, 60
_TYPE_IPV4, _TYPE_IPV6, _PROTOCOL_TCP = 0x0800, 0x86DD, 6
_MORE_FRAGMENTS_AND_OFFSET = 0x3FFF
_END, _NOP, _SACK, _TIMESTAMPS = 0, 1, 5, 8

Bytes = npt.NDArray[np.uint8]
Booleans = npt.NDArray[np.bool_]
Indexes = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Parsed:
    """The TCP packets of some frames, and counts of the other frames."""

    rows: np.ndarray
    """dtype ``WIRE``; time, point and direction are 0."""
    kept: Indexes
    """The frame of each row."""
    others: int
    """Frames that are not TCP over IPv4 or IPv6; IPv6 packets with extension headers count as such."""
    fragments: int
    """Fragments of IPv4 packets: not reassembled, since TCP avoids them (RFC 1191)."""
    damaged: int
    """TCP packets whose lengths are inconsistent or that were cut off within their headers."""


def parse(frames: Bytes, lengths: npt.NDArray[np.integer]) -> Parsed:
    """Parse ``frames``, one a row from its Ethernet header on, of which ``lengths`` bytes each were captured.

    Sources: RFC 791, RFC 8200, RFC 9293 sections 3.1 and 3.2, RFC 2018, RFC 7323. Checksums are not verified: between
    virtual interfaces they may not be computed yet, and a frame is cut off before its end.
    """
    count, width = frames.shape
    if width < SNAP:
        frames = np.pad(frames, ((0, 0), (0, SNAP - width)))
    held = np.minimum(lengths.astype(np.int64), width)
    kind = _be16(frames, 12)
    version = frames[:, ETHERNET] >> 4
    is_v4 = (kind == _TYPE_IPV4) & (version == 4) & (held >= ETHERNET + 20)
    is_v6 = (kind == _TYPE_IPV6) & (version == 6) & (held >= ETHERNET + _IPV6)
    tcp_v4 = is_v4 & (frames[:, ETHERNET + 9] == _PROTOCOL_TCP)
    tcp = tcp_v4 | (is_v6 & (frames[:, ETHERNET + 6] == _PROTOCOL_TCP))
    fragment = tcp_v4 & ((_be16(frames, ETHERNET + 6) & _MORE_FRAGMENTS_AND_OFFSET) != 0)
    header_v4 = (frames[:, ETHERNET] & 15).astype(np.int64) * 4
    start = ETHERNET + np.where(is_v6, _IPV6, header_v4)
    end = ETHERNET + np.where(is_v6, _IPV6 + _be16(frames, ETHERNET + 4), _be16(frames, ETHERNET + 2))
    candidates = np.flatnonzero(tcp & ~fragment)
    whole = (start[candidates] >= ETHERNET + 20) & (start[candidates] + _TCP_LEAST <= held[candidates])
    rough = candidates[whole]
    offset = (frames[rough, start[rough] + 12] >> 4).astype(np.int64) * 4
    sound = (offset >= _TCP_LEAST) & (start[rough] + offset <= np.minimum(held[rough], end[rough]))
    kept, offset = rough[sound], offset[sound]
    rows = np.zeros(len(kept), dtype=WIRE)
    rows["payload"] = end[kept] - start[kept] - offset
    for first in np.unique(start[kept]).tolist():
        here = np.flatnonzero(start[kept] == first)
        _read_tcp(rows, here, frames[kept[here], first : first + _TCP_MOST], offset[here])
    _read_addresses(rows, frames, kept, is_v6[kept])
    return Parsed(
        rows=rows,
        kept=kept,
        others=count - int(tcp.sum()),
        fragments=int(fragment.sum()),
        damaged=len(candidates) - len(kept),
    )


def _read_addresses(rows: np.ndarray, frames: Bytes, kept: Indexes, is_v6: Booleans) -> None:
    for name, at_v4, at_v6 in (("src", 12, 8), ("dst", 16, 24)):
        column = rows[name]
        column[is_v6] = frames[kept[is_v6], ETHERNET + at_v6 : ETHERNET + at_v6 + 16]
        column[~is_v6, 10:12] = 0xFF
        column[~is_v6, 12:] = frames[kept[~is_v6], ETHERNET + at_v4 : ETHERNET + at_v4 + 4]


def _read_tcp(rows: np.ndarray, here: Indexes, header: Bytes, offset: npt.NDArray[np.int64]) -> None:
    rows["sport"][here] = _be16(header, 0)
    rows["dport"][here] = _be16(header, 2)
    rows["seq"][here] = _be32(header, 4)
    rows["ack"][here] = _be32(header, 8)
    rows["flags"][here] = header[:, 13]
    rows["window"][here] = _be16(header, 14)
    at = np.full(len(here), _TCP_LEAST, dtype=np.int64)
    left = np.flatnonzero(at < offset)
    # One iteration an option: 3 for NOP NOP timestamps, 40 at the most.
    while len(left):
        kind = header[left, at[left]]
        padding = kind == _NOP
        after = at[left] + 1
        size = np.where(padding, 1, header[left, np.minimum(after, _TCP_MOST - 1)].astype(np.int64))
        # The kernel stops at (tcp_parse_options()) the list's end, and at an invalid length.
        readable = (kind != _END) & (
            padding | ((after < offset[left]) & (size >= 2) & (at[left] + size <= offset[left]))
        )
        left, kind, size = left[readable], kind[readable], size[readable]
        stamped = left[(kind == _TIMESTAMPS) & (size == 10)]
        rows["has_ts"][here[stamped]] = 1
        rows["tsval"][here[stamped]] = _gathered(header, stamped, at[stamped] + 2)
        rows["tsecr"][here[stamped]] = _gathered(header, stamped, at[stamped] + 6)
        for blocks in range(1, MOST_SACK_BLOCKS + 1):
            selective = left[(kind == _SACK) & (size == 2 + 8 * blocks)]
            rows["sack_blocks"][here[selective]] = blocks
            for edge in range(2 * blocks if len(selective) else 0):
                rows["sack"][here[selective], edge // 2, edge % 2] = _gathered(
                    header, selective, at[selective] + 2 + 4 * edge
                )
        at[left] += size
        left = left[at[left] < offset[left]]


def _gathered(header: Bytes, rows: Indexes, at: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """Return four bytes in network order from each row, from the row's own offset."""
    return _be32(header[rows[:, None], at[:, None] + np.arange(4)], 0)


def _be16(frames: Bytes, at: int) -> npt.NDArray[np.int64]:
    return frames[:, at].astype(np.int64) << 8 | frames[:, at + 1]


def _be32(frames: Bytes, at: int) -> npt.NDArray[np.uint32]:
    return np.ascontiguousarray(frames[:, at : at + 4]).view(">u4")[:, 0].astype(np.uint32)
