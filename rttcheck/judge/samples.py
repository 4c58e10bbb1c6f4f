"""Classify the probe's events: kind of sample, source in the kernel, and side of the connection.

Kinds are handshake, data and FIN; sources are first-acked, SACK and timestamp; sides are client and server. All are
derived from the event's own fields, for whole arrays at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from rttcheck.judge.address import Address
from rttcheck.judge.pairing.sockets import UNKNOWN_SOCKET, Sockets
from rttcheck.record.event import FLAG_SYN_ACKED, Hook, TcpState

_OWN_FIN_IN_FLIGHT = (TcpState.FIN_WAIT1, TcpState.CLOSING, TcpState.LAST_ACK)


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
    flows = [{"client": client, "server": server} for client, server in connections]
    socket = Sockets(flows).of(events["saddr"], events["daddr"], events["sport"], events["dport"])
    hit = np.flatnonzero(socket != UNKNOWN_SOCKET)
    index[hit] = socket[hit] // 2
    side[hit] = np.where(socket[hit] % 2 == 0, Side.CLIENT, Side.SERVER)
    return index, side
