"""When packets leave a link, by the model of the engine that delays them: distributions, rates and queues, no machine.

It owns what each engine makes of a direction's settings: how long it holds a packet, as a whole distribution, and when
each packet of a sequence is due; what is counted is `Chain`'s. It has seen no packet leave.

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

_WORDS: Final = 1 << 32
"""``prandom_u32()`` and ``get_random_u32()`` draw from so many numbers, all equally likely."""

_ATOMS: Final = 4_096
"""Into how many equally likely pieces a uniform delay is cut where it is summed: as many as netem's tables have."""

_ETHERNET, _TCP, _MOST_OPTIONS = 14, 20, 40
_TIMESTAMPS, _SACK, _BLOCK, _MSS = 12, 4, 8, 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Delay:
    """How long a packet is held for delay and jitter: ``values_ns`` ascending, and the chance of each."""

    lowest_ns: int
    highest_ns: int
    values_ns: Floats
    weights: Floats
    _below: Callable[[Integers], Floats]

    @property
    def constant(self) -> bool:
        """Whether every packet is held for the same time."""
        return self.lowest_ns == self.highest_ns

    @property
    def mean_ns(self) -> float:
        """The mean of the delays that come of the settings, which need not be the one that was set."""
        return float(self.values_ns @ self.weights)

    @property
    def deviation_ns(self) -> float:
        """The standard deviation, the root of the mean square."""
        return float(np.sqrt(((self.values_ns - self.mean_ns) ** 2) @ self.weights))

    def share_below(self, times_ns: Integers) -> Floats:
        """The exact chance that a delay is less than each of the times."""
        return self._below(times_ns)

    def share_up_to(self, times_ns: Integers) -> Floats:
        """The exact chance that a delay is each of the times or less."""
        return self._below(times_ns + 1)


@lru_cache(maxsize=16)
def netem_delay(netem: Netem) -> Delay:
    """netem's delay: constant, uniform with the bias of its modulo, or drawn from a table, and never below nothing.

    A delay below nothing leaves at once, as its time has passed (``netem_dequeue()``).
    """
    mean, jitter = netem.delay_ns, netem.jitter_ns
    if not jitter:
        return _from_table(np.array([mean], dtype=np.int64), np.ones(1))
    if netem.distribution is None:
        return _uniform(mean, jitter)
    table = np.array(netem.distribution.table, dtype=np.int64)
    # rnd % size: where the size does not divide 2^32, the first entries are drawn once more often.
    whole, rest = divmod(_WORDS, len(table))
    counts = np.where(np.arange(len(table)) < rest, whole + 1, whole)
    scaled = jitter % SCALE * table
    rounded = np.where(scaled >= 0, scaled + SCALE // 2, -(SCALE // 2 - scaled))
    # C divides towards zero.
    deviation = np.sign(rounded) * (np.abs(rounded) // SCALE) + jitter // SCALE * table
    return _from_table(np.maximum(mean + deviation, 0), counts / _WORDS)


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
    """``rnd % (2 * sigma) + mu - sigma``: of the 2^32 numbers some remainders come up once more than the others."""
    span = 2 * jitter
    whole, rest = divmod(_WORDS, span)

    def below(times_ns: Integers) -> Floats:
        past = np.clip(times_ns - (mean - jitter), 0, span)
        shares: Floats = (past * whole + np.minimum(past, rest)) / _WORDS
        # What would have to leave in the past leaves at once.
        return np.where(times_ns <= 0, 0.0, shares)

    # Quantiles: the remainders below `rest` have a weight of whole + 1, all others of whole.
    drawn = (np.arange(_ATOMS) + 0.5) * (_WORDS / _ATOMS)
    heavy = rest * (whole + 1)
    remainder = np.where(drawn < heavy, drawn / (whole + 1), rest + (drawn - heavy) / max(whole, 1))
    return Delay(
        lowest_ns=max(mean - jitter, 0),
        highest_ns=max(mean + jitter - 1, 0),
        values_ns=np.maximum(np.floor(remainder) + (mean - jitter), 0.0),
        weights=np.full(_ATOMS, 1 / _ATOMS),
        _below=below,
    )


def frame_lengths(rows: np.ndarray, *, family: int, mtu: int) -> tuple[Integers, Integers]:
    """Each packet's length as a qdisc counts it, bytes: the least and the most that it can be.

    A captured row does not say how long its options are: Linux writes timestamps, and SACK blocks behind four bytes,
    and only a SYN carries others. What is longer than the MTU is counted with the headers of all its segments
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
    # A sender may cut into one segment more than would do: its MSS may be smaller than the MTU allows.
    return frames + least * segments, frames + most * segments + np.where(large, _ETHERNET + most, 0)


def netem_due(netem: Netem, entered_ns: Integers, lengths: Integers, delay_ns: int) -> Integers:
    """When netem lets each packet go that came in at ``entered_ns``, in this order, and was drawn ``delay_ns``.

    Without a rate each for itself. With one, behind the last that is due, which stays the reference until it has left:
    ``due = max(due before, entered + delay) + time on the wire``. A packet that came in later, or was longer, is never
    due earlier, nor are those behind it: times that are early give due times that are early.
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
class Engine:
    """What an engine makes of settings: times here, counts as chains; a chain that is None is not modelled."""

    delay: Callable[[Netem], Delay]
    due: Callable[[Netem, Integers, Integers, int], Integers]
    """When packets leave: setting, when they came in, their lengths, how long each is held."""
    vanishing: Callable[[Netem], Chain | None]
    """Whether a packet leaves not even once."""
    doubling: Callable[[Netem], Chain | None]
    ahead: Callable[[Netem], Chain | None]


_NETEM: Final = Engine(
    delay=netem_delay, due=netem_due, vanishing=vanishing_chain, doubling=doubling_chain, ahead=ahead_chain
)

ENGINES: Final[Mapping[str, Engine]] = MappingProxyType({"netem": _NETEM, "relay": _NETEM})
"""By the name in a recording. An engine that has none is not judged.

The relay does what netem does, but for the bias of a uniform jitter towards its lower end: 9 us at 10 ms.
"""
