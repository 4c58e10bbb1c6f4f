"""The packets of two ends without a node between them, as if there were one.

Where netem is on the ends' own interfaces, a packet enters the link when TCP hands it to its device, and leaves it
where that device's capture takes it, which is after netem.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from rttcheck.collect.wire.capture import Wire
from rttcheck.collect.wire.queued import Queued
from rttcheck.record.packet import Point

_SIDES = {Point.CLIENT: (Point.LINK_NEAR, Point.LINK_FAR), Point.SERVER: (Point.LINK_FAR, Point.LINK_NEAR)}
"""Where packets of each end enter the link, and where they leave it."""


def with_link(wire: Wire, queued: Queued) -> Wire:
    """Return the packets as the ends sent and received them, and as they passed the link's two sides.

    The file for Wireshark keeps what was captured.
    """
    captured = wire.packets
    came, left = captured[captured["outgoing"] == 0], captured[captured["outgoing"] != 0]
    tables = [queued.packets, came]
    points: dict[str, Any] = {name: dict(point) for name, point in wire.facts["points"].items()}
    unread = {}
    for end, (enters, leaves) in _SIDES.items():
        for packets, side, outgoing in ((queued.packets, enters, 0), (left, leaves, 1)):
            there = packets[packets["point"] == end].copy()
            there["point"], there["outgoing"] = side, outgoing
            tables.append(there)
        unread[leaves.name.lower()] = wire.facts["unread"].get(end.name.lower(), [])
    packets = np.concatenate(tables)
    packets = packets[np.lexsort((packets["time_ns"], packets["point"]))]
    for end, (enters, _) in _SIDES.items():
        of_end = points[end.name.lower()]
        # A packet that the program had no room for is as good as one that a capture dropped.
        of_end["dropped"] += queued.lost
        points[enters.name.lower()] = {**of_end, "captured": int((packets["point"] == enters).sum())}
    return dataclasses.replace(wire, packets=packets, facts={**wire.facts, "points": points, "unread": unread})
