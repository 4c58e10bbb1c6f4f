"""Pair events whose kernel time ("now", ``tcp_mstamp``) is wrong.

With a "now" that is out of date an ACK seems to come in after it was processed, and no packets are found. The probe's
own time of the call finds them. `check_overhead` reports the wrong "now".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rttcheck.judge.pairing.pairs import Pairs, pair
from rttcheck.judge.pairing.scoreboard import NONE


def pair_with_repaired_times(
    events: np.ndarray, wire: np.ndarray, flows: Sequence[Mapping[str, Any]]
) -> tuple[Pairs, np.ndarray]:
    """Return the pairs (see `pair`), and the events, with the call's own time where only that finds an ACK."""
    pairs = pair(events, wire, flows)
    lost = pairs.known & (pairs.ack == NONE) & (events["tcp_mstamp_us"] != 0)
    if not lost.any():
        return pairs, events
    repaired: np.ndarray = events.copy()
    repaired["tcp_mstamp_us"][lost] = events["timestamp_ns"][lost] // 1_000
    still = lost & (pair(repaired, wire, flows).ack == NONE)
    repaired["tcp_mstamp_us"][still] = events["tcp_mstamp_us"][still]
    return pair(repaired, wire, flows), repaired
