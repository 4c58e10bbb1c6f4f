"""Models of the engines: the distribution of delays, and when each packet of a sequence is due behind a rate.

Counts of lost, duplicated and reordered packets are in `chain`; the machine's overhead is in `overhead`.

Sources: ``tabledist()``, ``packet_time_ns()`` and ``netem_enqueue()`` in net/sched/sch_netem.c, 5.10 to 7.3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.link.bounds import packet_time_ns
from rttcheck.judge.link.chain import Chain, ahead_chain, doubling_chain, vanishing_chain
from rttcheck.judge.machine.chance import Floats
from rttcheck.record.packet import SYN
from rttcheck_netns.distribution import SCALE
from rttcheck_netns.netem import Netem

Integers = npt.NDArray[np.int64]

_RANDOM_VALUES: Final = 1 << 32
"""``prandom_u32()`` and ``get_random_u32()`` draw from this many numbers, all equally likely."""

_ATOMS: Final = 4_096
"""The number of equally likely values that stand for a uniform delay in sums: as many as netem's tables have."""

_ETHERNET, _TCP, _MOST_OPTIONS = 14, 20, 40
_TIMESTAMPS, _SACK, _BLOCK, _MSS = 12, 4, 8, 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Delay:
    """The distribution of delay plus jitter: ``values_ns`` ascending, and the probability of each."""

    lowest_ns: int
    highest_ns: int
    values_ns: Floats
    weights: Floats
    _below: Callable[[Integers], Floats]

    @property
    def constant(self) -> bool:
        """Whether every packet has the same delay."""
        return self.lowest_ns == self.highest_ns

    @property
    def mean_ns(self) -> float:
        """The mean of the resulting delays, which may differ from the configured delay."""
        return float(self.values_ns @ self.weights)

    @property
    def deviation_ns(self) -> float:
        """The standard deviation of the delays."""
        return float(np.sqrt(((self.values_ns - self.mean_ns) ** 2) @ self.weights))

    def share_below(self, times_ns: Integers) -> Floats:
        """Return the exact probability that a delay is less than each of the times."""
        return self._below(times_ns)

    def share_up_to(self, times_ns: Integers) -> Floats:
        """Return the exact probability that a delay is at most each of the times."""
        return self._below(times_ns + 1)


@lru_cache(maxsize=16)
def netem_delay(netem: Netem) -> Delay:
    """Return netem's delay: constant, uniform with the bias of its modulo, or drawn from a table, and never negative.

    A packet with a negative delay leaves at once, as its time has passed (``netem_dequeue()``).
    """
    mean, jitter = netem.delay_ns, netem.jitter_ns
    if not jitter:
        return _from_table(np.array([mean], dtype=np.int64), np.ones(1))
    if netem.distribution is None:
        return _uniform(mean, jitter)
    table = np.array(netem.distribution.table, dtype=np.int64)
    # rnd % size: where the size does not divide 2^32, the first entries are drawn once more often.
    whole, rest = divmod(_RANDOM_VALUES, len(table))
    counts = np.where(np.arange(len(table)) < rest, whole + 1, whole)
    scaled = jitter % SCALE * table
    rounded = np.where(scaled >= 0, scaled + SCALE // 2, -(SCALE // 2 - scaled))
    # C division truncates towards zero.
    deviation = np.sign(rounded) * (np.abs(rounded) // SCALE) + jitter // SCALE * table
    return _from_table(np.maximum(mean + deviation, 0), counts / _RANDOM_VALUES)


def _from_table(values: Integers, weights: Floats) -> Delay:
    order = np.argsort(values, kind="stable")
    values, weights = values[order], weights[order]
    heaped = np.concatenate(([0.0], np.cumsum(weights)))
    heaped[-1] = 1.0

    def below(times_ns: Integers) -> Floats:
        shares: Floats = heaped[np.searchsorted(values, times_ns, side="left")]
        return shares

    return Delay(
        lowest_ns=int(values[0]),
        highest_ns=int(values[-1]),
        values_ns=values.astype(np.float64),
        weights=weights,
        _below=below,
    )


def _uniform(mean: int, jitter: int) -> Delay:
    """Return the law of ``rnd % (2 * sigma) + mu - sigma``: some remainders occur once more in 2^32 numbers."""
    span = 2 * jitter
    whole, rest = divmod(_RANDOM_VALUES, span)

    def below(times_ns: Integers) -> Floats:
        past = np.clip(times_ns - (mean - jitter), 0, span)
        shares: Floats = (past * whole + np.minimum(past, rest)) / _RANDOM_VALUES
        # A negative delay is 0.
        return np.where(times_ns <= 0, 0.0, shares)

    # Quantiles: the remainders below `rest` have a weight of whole + 1, all others of whole.
    drawn = (np.arange(_ATOMS) + 0.5) * (_RANDOM_VALUES / _ATOMS)
    heavy = rest * (whole + 1)
    remainder = np.where(drawn < heavy, drawn / (whole + 1), rest + (drawn - heavy) / max(whole, 1))
    return Delay(
        lowest_ns=max(mean - jitter, 0),
        highest_ns=max(mean + jitter - 1, 0),
        values_ns=np.maximum(np.floor(remainder) + (mean - jitter), 0.0),
        weights=np.full(_ATOMS, 1 / _ATOMS),
        _below=below,
    )


def frame_lengths(rows: Mapping[str, np.ndarray] | np.ndarray, *, family: int, mtu: int) -> tuple[Integers, Integers]:
    """Return the smallest and largest possible length of each packet as a qdisc counts it, bytes.

    A captured row does not hold the length of its options: Linux writes timestamps, SACK blocks after four bytes, and
    others only in a SYN. A packet longer than the MTU counts with the headers of all its segments
    (``qdisc_pkt_len_init()``).
    """
    payload = rows["payload"].astype(np.int64)
    blocks = rows["sack_blocks"].astype(np.int64)
    options = rows["has_ts"] * _TIMESTAMPS + np.where(blocks > 0, _SACK + _BLOCK * blocks, 0)
    network = 20 if family == 4 else 40
    opening = (rows["flags"] & SYN) != 0
    least = network + _TCP + np.where(opening, _MSS, 0) + options
    most = np.where(opening, network + _TCP + _MOST_OPTIONS, least)
    large = least + payload > mtu
    segments = np.where(large, -(-payload // np.maximum(mtu - least, 1)), 1)
    frames = _ETHERNET * segments + payload
    # There may be one segment more: the sender's MSS may be smaller than the MTU allows.
    return frames + least * segments, frames + most * segments + np.where(large, _ETHERNET + most, 0)


def netem_due(netem: Netem, entered_ns: Integers, lengths: Integers, delay_ns: int) -> Integers:
    """Return when each packet is due that came in at ``entered_ns``, in this order, with the delay ``delay_ns``.

    Without a rate packets are independent. With a rate each waits for the packet due before it:
    ``due = max(due before, entered + delay) + time on the wire``. If a packet came in later or was longer, neither it
    nor the packets behind it are due earlier: early arrival times give early due times.
    """
    ready = entered_ns + delay_ns
    if not netem.rate_bytes or not len(ready):
        return ready
    sizes, place = np.unique(lengths, return_inverse=True)
    times = np.array([packet_time_ns(netem, int(size)) for size in sizes], dtype=np.int64)[place]
    busy = np.cumsum(times)
    due: Integers = busy + np.maximum.accumulate(ready - (busy - times))
    return due


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineModel:
    """An engine's model of a setting: delays, due times, and chains of events; a chain that is None is not modelled."""

    delay: Callable[[Netem], Delay]
    due: Callable[[Netem, Integers, Integers, int], Integers]
    """Due times of packets, from setting, arrival times, lengths and delay."""
    vanishing: Callable[[Netem], Chain | None]
    """Packets that never leave."""
    doubling: Callable[[Netem], Chain | None]
    """Packets that leave twice."""
    ahead: Callable[[Netem], Chain | None]
    """Packets that are sent ahead."""


_NETEM: Final = EngineModel(
    delay=netem_delay, due=netem_due, vanishing=vanishing_chain, doubling=doubling_chain, ahead=ahead_chain
)

ENGINES: Final[Mapping[str, EngineModel]] = MappingProxyType({"netem": _NETEM, "relay": _NETEM})
"""Models by an engine's name in a recording. An engine without a model is not judged.

The relay behaves as netem does, except for the bias of a uniform jitter towards its lower end: 9 us at 10 ms.
"""
