"""The bounds of a link's delay by netem's own model: earliest and latest, one way and for the round trip.

Each bound has its reason as text. Where netem's model has no upper bound (loss, an overflowing queue) the text says so.
Nothing here is measured: the machine's overhead is in `overhead` and `rttcheck.judge.machine.slack`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from typing import Final

from rttcheck.scenario.duration import format_ns
from rttcheck.scenario.model import Scenario
from rttcheck_netns.netem import Netem

DISTRIBUTION_SCALE: Final = 8_192
"""NETEM_DIST_SCALE (include/uapi/linux/pkt_sched.h): a table entry of 8192 means delay plus jitter."""

_ETHERNET: Final = 14
_TCP_LEAST, _TCP_MOST = 20, 60
_SPARE_PACKETS: Final = 8
"""Segments per flow besides data: handshake, FIN, one or two tail loss probes, window updates."""

_RTO_MIN_NS: Final = 200_000_000
"""A queue longer than TCP_RTO_MIN alone can make TCP retransmit everything (net/ipv4: HZ/5, all versions)."""


@dataclass(frozen=True, slots=True)
class Load:
    """The most that a scenario's traffic can have in flight in one direction: ``frames`` are counts and lengths.

    Lengths are bytes as a qdisc counts them, link header included.
    """

    frames: tuple[tuple[int, int], ...]
    shortest: int

    @property
    def packets(self) -> int:
        """The number of frames in flight."""
        return sum(count for count, _ in self.frames)


@dataclass(frozen=True, slots=True)
class OneWayBounds:
    """Earliest and latest arrival, nanoseconds after sending; ``highest_ns`` None without an upper bound."""

    lowest_ns: int
    highest_ns: int | None
    source: str


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """Bounds of a sample, microseconds as the kernel counts them; ``highest_us`` None without an upper bound."""

    lowest_us: int
    highest_us: int | None
    source: str

    @property
    def constant(self) -> bool:
        """Whether every packet takes the same time."""
        return self.lowest_us == self.highest_us

    def render(self) -> str:
        """Return ``20ms``, ``18ms to 22ms`` or ``20ms or more``."""
        lowest = format_ns(self.lowest_us * 1_000)
        if self.highest_us is None:
            return f"{lowest} or more"
        return lowest if self.constant else f"{lowest} to {format_ns(self.highest_us * 1_000)}"


def load_of(scenario: Scenario) -> tuple[Load, Load]:
    """Return the `Load` from client to server and back, without retransmissions after a timeout."""
    traffic = scenario.traffic
    headers = _ETHERNET + (20 if scenario.family == 4 else 40)
    mss = scenario.mtu - (headers - _ETHERNET) - _TCP_MOST
    writes = traffic.count if traffic.kind in ("oneway", "paced") else 1
    segments = writes * ceil(traffic.size / mss)
    answers = ceil(traffic.size / mss) if traffic.server_writes else 0
    longest = _ETHERNET + (65_536 if scenario.offloads else scenario.mtu)
    data = min(longest, headers + _TCP_MOST + traffic.size)
    ack = headers + _TCP_MOST

    def load(segments: int, acks: int) -> Load:
        frames = ((traffic.flows * segments, data), (traffic.flows * (acks + _SPARE_PACKETS), ack))
        return Load(tuple(frame for frame in frames if frame[0]), headers + _TCP_LEAST)

    return load(segments, answers), load(answers, segments)


def packet_time_ns(netem: Netem, length: int) -> int:
    """Return how long netem's rate takes for a frame of ``length`` bytes, ns rounded down; 0 without a rate.

    Source: ``packet_time_ns()`` in net/sched/sch_netem.c, 5.10 to 7.3.
    """
    if not netem.rate_bytes:
        return 0
    length += netem.packet_overhead
    if netem.cell_size:
        length = -(-length // netem.cell_size) * (netem.cell_size + netem.cell_overhead)
    return max(length, 0) * 1_000_000_000 // netem.rate_bytes


def engine_bounds(netem: Netem, load: Load) -> OneWayBounds:
    """Return the earliest and latest arrival that netem's model allows in one direction under ``load``.

    Source: ``netem_enqueue()``, ``tabledist()`` and ``packet_time_ns()`` in net/sched/sch_netem.c, 5.10 to 7.3.
    """
    lowest, highest, source = _delay(netem)
    if netem.rate_bytes:
        lowest += packet_time_ns(netem, load.shortest)
        queue_ns = sum(count * packet_time_ns(netem, length) for count, length in load.frames)
        longest = max(length for _, length in load.frames)
        if queue_ns > _RTO_MIN_NS:
            queue_ns = netem.limit * packet_time_ns(netem, longest)
        highest += queue_ns
        source += f", a queue of up to {format_ns(queue_ns // 1000 * 1000)} at {netem.rate_bytes * 8 / 1e6:g}mbit"
    if netem.reorder:
        lowest = 0
        source += f", {netem.reorder:g}% sent ahead without delay"
    if netem.slot is not None:
        return OneWayBounds(lowest, None, f"{source}, then the next slot: no upper bound")
    if netem.loss is not None:  # with ecn too: packets without ECN (SYN, pure ACK) are still dropped
        return OneWayBounds(lowest, None, f"{source}; loss: no upper bound, as the next ACK gives a lost ACK's sample")
    if netem.corrupt:
        return OneWayBounds(lowest, None, f"{source}; corruption: no upper bound, as corrupted packets are lost")
    if load.packets * (2 if netem.duplicate else 1) > netem.limit:
        return OneWayBounds(lowest, None, f"{source}; a queue of {netem.limit} packets may overflow: no upper bound")
    return OneWayBounds(lowest, highest, source)


def _delay(netem: Netem) -> tuple[int, int, str]:
    mean, jitter = netem.delay_ns, netem.jitter_ns
    if not jitter:
        return mean, mean, f"netem delay {format_ns(mean)}"
    if netem.distribution is None:
        # Uniform over [mean - jitter, mean + jitter), although the man page mentions a normal distribution.
        least, most, name = -jitter, jitter - 1, "uniform"
    else:
        table = netem.distribution.table
        least, most = (_tabledist(jitter, entry) for entry in (min(table), max(table)))
        name = netem.distribution.name
    return (
        max(mean + least, 0),
        max(mean + most, 0),
        f"netem delay {format_ns(mean)} with {name} jitter {format_ns(jitter)}",
    )


def _tabledist(jitter: int, entry: int) -> int:
    """Return the deviation for one table entry by ``tabledist()``'s integers, rounded half away from zero."""
    whole, rest = divmod(jitter, DISTRIBUTION_SCALE)
    scaled = rest * entry
    half = DISTRIBUTION_SCALE // 2
    rounded = (abs(scaled) + half) // DISTRIBUTION_SCALE
    return whole * entry + (rounded if scaled >= 0 else -rounded)


def round_trip(out: OneWayBounds, back: OneWayBounds) -> RoundTrip:
    """Return the bounds of both directions together, as the kernel's sample counts them.

    The sample is a difference of two clock readings, each truncated to a microsecond (``tcp_stamp_us_delta()``): it is
    never below the nanoseconds rounded down to microseconds, and never above them rounded up.
    """
    lowest_us = (out.lowest_ns + back.lowest_ns) // 1_000
    highest_us = None
    if out.highest_ns is not None and back.highest_ns is not None:
        highest_us = -(-(out.highest_ns + back.highest_ns) // 1_000)
    source = f"both ways {out.source}" if out.source == back.source else f"out {out.source}; back {back.source}"
    return RoundTrip(lowest_us, highest_us, source)


def scenario_bounds(scenario: Scenario) -> tuple[RoundTrip, ...]:
    """Return the round trip's bounds at the start and after each of the scenario's steps."""
    load_out, load_back = load_of(scenario)
    return tuple(
        round_trip(engine_bounds(out, load_out), engine_bounds(back, load_back)) for out, back in scenario.links
    )


def union(bounds: Iterable[RoundTrip]) -> RoundTrip:
    """Return what any of ``bounds`` allows: for a sample in flight while the link changed, and for a whole run."""
    several = tuple(bounds)
    highest = [each.highest_us for each in several]
    return RoundTrip(
        min(each.lowest_us for each in several),
        None if None in highest else max(value for value in highest if value is not None),
        ", then ".join(dict.fromkeys(each.source for each in several)),
    )
