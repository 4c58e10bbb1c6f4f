"""How long a packet takes over a veth pair: the cost of the work on one packet on this machine.

TCP and queueing disciplines are not included: the packet has left the sender's interface (``dev_hard_start_xmit()``)
and is received at the other end of the same veth pair (``__netif_receive_skb_core()``).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from rttcheck.record.packet import Point

MOST_NS: Final = 100_000
"""The most that work on one packet takes: more than twenty times the usual (5.10 to 7.3, virtual time)."""

_ROUTED: Final = ((Point.CLIENT, Point.LINK_NEAR), (Point.SERVER, Point.LINK_FAR))
_DIRECT: Final = ((Point.CLIENT, Point.SERVER), (Point.SERVER, Point.CLIENT))


def hop_ns(wire: np.ndarray) -> int:
    """Return the median time of packets over the veth pairs at the ends, ns; 0 where none was captured.

    A veth pair neither loses nor reorders, so packets are matched by their order; a pair whose packets do not match (a
    capture that began late) is left out.
    """
    found = []
    for near, far in _ROUTED if (wire["point"] == Point.LINK_NEAR).any() else _DIRECT:
        left = np.flatnonzero((wire["point"] == near) & (wire["outgoing"] != 0))
        came = np.flatnonzero((wire["point"] == far) & (wire["outgoing"] == 0))
        if len(left) == len(came) and all((wire[name][left] == wire[name][came]).all() for name in ("seq", "ack")):
            found.append(wire["time_ns"][came] - wire["time_ns"][left])
    found = [each for each in found if len(each)]
    return int(np.median(np.concatenate(found))) if found else 0
