"""Which event of the same socket came before each event: the state before a call is the state after the one before.

It owns the order within sockets and what is known where there is no event before. It looks at no estimator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rttcheck.judge.samples import maybe_coarse
from rttcheck.record.event import FLAG_SYN_ACKED, TcpState

Booleans = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steps:
    """One row an event, in the order of the recording."""

    previous: Places
    """Where the previous event of the same socket is; -1 for a socket's first."""
    opening: Booleans
    """The socket's first event, and the one of its handshake: before it the estimators were empty."""
    taken: Booleans

    @classmethod
    def of(cls, events: np.ndarray, *, every_sample: bool = True) -> Steps:
        """Work out the order. A socket is (sk, generation), as the kernel uses addresses again.

        Where not ``every_sample`` has an event, only those have a previous one that no other sample can lie between.
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
        """The state before the call is known."""
        return self.opening | (self.previous >= 0)


def _adjoining(events: np.ndarray, previous: Places) -> Booleans:
    """Events whose sample is the next one after that of the event before.

    A sample is of a segment that its ACK delivers, the first time it is acknowledged or SACKed: ``tp->delivered``
    counts these before the sample is taken. One segment more than before is this event's own, and leaves none for
    another sample; the SYN-ACK is counted after its sample. The exception delivers nothing: an ACK of what was all
    SACKed before takes its sample from the timestamp, so that neither event may be near one.
    """
    before = events[np.maximum(previous, 0)]
    more = events["delivered"].astype(np.int64) - before["delivered"]
    due = 1 + (before["state"] == TcpState.SYN_RECV)
    adjoining: Booleans = (previous >= 0) & (more == due) & (before["sacked_out"] == 0) & ~maybe_coarse(events)
    return adjoining
