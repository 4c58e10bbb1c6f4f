"""The retransmission timeout after a sample, in jiffies, and the sysctls that bound it.

Not covered: timers double ``icsk_rto`` until the next sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

_SECOND_US = 1_000_000


def jiffies_of_us(time_us: Integers | int, hz: Integers | int) -> Integers:
    """Convert as ``usecs_to_jiffies()`` does: round up to whole ticks.

    Source: kernel/time/time.c, the same from 5.10 to 7.3: exact for every HZ that divides a million; for others
    (300, 1024) the kernel multiplies by a reciprocal, which gives the same up to 2**31 us, more than any timeout.
    """
    return -(-np.asarray(time_us, dtype=np.int64) * hz // _SECOND_US)


def us_of_jiffies(jiffies: Integers | int, hz: Integers | int) -> Integers:
    """Convert as ``jiffies_to_usecs()`` does: round down to whole microseconds."""
    return np.asarray(jiffies, dtype=np.int64) * _SECOND_US // hz


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """A bound that is a sysctl since some kernel version, and a constant before."""

    sysctl: str
    unit_us: int
    default: int
    """In the sysctl's unit: the constant of kernels without the sysctl."""

    def us(self, sysctls: Mapping[str, str]) -> int:
        """Return the bound in microseconds: the default where the sysctl was not recorded."""
        text = sysctls.get(self.sysctl, "")
        return (int(text) if text.isdecimal() else self.default) * self.unit_us


LEAST = Knob(sysctl="net.ipv4.tcp_rto_min_us", unit_us=1, default=200_000)
"""TCP_RTO_MIN, HZ / 5; a sysctl since 6.11. A route's or a socket's own value takes precedence; the lab sets none."""

MOST = Knob(sysctl="net.ipv4.tcp_rto_max_ms", unit_us=1_000, default=120_000)
"""TCP_RTO_MAX, 120 s; a sysctl since 6.15."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bounds:
    """The bounds of a timeout, one row per event."""

    least_us: Integers
    """``tcp_rto_min_us()``: ``icsk_rto_min`` is in jiffies: the sysctl is rounded up to whole ticks."""
    most_jiffies: Integers

    @classmethod
    def of(cls, sysctls: Mapping[str, str], hz: Integers) -> Bounds:
        """Return the bounds for events of kernels with ``hz`` ticks per second."""
        return cls(
            least_us=us_of_jiffies(jiffies_of_us(LEAST.us(sysctls), hz), hz),
            most_jiffies=jiffies_of_us(MOST.us(sysctls), hz),
        )


def timeout_jiffies(srtt_us: Integers, rttvar_us: Integers, hz: Integers, most_jiffies: Integers) -> Integers:
    """Return ``icsk_rto`` after a sample: smoothed round trip plus variation, rounded up to ticks, bounded above.

    ``srtt_us`` is eight times the mean, as in the kernel. The lower bound is part of ``rttvar_us``.
    Source: ``tcp_set_rto()``, ``__tcp_set_rto()``, ``tcp_bound_rto()``, the same from 5.10 to 7.3.
    """
    return np.minimum(jiffies_of_us((srtt_us >> 3) + rttvar_us, hz), most_jiffies)
