"""Whose a row is: rows with addresses and ports to the sockets of known connections, and sequence numbers unwrapped.

It owns the step from 36 bytes of addresses to one small number, and from 32-bit sequence numbers to offsets that never
wrap. It does not know what the rows are rows of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.samples import address_bytes

Integers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

NOBODY: Final = -1

_FACTORS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5, 0xD6E8FEB86659FD93)
_TRIES = 8


class Sockets:
    """The two sockets of each connection: number 2i is the client's of connection i, 2i + 1 the server's.

    Connections with the same addresses and ports are one; what tells them apart is their time.
    """

    def __init__(self, flows: Sequence[Mapping[str, Any]]) -> None:
        own, peer, ports = [], [], []
        for flow in flows:
            client, server = flow["client"], flow["server"]
            for mine, other in ((client, server), (server, client)):
                own.append(np.frombuffer(address_bytes(str(mine[0])), dtype=np.uint8))
                peer.append(np.frombuffer(address_bytes(str(other[0])), dtype=np.uint8))
                ports.append((int(mine[1]), int(other[1])))
        table = np.array(ports, dtype=np.uint64).reshape(-1, 2)
        words = _words(
            np.array(own, np.uint8).reshape(-1, 16), np.array(peer, np.uint8).reshape(-1, 16), table[:, 0], table[:, 1]
        )
        self._words, self._number = np.unique(words, axis=0, return_index=True)
        for salt in range(_TRIES):
            self._salt = salt
            hashes = _hash(self._words, salt)
            order = np.argsort(hashes, kind="stable")
            if len(hashes) == len(np.unique(hashes)):
                break
        self._hashes, self._words, self._number = hashes[order], self._words[order], self._number[order]

    def of(self, own: npt.NDArray[Any], peer: npt.NDArray[Any], own_port: Any, peer_port: Any) -> npt.NDArray[np.int32]:
        """The socket of each row, `NOBODY` where it is none of the known ones."""
        found = np.full(len(own), NOBODY, dtype=np.int32)
        if not len(self._hashes) or not len(own):
            return found
        words = _words(own, peer, own_port, peer_port)
        place = np.minimum(np.searchsorted(self._hashes, _hash(words, self._salt)), len(self._hashes) - 1)
        # The hash finds the candidate, all 36 bytes decide.
        same = (self._words[place] == words).all(axis=1)
        found[same] = self._number[place[same]]
        return found


def unwrapped(values: npt.NDArray[np.uint32], begins: npt.NDArray[np.bool_], first: npt.NDArray[np.uint32]) -> Integers:
    """Offsets that never wrap, of rows in the order of time, group after group; ``begins`` marks each group's first.

    ``first`` is for each row what its group's offset 0 is, the initial sequence number. From one row to the next a
    value may go up or down by less than 2^31, as TCP itself assumes (RFC 9293, section 3.4).
    """
    if not len(values):
        return np.zeros(0, dtype=np.int64)
    steps = np.empty(len(values), dtype=np.int64)
    steps[1:] = (values[1:] - values[:-1]).view(np.int32)
    steps[begins] = (values[begins] - first[begins]).view(np.int32)
    total = np.cumsum(steps)
    start = np.flatnonzero(begins)
    before = total[start] - steps[start]
    total -= np.repeat(before, np.diff(np.append(start, len(values))))
    return total


def _words(own: npt.NDArray[Any], peer: npt.NDArray[Any], own_port: Any, peer_port: Any) -> Words:
    words = np.empty((len(own), 5), dtype=np.uint64)
    words[:, 0:2] = np.ascontiguousarray(own).view(np.uint64)
    words[:, 2:4] = np.ascontiguousarray(peer).view(np.uint64)
    words[:, 4] = np.asarray(own_port, dtype=np.uint64) << np.uint64(16) | np.asarray(peer_port, dtype=np.uint64)
    return words


def _hash(words: Words, salt: int) -> Words:
    mixed = np.full(len(words), salt, dtype=np.uint64)
    for column, factor in enumerate(_FACTORS):
        mixed = (mixed ^ words[:, column]) * np.uint64(factor)
        mixed ^= mixed >> np.uint64(29)
    return mixed
