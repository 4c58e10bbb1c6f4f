"""How long the receiver held each sample's ACK: part of the round trip where ACKs may be delayed (RFC 9293, 3.8.6.3).

Measured on the wire at the receiver, from the segment's arrival to the ACK's departure.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.pairing.ends import Places
from rttcheck.judge.pairing.sockets import Integers
from rttcheck.judge.pairing.transit import identities
from rttcheck.record.packet import Point

LONGEST_NS: Final = 200_000_000
"""TCP_DELACK_MAX (include/net/tcp.h, 5.10 to 7.3); the timer fires within a tick of it."""


def held_ns(
    wire: np.ndarray, segment: npt.NDArray[np.integer], ack: npt.NDArray[np.integer], *, tick_ns: int
) -> Integers:
    """Return how long the ACKs of some samples were held, at most as long as the kernel may delay an ACK; 0 if unknown.

    ``segment`` and ``ack`` are rows of ``wire`` (dtype ``WIRE``) at the sender's own interface.
    """
    held = np.zeros(len(segment), dtype=np.int64)
    for own, peer in ((Point.CLIENT, Point.SERVER), (Point.SERVER, Point.CLIENT)):
        mine = np.flatnonzero(wire["point"][segment] == own)
        at_peer = wire["point"] == peer
        came = np.flatnonzero(at_peer & (wire["outgoing"] == 0) & (wire["payload"] > 0))
        left = np.flatnonzero(at_peer & (wire["outgoing"] != 0))
        if not len(mine) or not len(came) or not len(left):
            continue
        arrived_ns = _times(wire, came, segment[mine], until_ns=None)
        departed_ns = _times(wire, left, ack[mine], until_ns=wire["time_ns"][ack[mine]])
        known = (arrived_ns > 0) & (departed_ns > 0)
        held[mine[known]] = departed_ns[known] - arrived_ns[known]
    return np.clip(held, 0, LONGEST_NS + tick_ns)


def _times(wire: np.ndarray, there: Places, wanted: npt.NDArray[np.integer], *, until_ns: Integers | None) -> Integers:
    """Return when each of the ``wanted`` packets passed ``there``: first, or last up to a time; 0 if it did not."""
    names = np.concatenate((identities(wire, there), identities(wire, wanted.astype(np.intp))))
    _, group = np.unique(names, return_inverse=True)
    ours, theirs = group[: len(there)], group[len(there) :]
    time_ns = wire["time_ns"][there]
    order = np.lexsort((time_ns, ours))
    ours, time_ns = ours[order], time_ns[order]
    first = np.searchsorted(ours, theirs)
    at = first
    if until_ns is not None:
        moments = np.sort(time_ns, kind="stable")
        rank = np.searchsorted(moments, time_ns).astype(np.int64)
        asked = np.searchsorted(moments, until_ns, side="right")
        span = len(moments) + 1
        at = np.searchsorted(ours * span + rank, theirs * span + asked) - 1
    known = (at >= first) & (first < len(ours))
    known[known] = ours[at[known]] == theirs[known]
    found = np.zeros(len(wanted), dtype=np.int64)
    found[known] = time_ns[at[known]]
    return found
