"""For probes that miss samples: the ACK that moved ``snd_una`` to an event's value, and the value before.

Other ACKs may come between two events of such a probe, so that the previous event does not have the value before.
"""

from __future__ import annotations

import numpy as np

from rttcheck.judge.pairing.calls import Calls
from rttcheck.judge.pairing.ends import Arrivals, Places, keys
from rttcheck.judge.pairing.scoreboard import NONE
from rttcheck.judge.pairing.sockets import Integers


def advance(calls: Calls, at: Places, came: Arrivals) -> tuple[Places, Integers]:
    """Return for each event the place of its ACK among the arrivals, and the `keys` of ``snd_una`` before it.

    ``at`` is the last arrival with the event's number that came in before the event, `NONE` for none. An ACK that does
    not move ``snd_una`` is of the event only if it SACKs; otherwise it is the first ACK with that number.
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
