"""Events as the probe would hand them over, with only what a test cares about spelled out."""

from __future__ import annotations

from typing import Any

import numpy as np

from rttcheck.judge.address import Address, address_bytes
from rttcheck.record.event import EVENT, FLAG_DATA_ACKED, CaState, PendingTimer, TcpState

CLIENT: Address = ("10.9.0.1", 42952)
SERVER: Address = ("10.9.0.2", 7000)

ORDINARY: dict[str, Any] = {
    "timestamp_ns": 76_209_326_900,
    "generation": 0x1_2345_6789,
    "first_rtt_us": 20_781,
    "sack_rtt_us": -1,
    "last_rtt_us": 20_656,
    "srtt_us": 20_700 << 3,
    "flag": FLAG_DATA_ACKED,
    "state": TcpState.ESTABLISHED,
    "ca_state": CaState.OPEN,
    "snd_una": 1_093_363_647,
    "write_seq": 1_093_363_648,
    "taken": 1,
    "hz": 250,
    "timer": PendingTimer.LOSS_PROBE,
    "timer_jiffies": 51,
    "comm": b"python3",
    "pid": 504,
    "cpu": 1,
    "netns": 4_026_531_840,
}

NOTHING_TAKEN: dict[str, Any] = {"first_rtt_us": -1, "sack_rtt_us": -1, "last_rtt_us": -1, "taken": 0}
FROM_SACK: dict[str, Any] = {"first_rtt_us": -1, "sack_rtt_us": 41_000, "last_rtt_us": 40_500}
FROM_TIMESTAMP: dict[str, Any] = {"first_rtt_us": -1, "sack_rtt_us": -1, "last_rtt_us": -1, "rs_rtt_us": 40_000}


def event(*, source: Address = CLIENT, destination: Address = SERVER, **fields: Any) -> np.ndarray:
    """One row of dtype ``EVENT``: an ordinary data sample but for ``fields``."""
    row = np.zeros(1, EVENT)
    given = ORDINARY | fields
    row["saddr"], row["daddr"] = list(address_bytes(source[0])), list(address_bytes(destination[0]))
    row["sport"], row["dport"] = source[1], destination[1]
    for name, value in given.items():
        row[name] = value
    first, sack, fallback = given["first_rtt_us"], given["sack_rtt_us"], given.get("rs_rtt_us", given["last_rtt_us"])
    row["rs_rtt_us"] = fallback
    fed = first if first >= 0 else sack if sack >= 0 else fallback
    row["sample_us"] = fed if given["taken"] else -1
    row["min_rtt"][0]["v"] = 20_013
    return row


def events(*rows: dict[str, Any]) -> np.ndarray:
    """An array of dtype ``EVENT``, one row a dictionary of what differs from an ordinary data sample."""
    return np.concatenate([event(**row) for row in rows])
