"""The named scenarios, for the suite and for ``rttcheck run NAME``.

Their values are far enough from a histogram bucket's edge, their traffic shows the effect that the scenario is for, and
they are short enough for an emulated machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from rttcheck.scenario.model import Scenario

_KEYWORDS: Final[Mapping[str, Mapping[str, object]]] = {
    # Constant delays, one exchange at a time: every sample is the round trip plus the machine's overhead. All ping-pong
    # scenarios share one control run.
    "rtt-1ms": {"rtt": "1ms", "count": 60},
    "rtt-5ms": {"rtt": "5ms", "count": 60},
    "rtt-10ms": {"rtt": "10ms", "count": 60},
    "rtt-40ms": {"rtt": "40ms", "count": 50},
    "rtt-100ms": {"rtt": "100ms", "count": 20},
    "rtt-300ms": {"rtt": "300ms", "count": 20},
    # The same round trip as rtt-40ms, split unevenly: TCP cannot see the split, and samples must not depend on it.
    "asymmetric": {"out": "35ms", "back": "5ms", "count": 50},
    "ipv6": {"rtt": "40ms", "family": 6, "count": 50},
    # Half a millisecond: visible in microseconds only. Noise only adds, so the value is low in its bucket (512-1023us):
    # the machine's overhead may be as long as the link's delay.
    "microseconds": {"rtt": "520us", "unit": "us", "count": 60},
    # Round trips differ by more than the time between two writes: ACKs overtake each other, so that first-acked and
    # last-acked differ. Ten round trips long: a probe with one sample per round trip needs four to tell noise from a
    # fault.
    "uniform-jitter": {"rtt": "40ms", "jitter": "8ms", "traffic": "paced", "interval": "4ms", "count": 100},
    "normal-jitter": {
        "rtt": "80ms",
        "jitter": "5ms",
        "distribution": "normal",
        "traffic": "paced",
        "interval": "8ms",
        "count": 100,
    },
    # More than the bandwidth-delay product: samples increase as the transfers' own queue grows. Several transfers: a
    # probe with one sample per round trip sees two or three of each, and a dozen are needed to tell noise from a fault.
    "rate-queue": {"rtt": "20ms", "rate": "20mbit", "traffic": "bulk", "size": 25_000, "flows": 8},
    # Loss in both directions: lost data causes SACK and timestamp samples, lost ACKs make first-acked and last-acked
    # differ.
    "loss": {"rtt": "20ms", "loss": "3%", "traffic": "paced", "interval": "1ms", "count": 300, "size": 600},
    "reordering": {"rtt": "20ms", "reorder": "20%", "traffic": "paced", "interval": "2ms", "count": 200},
    "bbr": {"rtt": "40ms", "traffic": "bulk", "size": 48_000, "flows": 6, "congestion": "bbr"},
    "sixteen-flows": {"rtt": "40ms", "flows": 16, "count": 15},
    "short-connections": {"rtt": "10ms", "traffic": "connections", "count": 20},
    # Up and down again: min_rtt must stay at the smaller value, the samples must follow.
    "step": {"rtt": "20ms", "count": 50, "steps": [{"after": 20, "rtt": "80ms"}, {"after": 35, "rtt": "20ms"}]},
}


def _make() -> Mapping[str, Scenario]:
    return MappingProxyType({name: Scenario.make(name=name, **keywords) for name, keywords in _KEYWORDS.items()})


NAMED: Final = _make()
"""Every named scenario by its name, in the order of the suite."""
