"""Which ACK moved a socket to where an event found it, and from where: by the wire, where not every ACK has an event.

It owns that step for probes that do not see every sample: between two of their events other ACKs came, so that the
event before does not say where this one began. It does not know what was sent.
"""

from __future__ import annotations

import numpy as np

from rttcheck.judge.pairing.calls import Calls
from rttcheck.judge.pairing.ends import Arrivals, Places, keys
from rttcheck.judge.pairing.scoreboard import NONE
from rttcheck.judge.pairing.sockets import Integers


def advance(calls: Calls, at: Places, came: Arrivals) -> tuple[Places, Integers]:
    """For each event the place of its ACK among the arrivals, and the `keys` of ``snd_una`` before it.

    ``at`` is the last arrival with the event's number that had come in by then, `NONE` for none. An ACK that moved
    nothing is an event's own only if it SACKs: another one of the same number came first, and moved the socket.
    """
    if not len(came.row) or not len(at):
        return at, calls.una
    highest = np.maximum.accumulate(np.maximum(came.ack, keys(came.life, 0)))
    mover = np.searchsorted(highest, calls.una)
    reached = np.minimum(mover, len(highest) - 1)
    moves = (at != NONE) & (mover <= at) & (came.ack[reached] == calls.una)
    sacks = np.zeros(len(came.row), dtype=np.bool_)
    sacks[came.sacks] = True
    moves &= (at == mover) | ~sacks[at]
    earlier = np.maximum(reached - 1, 0)
    held = (reached > 0) & (came.life[earlier] == calls.life)
    before = np.where(held, highest[earlier], keys(calls.life, 0))
    return np.where(moves, reached, at), np.where(moves, before, calls.una)
