"""The relay's journal as NumPy arrays: the record of each packet, and how late it was.

Only this part of the relay needs NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .journal import (
    BACK_SHIFT,
    COPY_SHIFT,
    FATE_SHIFT,
    LENGTH_BITS,
    PAGE_WORDS,
    RECORD_WORDS,
    RECORDS,
    SETTING_SHIFT,
    Journal,
)
from .line import Fate

PACKET = np.dtype(
    [
        ("taken_ns", "i8"),
        ("due_ns", "i8"),
        ("released_ns", "i8"),
        ("length", "u4"),
        ("setting", "u2"),
        ("direction", "u1"),
        ("fate", "u1"),
        ("copy", "u1"),
    ]
)
"""One packet, or one copy of one. Times are CLOCK_MONOTONIC: ``taken_ns`` when the kernel received it, ``due_ns`` when
it was to go (0: dropped on arrival), ``released_ns`` the clock just before it was handed to the kernel (0: it was not).
``length`` is in bytes with the Ethernet header; ``setting`` counts the impairments from 0; ``direction`` is 0 for out
and 1 for back; ``fate`` is a `Fate`; ``copy`` is 1 for what duplication added."""

Packets = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """How much later than due packets were passed to the kernel, in nanoseconds; all 0 where there were none."""

    packets: int
    p50_ns: int
    p99_ns: int
    max_ns: int


def recorded(journal: Journal) -> Packets:
    """Return all records written so far, as a copy of dtype `PACKET`."""
    count = int(journal.words[RECORDS])
    words = np.array(journal.words[PAGE_WORDS : PAGE_WORDS + RECORD_WORDS * count], dtype=np.int64)
    taken, due, released, tags = words.reshape(count, RECORD_WORDS).T
    packets = np.zeros(count, dtype=PACKET)
    packets["taken_ns"], packets["due_ns"], packets["released_ns"] = taken, due, released
    packets["length"] = tags & (1 << LENGTH_BITS) - 1
    packets["fate"] = tags >> FATE_SHIFT & 0xFF
    packets["direction"] = tags >> BACK_SHIFT & 1
    packets["copy"] = tags >> COPY_SHIFT & 1
    packets["setting"] = tags >> SETTING_SHIFT
    return packets


def late_ns(packets: Packets) -> npt.NDArray[np.int64]:
    """Return the lateness of each packet that was held and released, in nanoseconds."""
    held = (packets["released_ns"] > 0) & np.isin(packets["fate"], (Fate.PASSED, Fate.REORDERED))
    late: npt.NDArray[np.int64] = packets["released_ns"][held] - packets["due_ns"][held]
    return late


def lateness(packets: Packets) -> Lateness:
    """Return the statistics of `late_ns`."""
    late = late_ns(packets)
    if not late.size:
        return Lateness(packets=0, p50_ns=0, p99_ns=0, max_ns=0)
    p50, p99 = (int(value) for value in np.percentile(late, (50, 99), method="higher"))
    return Lateness(packets=int(late.size), p50_ns=p50, p99_ns=p99, max_ns=int(late.max()))
