"""Classify the probe's events: kind of sample, source in the kernel, and side of the connection.

Kinds are handshake, data and FIN; sources are first-acked, SACK and timestamp; sides are client and server. All are
derived from the event's own fields, for whole arrays at a time.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from rttcheck.record.event import FLAG_SYN_ACKED, Hook, TcpState

Address = tuple[str, int]
"""An IP address as text, IPv4 or IPv6, and a port."""

_OWN_FIN_IN_FLIGHT = (TcpState.FIN_WAIT1, TcpState.CLOSING, TcpState.LAST_ACK)

_TUPLE = np.dtype([("saddr", "u1", (16,)), ("daddr", "u1", (16,)), ("sport", "<u2"), ("dport", "<u2")])


class Kind(IntEnum):
    """The kind of the acknowledged segments."""

    NONE = 0
    """No sample was taken: nothing newly acknowledged, or only retransmissions (Karn). Or the event reports none."""
    HANDSHAKE = 1
    """The SYN, or the SYN-ACK."""
    DATA = 2
    FIN = 3
    """The ACK covered the FIN, with or without data before it. It is often delayed, so it has no upper bound."""


class SampleSource(IntEnum):
    """Which of the kernel's three sources the sample came from."""

    NONE = 0
    FIRST = 1
    """The first newly acknowledged segment, to the microsecond."""
    SACK = 2
    """The first newly SACKed segment, to the microsecond."""
    TSECR = 3
    """The echoed timestamp, to the millisecond: may be up to 1 ms too short."""
    UNKNOWN = 4
    """One of the three: the probe sees the sample where it is used, not where it comes from."""


class Side(IntEnum):
    """The side of the connection whose socket took the sample."""

    NEITHER = 0
    CLIENT = 1
    SERVER = 2


def classify(events: np.ndarray) -> npt.NDArray[np.uint8]:
    """Return the `Kind` of each event (dtype ``EVENT``).

    Source: ``FLAG_SYN_ACKED`` of ``tcp_clean_rtx_queue()`` and ``tcp_synack_rtt_meas()``; the FIN takes the last
    sequence number a socket ever writes, and ``tcp_rcv_state_process()`` looks at ACKs before it changes the state.
    """
    kinds = np.full(len(events), Kind.DATA, dtype=np.uint8)
    fin_acked = np.isin(events["state"], _OWN_FIN_IN_FLIGHT) & (events["snd_una"] == events["write_seq"])
    kinds[fin_acked] = Kind.FIN
    kinds[(events["flag"] & FLAG_SYN_ACKED) != 0] = Kind.HANDSHAKE
    kinds[(events["taken"] == 0) | ((events["hook"] == Hook.SOCKOPS) & (values_us(events) < 0))] = Kind.NONE
    return kinds


def sources(events: np.ndarray) -> npt.NDArray[np.uint8]:
    """Return the `SampleSource` of each event's sample, in the order in which ``tcp_ack_update_rtt()`` tries them."""
    found = np.full(len(events), SampleSource.TSECR, dtype=np.uint8)
    found[events["sack_rtt_us"] >= 0] = SampleSource.SACK
    found[events["first_rtt_us"] >= 0] = SampleSource.FIRST
    found[events["hook"] == Hook.SOCKOPS] = SampleSource.UNKNOWN
    found[events["taken"] == 0] = SampleSource.NONE
    return found


def values_us(events: np.ndarray) -> npt.NDArray[np.int64]:
    """Return each event's time, us: the sample, or last-acked where the probe sees only that; else -1."""
    sample = events["sample_us"].astype(np.int64)
    last_only = (events["hook"] == Hook.SOCKOPS) & (sample < 0)
    return np.where(last_only, events["last_rtt_us"], sample)


def shown_us(events: np.ndarray) -> npt.NDArray[np.int64]:
    """Return the value that a histogram counts, us: first-acked, or the sample where its source is unknown."""
    return np.where(events["hook"] == Hook.SOCKOPS, values_us(events), events["first_rtt_us"])


def maybe_coarse(events: np.ndarray) -> npt.NDArray[np.bool_]:
    """Return which samples are from the echoed timestamp or may be: whole milliseconds from an unknown source."""
    source = sources(events)
    unknown = (source == SampleSource.UNKNOWN) & (events["saw_tstamp"] != 0) & (values_us(events) % 1_000 == 0)
    coarse: npt.NDArray[np.bool_] = (source == SampleSource.TSECR) | unknown
    return coarse


def visible_to_nettrace(events: np.ndarray) -> npt.NDArray[np.bool_]:
    """Return which events nettrace counts and prints: those with a first-acked sample, as far as the probe sees it."""
    visible: npt.NDArray[np.bool_] = shown_us(events) >= 0
    return visible


def address_bytes(address: str) -> bytes:
    """Return an address as in events: 16 bytes in network order, IPv4 as ``::ffff:a.b.c.d``.

    Raises OSError when the text is not an address.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.inet_pton(socket.AF_INET6, f"::ffff:{address}" if family == socket.AF_INET else address)


def address_text(packed: bytes) -> str:
    """Return the text of the 16-byte address of an event, IPv4 in its own notation."""
    if packed.startswith(b"\x00" * 10 + b"\xff\xff"):
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return socket.inet_ntop(socket.AF_INET6, packed)


def connections_of(
    events: np.ndarray, connections: Sequence[tuple[Address, Address]]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.uint8]]:
    """Return each event's index in ``connections`` (client's and server's address), -1 for none, and its `Side`.

    An event is the client's when its socket's own address is the client's.
    """
    index = np.full(len(events), -1, dtype=np.intp)
    side = np.full(len(events), Side.NEITHER, dtype=np.uint8)
    if not len(connections):
        return index, side
    known = np.zeros(2 * len(connections), dtype=_TUPLE)
    for place, (client, server) in enumerate(connections):
        for row, (own, peer) in ((2 * place, (client, server)), (2 * place + 1, (server, client))):
            known[row] = (
                list(address_bytes(own[0])),
                list(address_bytes(peer[0])),
                own[1],
                peer[1],
            )
    seen = np.zeros(len(events), dtype=_TUPLE)
    for name in _TUPLE.names or ():
        seen[name] = events[name]
    as_bytes = np.dtype((np.void, _TUPLE.itemsize))
    order = np.argsort(known.view(as_bytes), kind="stable")
    in_order = known.view(as_bytes)[order]
    wanted = seen.view(as_bytes)
    # Voids compare bytewise: a sorted search finds the row of each event without a loop.
    place_of = np.minimum(np.searchsorted(in_order, wanted), len(in_order) - 1)
    hit = in_order[place_of] == wanted
    row_of = order[place_of]
    index[hit] = row_of[hit] // 2
    side[hit] = np.where(row_of[hit] % 2 == 0, Side.CLIENT, Side.SERVER)
    return index, side
