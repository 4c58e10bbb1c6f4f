"""Which event of the same socket came before each event: the state before a call is the state after the one before.

It owns the order within sockets and what is known where there is no event before. It looks at no estimator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rttcheck.collect.probe.layout import FLAG_SYN_ACKED

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
    def of(cls, events: np.ndarray) -> Steps:
        """Work out the order. A socket is (sk, generation), as the kernel uses addresses again."""
        sk, generation = events["sk"], events["generation"]
        order = np.lexsort((generation, sk))
        previous = np.full(len(events), -1, dtype=np.intp)
        if len(events):
            sorted_sk, sorted_generation = sk[order], generation[order]
            same = (sorted_sk[1:] == sorted_sk[:-1]) & (sorted_generation[1:] == sorted_generation[:-1])
            previous[order[1:][same]] = order[:-1][same]
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
