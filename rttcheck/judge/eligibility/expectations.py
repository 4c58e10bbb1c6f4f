"""The samples that the packets imply, and the samples that events report, in one table.

Most connections are compared as whole arrays (`InOrder`; `Scored` where packets were lost or SACKed); the others are
replayed packet by packet (`Replay`).

Source: ``tcp_ack()``, ``tcp_clean_rtx_queue()``, ``tcp_ack_update_rtt()`` and ``tcp_synack_rtt_meas()`` in
net/ipv4/tcp_input.c, the same rules from 5.10 to 7.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rttcheck.judge.eligibility.in_order import InOrder
from rttcheck.judge.eligibility.part import EXPECTATION, reported_by
from rttcheck.judge.eligibility.portion import portions_of, with_values
from rttcheck.judge.eligibility.replay_input import most_payload, replayed
from rttcheck.judge.eligibility.scored import Scored
from rttcheck.judge.pairing.ends import Ends, Places
from rttcheck.judge.pairing.lives import lives_of
from rttcheck.judge.pairing.scoreboard import NONE
from rttcheck.judge.pairing.sockets import UNKNOWN_SOCKET, Sockets


def expectations_of(
    events: np.ndarray, wire: np.ndarray, flows: Sequence[Mapping[str, Any]], *, segment_bytes: int = 1_460
) -> np.ndarray:
    """Return the expected and the reported samples of a run, dtype `EXPECTATION`, in no order.

    ``events`` has dtype ``EVENT``, ``wire`` dtype ``WIRE``; ``flows`` are the connections; ``segment_bytes`` is the
    most payload of a segment without TCP options.
    """
    return expectations_at(events, Ends.of(wire, Sockets(flows)), segment_bytes=segment_bytes)


def expectations_at(events: np.ndarray, ends: Ends, *, segment_bytes: int) -> np.ndarray:
    """Return the same for the packets at the ends."""
    if not ends.lives:
        return _without_socket(events, np.arange(len(events)))
    life, order, unknown = lives_of(events, ends)
    found = [_without_socket(events, unknown)]
    for portion in portions_of(events, ends, life, order):
        in_order = InOrder.of(events, portion)
        found.append(in_order.rows)
        longest = most_payload(portion, segment_bytes)
        scored = Scored.of(events, portion, ~in_order.lives, longest)
        found.append(scored.rows)
        others = np.flatnonzero(~in_order.lives & ~scored.lives)
        found += [replayed(events, portion, one, int(longest[one])) for one in others.tolist()]
    return np.concatenate(found)


def _without_socket(events: np.ndarray, others: Places) -> np.ndarray:
    """Return rows for the events of sockets without captured packets."""
    others = with_values(events, others)
    rows = np.zeros(len(others), dtype=EXPECTATION)
    rows["ack"], rows["socket"] = NONE, UNKNOWN_SOCKET
    rows["event"], rows["reported"] = others, reported_by(events, others)
    return rows
