"""Which ACKs owe a sample, from the wire alone, and which events show one: row beside row.

It owns the answer for all connections at once: most are compared as whole arrays, and those that leave any question
walked through packet by packet. It holds no opinion on what a difference means.

Source: ``tcp_ack()``, ``tcp_clean_rtx_queue()``, ``tcp_ack_update_rtt()`` and ``tcp_synack_rtt_meas()`` in
net/ipv4/tcp_input.c, the same rules from 5.10 to 7.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rttcheck.judge.eligibility.in_order import Calm
from rttcheck.judge.eligibility.life import walked
from rttcheck.judge.eligibility.part import DUE, reported_by
from rttcheck.judge.eligibility.portion import portions_of, speaking
from rttcheck.judge.pairing.ends import Ends, Places
from rttcheck.judge.pairing.lives import lives_of
from rttcheck.judge.pairing.scoreboard import NONE
from rttcheck.judge.pairing.sockets import NOBODY, Sockets


def dues_of(
    events: np.ndarray, wire: np.ndarray, flows: Sequence[Mapping[str, Any]], *, segment_bytes: int = 1_460
) -> np.ndarray:
    """What is expected beside what is reported, dtype `DUE`, in no order.

    ``events`` (dtype ``EVENT``) and ``wire`` (dtype ``WIRE``) are a run's, ``flows`` its connections;
    ``segment_bytes`` is how many bytes a segment without options may hold.
    """
    sockets = Sockets(flows)
    ends = Ends.of(wire, sockets)
    if not ends.lives:
        return _strangers(events, np.arange(len(events)))
    life, order, others = lives_of(events, sockets, ends)
    found = [_strangers(events, others)]
    for portion in portions_of(events, ends, life, order):
        calm = Calm.of(events, portion)
        found.append(calm.rows)
        found += [walked(events, portion, one, segment_bytes) for one in np.flatnonzero(~calm.lives).tolist()]
    return np.concatenate(found)


def _strangers(events: np.ndarray, others: Places) -> np.ndarray:
    """Events of sockets that sent and received nothing."""
    others = speaking(events, others)
    rows = np.zeros(len(others), dtype=DUE)
    rows["ack"], rows["socket"] = NONE, NOBODY
    rows["event"], rows["reported"] = others, reported_by(events, others)
    return rows
