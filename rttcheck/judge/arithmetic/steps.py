"""The previous event of the same socket: the state before a call is the state after the previous call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.samples import maybe_coarse
from rttcheck.record.event import FLAG_SYN_ACKED, TcpState

Booleans = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]

_BLOCK: Final = 1 << 14
"""Rows at a time: what is computed in between stays in the processor's cache."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steps:
    """One row per event, in the order of the recording."""

    previous: Places
    """Row of the socket's previous event; -1 for its first."""
    opening: Booleans
    """The socket's first event is that of its handshake: before it the estimators were empty."""
    taken: Booleans

    @classmethod
    def of(cls, events: np.ndarray, *, every_sample: bool = True) -> Steps:
        """Find each socket's order. A socket is (sk, generation), as the kernel reuses addresses.

        Without ``every_sample``, an event has a previous one only where no other sample can lie between the two.
        """
        sk, generation = events["sk"], events["generation"]
        order = np.lexsort((generation, sk))
        previous = np.full(len(events), -1, dtype=np.intp)
        if len(events):
            sorted_sk, sorted_generation = sk[order], generation[order]
            same = (sorted_sk[1:] == sorted_sk[:-1]) & (sorted_generation[1:] == sorted_generation[:-1])
            previous[order[1:][same]] = order[:-1][same]
        if not every_sample:
            previous[~_adjoining(events, previous)] = -1
        return cls(
            previous=previous,
            # Either side's first call is that of its SYN: tcp_clean_rtx_queue(), or tcp_synack_rtt_meas() of a server.
            opening=(previous < 0) & ((events["flag"] & FLAG_SYN_ACKED) != 0),
            taken=events["taken"] != 0,
        )

    @property
    def known(self) -> Booleans:
        """Whether the state before the call is known."""
        return self.opening | (self.previous >= 0)


def blocks(rows: int) -> Iterator[slice]:
    """Yield all of ``rows`` in blocks, and one empty block for none."""
    for at in range(0, max(rows, 1), _BLOCK):
        yield slice(at, min(at + _BLOCK, rows))


def _adjoining(events: np.ndarray, previous: Places) -> Booleans:
    """Return which events hold the sample right after that of the socket's previous event.

    A sample is of a segment that its ACK delivers: ``tp->delivered`` counts segments when they are first acknowledged
    or SACKed, before the sample is taken. An increase by one is this event's own segment and leaves none for another
    sample; the SYN-ACK is counted after its sample. One case delivers nothing: an ACK of data that was all SACKed
    before takes its sample from the timestamp. So neither event may hold a timestamp sample or follow SACKed data.
    """
    before = events[np.maximum(previous, 0)]
    more = events["delivered"].astype(np.int64) - before["delivered"]
    expected = 1 + (before["state"] == TcpState.SYN_RECV)
    adjoining: Booleans = (previous >= 0) & (more == expected) & (before["sacked_out"] == 0) & ~maybe_coarse(events)
    return adjoining
