"""Find the packets that were dropped because the queue of their sender's own interface was full.

The kernel reports such a drop to TCP, which then treats the segment as not sent: ``netem_enqueue()`` returns
NET_XMIT_DROP where ``qlen >= limit``, and ``tcp_write_xmit()`` leaves the segment in the write queue (5.10 to 7.3). A
packet that netem loses at random, or that another node drops, counts as sent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rttcheck.judge.pairing.ends import Places
from rttcheck.judge.pairing.transit import WAYS, Transit
from rttcheck.record.packet import Point

_OTHERS = 4
"""Markers, ARP and neighbour discovery that may wait in a queue at one time, beside TCP's packets."""

_ENDS = {"out": (Point.CLIENT, Point.LINK_NEAR), "back": (Point.SERVER, Point.LINK_FAR)}
"""Where a direction's packets are sent, and where they enter the link."""


def without_refused(wire: np.ndarray, stamps: np.ndarray, limits: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return a direct lab's packets and stamps without those that their own queue refused, at the ends.

    ``wire`` has dtype ``WIRE``, ``stamps`` has dtype ``STAMP``. ``limits`` are the lengths of the queues of `WAYS`, in
    packets. The link's rows stay, as its checks count drops.
    """
    kept, stamped = np.ones(len(wire), dtype=np.bool_), np.ones(len(stamps), dtype=np.bool_)
    for name, limit in zip(WAYS, limits, strict=True):
        transit = Transit.of(wire, name)
        end, side = _ENDS[name]
        sent = np.flatnonzero((wire["point"] == end) & (wire["outgoing"] != 0))
        entered = np.flatnonzero((wire["point"] == side) & (wire["outgoing"] == 0))
        refused = transit.entered[_refused(transit, limit)]
        # All three have the same packets in the same order.
        which = np.searchsorted(entered, refused)
        kept[sent[which]] = False
        stamped[np.flatnonzero(stamps["point"] == end)[which]] = False
    return (wire, stamps) if kept.all() else (wire[kept], stamps[stamped])


def _refused(transit: Transit, limit: int) -> Places:
    """Return which of the packets that entered never left, and found the queue full."""
    through = np.sort(transit.entered_ns[transit.earliest[transit.matched]], kind="stable")
    left = np.sort(transit.left_ns, kind="stable")
    asked = transit.entered_ns[transit.gone]
    waiting = np.searchsorted(through, asked) - np.searchsorted(left, asked, side="right")
    return transit.gone[waiting >= limit - _OTHERS]
