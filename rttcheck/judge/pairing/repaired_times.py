"""Pair events whose kernel time ("now", ``tcp_mstamp``) is wrong.

With a "now" that is out of date an ACK seems to come in after it was processed, and no packets are found. The probe's
own time of the call finds them. `check_overhead` reports the wrong "now".
"""

from __future__ import annotations

import numpy as np

from rttcheck.judge.pairing.ends import Ends
from rttcheck.judge.pairing.pairs import Pairs, pair_at
from rttcheck.judge.pairing.scoreboard import NONE


def pair_with_repaired_times(events: np.ndarray, ends: Ends) -> tuple[Pairs, np.ndarray]:
    """Return the pairs (see `pair`), and the events, with the call's own time where only that finds an ACK."""
    pairs = pair_at(events, ends)
    lost = pairs.known & (pairs.ack == NONE) & (events["tcp_mstamp_us"] != 0)
    if not lost.any():
        return pairs, events
    repaired: np.ndarray = events.copy()
    repaired["tcp_mstamp_us"][lost] = events["timestamp_ns"][lost] // 1_000
    still = lost & (pair_at(repaired, ends).ack == NONE)
    repaired["tcp_mstamp_us"][still] = events["tcp_mstamp_us"][still]
    return pair_at(repaired, ends), repaired
