"""When the kernel looked at each ACK, as far as its own word for that can be believed.

It owns one repair: a kernel whose "now" is out of date took an ACK that, by that now, had not come. Who seeks packets
by it would find none, and call the kernel's samples inventions; the call's own time, which the probe took itself, finds
them. That the now is wrong is for `check_overhead` to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rttcheck.judge.pairing.pairs import Pairs, pair
from rttcheck.judge.pairing.scoreboard import NONE


def paired_at_present(
    events: np.ndarray, wire: np.ndarray, flows: Sequence[Mapping[str, Any]]
) -> tuple[Pairs, np.ndarray]:
    """The pairs (see `pair`), and ``events`` or a copy with the call's own time wherever only that finds an ACK."""
    pairs = pair(events, wire, flows)
    lost = pairs.known & (pairs.ack == NONE) & (events["tcp_mstamp_us"] != 0)
    if not lost.any():
        return pairs, events
    repaired: np.ndarray = events.copy()
    repaired["tcp_mstamp_us"][lost] = events["timestamp_ns"][lost] // 1_000
    still = lost & (pair(repaired, wire, flows).ack == NONE)
    repaired["tcp_mstamp_us"][still] = events["tcp_mstamp_us"][still]
    return pair(repaired, wire, flows), repaired
