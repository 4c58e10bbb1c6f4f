"""Which ACK moved a socket to where an event found it, and from where: by the wire, where not every ACK has an event.

It owns that step for probes that do not see every sample: between two of their events other ACKs came, so that the
event before does not say where this one began. Plain arrays; it does not know what they are used for.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.scoreboard import NONE

Integers = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int32]

OFFSET_BITS: Final = 41
"""Room for two terabytes a connection beside four million connections in one 64-bit key."""


def advance(
    life: Rows, una: Integers, at: Integers, ack_life: Rows, acked: Integers, has_sack: npt.NDArray[Any]
) -> tuple[Integers, Integers]:
    """For each event the place of its ACK and ``snd_una`` before it.

    ``life``, ``una`` and ``at`` are of the events: the connection's number, the offset reached, and the last ACK of
    that offset that had come (`NONE` for none). The others are of the ACKs, by life, then by time. An ACK that moved
    nothing is an event's own only if it SACKs: another one of the same number came first, and moved the socket.
    """
    key = (ack_life.astype(np.int64) << OFFSET_BITS) + np.maximum(acked, 0)
    highest = np.maximum.accumulate(key)
    reached = np.searchsorted(highest, (life.astype(np.int64) << OFFSET_BITS) + una)
    mover = np.minimum(reached, max(len(key) - 1, 0))
    moves = (at != NONE) & (reached <= at) & (ack_life[mover] == life) & (acked[mover] == una)
    moves &= (at == mover) | (has_sack[at] == 0)
    earlier = np.maximum(mover - 1, 0)
    held = (mover > 0) & (ack_life[earlier] == life)
    before = np.where(held, highest[earlier] & ((1 << OFFSET_BITS) - 1), 0)
    return np.where(moves, mover, at), np.where(moves, before, una)
