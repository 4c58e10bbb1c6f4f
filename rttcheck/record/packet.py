"""The layout of one captured TCP packet as a NumPy dtype, and the names of the capture points."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np


class Point(IntEnum):
    """Where a packet was captured, in the order in which one from the client passes."""

    CLIENT = 0
    LINK_NEAR = 1
    """The link's interface on the client's side; a `direct` lab has none."""
    LINK_FAR = 2
    """The link's interface on the server's side."""
    SERVER = 3


FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
PSH: Final = 0x08
ACK: Final = 0x10
# The bits of the fourteenth byte of a TCP header (RFC 9293, section 3.1).

MOST_SACK_BLOCKS: Final = 4
"""The number that fits into 40 bytes of options (RFC 2018, section 3)."""

WIRE: Final = np.dtype(
    [
        ("time_ns", "<i8"),  # CLOCK_MONOTONIC when the packet passed the interface
        ("seq", "<u4"),
        ("ack", "<u4"),  # undefined without the flag ACK
        ("payload", "<u4"),  # bytes of data; of a packet not yet cut into segments, all of them
        ("tsval", "<u4"),  # the sender's timestamp and the echoed one (RFC 7323); 0 where has_ts is
        ("tsecr", "<u4"),
        ("window", "<u2"),  # as in the header, not scaled
        ("sport", "<u2"),  # host byte order
        ("dport", "<u2"),
        ("flags", "u1"),
        ("point", "u1"),  # see Point
        ("outgoing", "u1"),  # 1 when the interface's own side sent it
        ("has_ts", "u1"),
        ("sack_blocks", "u1"),
        ("reserved", "u1"),
        ("src", "u1", (16,)),  # network byte order; IPv4 as ::ffff:a.b.c.d
        ("dst", "u1", (16,)),
        ("sack", "<u4", (MOST_SACK_BLOCKS, 2)),  # left edge, right edge (one past the last byte)
    ]
)
"""One TCP packet at one point."""
