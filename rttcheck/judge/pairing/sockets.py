"""The socket of each row of a table: addresses and ports (36 bytes) become one small number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.address import address_bytes

Integers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

UNKNOWN_SOCKET: Final = -1

_FACTORS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5, 0xD6E8FEB86659FD93)
_TRIES = 8
_BLOCK = 1 << 15
"""Rows at a time, so that their words stay in the processor's cache."""


class Sockets:
    """The two sockets of each connection: number 2i is the client's of connection i, 2i + 1 the server's.

    Connections with the same addresses and ports have the same sockets; time distinguishes them (see `Ends`).
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
        # The peer of each socket; sockets with the same addresses have the number of the first.
        number = np.unique(words, axis=1, return_index=True, return_inverse=True)
        self._words, self._number = number[0], number[1].astype(np.int32)
        named = self._number[number[2].reshape(-1)]
        self._peer = named[np.arange(len(named)) ^ 1]
        for salt in range(_TRIES):
            self._salt = salt
            hashes = _hash(self._words, salt)
            order = np.argsort(hashes, kind="stable")
            if len(hashes) == len(np.unique(hashes)):
                break
        self._hashes, self._words, self._number = hashes[order], self._words[:, order], self._number[order]

    def of(self, own: npt.NDArray[Any], peer: npt.NDArray[Any], own_port: Any, peer_port: Any) -> npt.NDArray[np.int32]:
        """Return the socket of each row, `UNKNOWN_SOCKET` where it is not a known one."""
        found = np.full(len(own), UNKNOWN_SOCKET, dtype=np.int32)
        if not len(self._hashes):
            return found
        for start in range(0, len(own), _BLOCK):
            rows = slice(start, start + _BLOCK)
            words = _words(own[rows], peer[rows], own_port[rows], peer_port[rows])
            place = np.searchsorted(self._hashes, _hash(words, self._salt))
            np.minimum(place, len(self._hashes) - 1, out=place)
            # The hash finds the candidate; all 36 bytes are compared.
            same = self._words[0][place] == words[0]
            for known, column in zip(self._words[1:], words[1:], strict=True):
                same &= known[place] == column
            found[rows] = np.where(same, self._number[place], UNKNOWN_SOCKET)
        return found

    def at(self, packets: np.ndarray) -> npt.NDArray[np.int32]:
        """Return the socket at whose end each packet (dtype ``WIRE``) was captured: the sender's for outgoing ones."""
        sender = self.of(packets["src"], packets["dst"], packets["sport"], packets["dport"])
        if not len(self._peer):
            return sender
        receiver = np.where(sender == UNKNOWN_SOCKET, UNKNOWN_SOCKET, self._peer[sender])
        return np.where(packets["outgoing"] != 0, sender, receiver)


def _words(own: npt.NDArray[Any], peer: npt.NDArray[Any], own_port: Any, peer_port: Any) -> Words:
    """Return five rows of words: two for each address, one for both ports."""
    words = np.empty((5, len(own)), dtype=np.uint64)
    words[0:2] = own.view(np.uint64).T
    words[2:4] = peer.view(np.uint64).T
    words[4] = own_port
    words[4] <<= np.uint64(16)
    words[4] |= peer_port
    return words


def _hash(words: Words, salt: int) -> Words:
    """Return a sum of products whose upper half depends on every word."""
    mixed = np.full(words.shape[1], salt, dtype=np.uint64)
    for column, factor in zip(words, _FACTORS, strict=True):
        mixed += column * np.uint64(factor + 2 * salt)
    mixed ^= mixed >> np.uint64(32)
    return mixed
