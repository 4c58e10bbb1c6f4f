"""The retransmission timeout: what it must be, in jiffies, after a sample, and the bounds that the machine sets it.

It owns the kernel's conversions between microseconds and jiffies and the knobs that bound a timeout. It does not know
the estimators that feed it, and not what a timer does with it: timeouts double ``icsk_rto`` until the next sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

_SECOND_US = 1_000_000


def jiffies_of_us(time_us: Integers | int, hz: Integers | int) -> Integers:
    """``usecs_to_jiffies()``: rounded up to whole ticks.

    Source: kernel/time/time.c, the same from 5.10 to 7.3: exact for every HZ that divides a million; for others
    (300, 1024) the kernel multiplies by a reciprocal, which gives the same up to 2**31 us, more than any timeout.
    """
    return -(-np.asarray(time_us, dtype=np.int64) * hz // _SECOND_US)


def us_of_jiffies(jiffies: Integers | int, hz: Integers | int) -> Integers:
    """``jiffies_to_usecs()``: cut to whole microseconds where HZ does not divide a million."""
    return np.asarray(jiffies, dtype=np.int64) * _SECOND_US // hz


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """A bound that a sysctl sets since some version, and what held before."""

    sysctl: str
    unit_us: int
    default: int
    """In the sysctl's unit: the constant of the kernels that have no such sysctl."""

    def us(self, sysctls: Mapping[str, str]) -> int:
        """The bound in microseconds: the default where the kernel has no such sysctl or nobody recorded it."""
        text = sysctls.get(self.sysctl, "")
        return (int(text) if text.isdecimal() else self.default) * self.unit_us


LEAST = Knob(sysctl="net.ipv4.tcp_rto_min_us", unit_us=1, default=200_000)
"""TCP_RTO_MIN, HZ / 5; a sysctl since 6.11. A route's or a socket's own would go before it: a lab sets neither."""

MOST = Knob(sysctl="net.ipv4.tcp_rto_max_ms", unit_us=1_000, default=120_000)
"""TCP_RTO_MAX, 120 s; a sysctl since 6.15."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bounds:
    """The bounds of a timeout as a socket holds them, one row an event."""

    least_us: Integers
    """``tcp_rto_min_us()``: ``icsk_rto_min`` is kept in jiffies, so that a sysctl is rounded up to whole ticks."""
    most_jiffies: Integers

    @classmethod
    def of(cls, sysctls: Mapping[str, str], hz: Integers) -> Bounds:
        """The bounds for events of ``hz`` ticks a second."""
        return cls(
            least_us=us_of_jiffies(jiffies_of_us(LEAST.us(sysctls), hz), hz),
            most_jiffies=jiffies_of_us(MOST.us(sysctls), hz),
        )


def timeout_jiffies(srtt_us: Integers, rttvar_us: Integers, hz: Integers, most_jiffies: Integers) -> Integers:
    """``icsk_rto`` after a sample: the smoothed round trip and its variation, rounded up to ticks, and bounded above.

    ``srtt_us`` is as the kernel keeps it, eight times the mean. There is no lower bound: ``rttvar_us`` holds it.
    Source: ``tcp_set_rto()``, ``__tcp_set_rto()``, ``tcp_bound_rto()``, the same from 5.10 to 7.3.
    """
    return np.minimum(jiffies_of_us((srtt_us >> 3) + rttvar_us, hz), most_jiffies)
