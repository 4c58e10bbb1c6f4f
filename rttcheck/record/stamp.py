"""The layout of the time stamp of one outgoing packet, as a NumPy dtype.

It is the Python side of ``bpf/rtt_stamp.h``: names, types, order. A test compares the two through the object's BTF.
"""

from __future__ import annotations

from typing import Final

import numpy as np

STAMP: Final = np.dtype(
    [
        ("time_ns", "<i8"),  # CLOCK_MONOTONIC when the packet was passed to its device
        ("stamp_ns", "<i8"),  # skb->tstamp: TCP's stamp of the segment, CLOCK_MONOTONIC; 0 for none
        ("seq", "<u4"),
        ("ack", "<u4"),
        ("payload", "<u4"),  # bytes of data
        ("watch", "<u4"),  # number of the active watch
        ("sport", "<u2"),  # host byte order
        ("dport", "<u2"),
        ("flags", "u1"),  # as in `WIRE`
        ("point", "u1"),  # the end that the packet left, see `Point`
        ("reserved", "<u2"),
    ]
)
"""``struct rtt_stamp``: one TCP packet that left an end.

``__tcp_transmit_skb()`` writes the same time into the segment in the retransmission queue, from which samples are
taken, and into the copy that it sends.
"""
