"""The true recordings that faults are planted in: what was run, and where the recordings of it lie.

It owns their scenarios, each chosen for what it brings about, and knows no fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from rttcheck.record.recording import SUFFIX, Recording
from rttcheck.scenario.model import Scenario

DIRECTORY: Final = Path(__file__).parent / "recordings"

_RISING: Final[Mapping[str, Any]] = {
    "rtt": "20ms",
    "count": 48,
    "steps": [{"after": 12, "rtt": "40ms"}],
    "sysctls": {"net.ipv4.tcp_min_rtt_wlen": 1},
}

KEYWORDS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        # Nothing but the round trip and the machine.
        "ping-pong": {"rtt": "40ms", "count": 30},
        # A value of 2**7 ms, which is more than 65,536 us as well: an edge in one table, the overflow in the other.
        "edge": {"rtt": "128ms", "count": 12},
        # ACKs overtake each other: first-acked and last-acked samples part, and some ACKs come in vain.
        "jitter": {"rtt": "40ms", "jitter": "8ms", "traffic": "paced", "interval": "2ms", "count": 60, "seed": 3},
        # Retransmissions, samples from SACK and from timestamps.
        "loss": {
            "rtt": "20ms",
            "loss": "4%",
            "traffic": "paced",
            "interval": "1ms",
            "count": 200,
            "size": 600,
            "seed": 1,
        },
        # One segment of full size at a time, whose ACK is no delayed one, and a window of a second: min_rtt rises.
        "expiry": {**_RISING, "size": 1448},
        # The same with bytes, whose ACKs may be delayed ones: min_rtt stays.
        "delayed": _RISING,
    }
)
"""By name, the keywords of `Scenario.make`."""


def scenario(name: str) -> Scenario:
    """The scenario of a true recording."""
    return Scenario.make(name=name, **KEYWORDS[name])


@cache
def truth(name: str) -> Recording:
    """The true recording of that name. Recordings are frozen, and who writes into their arrays copies them first."""
    recording = Recording.load(DIRECTORY / f"{name}{SUFFIX}")
    for table in tables(recording).values():
        table.setflags(write=False)
    return recording


def tables(recording: Recording) -> dict[str, np.ndarray]:
    """All tables of a recording by name, the kernel-side histograms among them."""
    named = {each.name: getattr(recording, each.name) for each in fields(recording)}
    return {name: each for name, each in named.items() if isinstance(each, np.ndarray)} | dict(recording.histograms)
