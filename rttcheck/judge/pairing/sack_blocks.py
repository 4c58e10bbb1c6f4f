"""The SACK blocks of incoming ACKs, without repetitions: ACKs repeat the previous blocks (RFC 2018, section 4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rttcheck.judge.pairing.ends import Arrivals, Booleans, Places, packets_of
from rttcheck.judge.pairing.sockets import Integers
from rttcheck.record.packet import MOST_SACK_BLOCKS

_BLOCK = 1 << 14


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Blocks:
    """One row per block, in the order of arrivals; edges are `keys`."""

    arrival: Places
    """Position among the arrivals."""
    left: Integers
    right: Integers

    @classmethod
    def of(cls, wire: np.ndarray, came: Arrivals, *, repeated: bool) -> Blocks:
        """Read the blocks of ``came``; blocks that the previous ACK has too are left out unless ``repeated``."""
        found: list[tuple[Places, Integers, Integers]] = []
        newest = np.zeros((2, 1, MOST_SACK_BLOCKS), dtype=np.int64)
        for start in range(0, len(came.sacks), _BLOCK):
            at = came.sacks[start : start + _BLOCK]
            packets = packets_of(wire, came.row[at])
            held = np.arange(MOST_SACK_BLOCKS) < packets["sack_blocks"][:, None]
            # SACK edges lie within 2^31 of the ACK number that they come with.
            sides = (packets["sack"].transpose(2, 0, 1) - packets["ack"][:, None]).view(np.int32) + came.ack[at][
                :, None
            ]
            sides *= held
            kept = sides[0] < sides[1]
            if not repeated:
                before = np.concatenate((newest, sides[:, :-1]), axis=1)
                newest = sides[:, -1:]
                # In the same place, or one place off because a block was added or removed.
                kept &= ~_same(sides, before)
                kept[:, 1:] &= ~_same(sides[:, :, 1:], before[:, :, :-1])
                kept[:, :-1] &= ~_same(sides[:, :, :-1], before[:, :, 1:])
            ack, block = np.nonzero(kept)
            found.append((at[ack], sides[0, ack, block], sides[1, ack, block]))
        if not found:
            nothing = np.zeros(0, dtype=np.int64)
            return cls(arrival=nothing.astype(np.intp), left=nothing, right=nothing)
        arrival, left, right = (np.concatenate(column) for column in zip(*found, strict=True))
        return cls(arrival=arrival, left=left, right=right)


def _same(some: Integers, others: Integers) -> Booleans:
    same: Booleans = (some[0] == others[0]) & (some[1] == others[1])
    return same
