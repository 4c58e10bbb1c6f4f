"""What kernel and machine add to a round trip at its two ends, for each sample. The limits are in `overhead_check`.

A sample is the kernel's "now" minus the stamp of a segment (``tcp_stamp_us_delta()``). Both differ from wire times:

- the *lead* is the time from the stamp to the segment's departure: ``__tcp_transmit_skb()`` uses one time for the whole
  burst (``tcp_clock_cache``), read before the segments ahead have left;
- the *lag* is the time from the ACK's arrival to ``tcp_mstamp_refresh()``: while a thread owns the socket, the ACK
  waits in its backlog (``tcp_v4_rcv()``, ``release_sock()``).

Virtual time has one processor, which does one thing at a time. Between a stamp and a departure it may handle other
packets: of the same burst, or from a timer or the link. So the *quiet* lead or lag is compared: the longest gap in
which no packet passed anywhere, which is the work on one packet. In dense traffic gaps are short and hide the error of
a wrong stamp; so the lead of the first segment of each burst is compared too: segments with the same stamp are one
burst, and no segment is ahead of the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from rttcheck.judge.pairing.stamps import UNKNOWN
from rttcheck.judge.pairing.wire_times import MICROSECOND_NS, Booleans, Integers, TimedValues
from rttcheck.record.event import Owned

Words = npt.NDArray[np.uint64]
Places = npt.NDArray[np.intp]

_ODD = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], dtype=np.uint64)
"""Odd factors that spread addresses and times over 64 bits."""


# No slots: `cached_property` keeps its value in the instance's dictionary.
@dataclass(frozen=True, kw_only=True, eq=False)
class Passing:
    """When any packet passed any point: one processor handles both ends and the link."""

    wire: np.ndarray

    @cached_property
    def time_ns(self) -> Integers:
        """The times, ascending; sorted when they are first needed, as a sound run does not need them."""
        # Captures are in order of time at each point: a stable sort merges them.
        times: Integers = np.sort(self.wire["time_ns"], kind="stable")
        return times


# No slots: `cached_property` keeps its value in the instance's dictionary.
@dataclass(frozen=True, kw_only=True, eq=False)
class SampleOverhead:
    """One row per value, in nanoseconds."""

    timed: TimedValues
    events: np.ndarray
    lead_ns: Integers
    lag_ns: Integers
    passive: Booleans
    """Samples of passive handshakes: their "now" is not kept (``tcp_synack_rtt_meas()``). The event's time is used; the
    child socket is made before it: the lead is too small and the lag too large by that work."""
    owned: npt.NDArray[np.uint8]
    """See `Owned`."""
    now_after_call: Booleans
    """Whether the kernel's "now" is later than the call that used it."""

    @classmethod
    def of(cls, timed: TimedValues, events: np.ndarray, stamp_ns: Integers | None = None) -> SampleOverhead:
        """Compute lead and lag of every value of ``timed``, whose rows refer to ``events``.

        ``stamp_ns`` has the stamps on the values' segments; where one is `UNKNOWN`,
        the stamp is computed from the value.
        """
        # Column by column: whole rows would be copied for a few of their fields.
        chosen = timed.event
        called_ns: Integers = events["timestamp_ns"][chosen].astype(np.int64)
        kept_ns: Integers = events["tcp_mstamp_us"][chosen].astype(np.int64) * MICROSECOND_NS
        passive = kept_ns == 0
        now_ns: Integers = np.where(passive, called_ns, kept_ns)
        lead_ns: Integers = timed.value_us * MICROSECOND_NS - (now_ns - timed.departed_ns)
        if stamp_ns is not None:
            lead_ns = np.where(stamp_ns != UNKNOWN, timed.departed_ns - stamp_ns, lead_ns)
        return cls(
            timed=timed,
            events=events,
            lead_ns=lead_ns,
            lag_ns=now_ns - timed.arrived_ns,
            passive=passive,
            owned=events["owned"][chosen],
            now_after_call=kept_ns > called_ns,
        )

    @cached_property
    def opens(self) -> Booleans:
        """Of the values with the same stamp, the one whose segment left first."""
        sk, generation = (self.events[name][self.timed.event] for name in ("sk", "generation"))
        return _opening(sk, generation, (self.timed.departed_ns - self.lead_ns) // MICROSECOND_NS, self.lead_ns)

    def quiet_lead_ns(self, passing: Passing, rows: Places) -> Integers:
        """Return the longest gap within the lead of the values ``rows`` in which no packet passed any point."""
        departed_ns = self.timed.departed_ns[rows]
        return longest_gap(passing.time_ns, departed_ns - self.lead_ns[rows], departed_ns)

    def quiet_lag_ns(self, passing: Passing, rows: Places) -> Integers:
        """Return the same of the lag."""
        arrived_ns = self.timed.arrived_ns[rows]
        return longest_gap(passing.time_ns, arrived_ns, arrived_ns + self.lag_ns[rows])

    @property
    def at_once(self) -> Booleans:
        """Return the values of ACKs processed on arrival: no thread owned the socket, and it existed before."""
        at_once: Booleans = (self.owned == Owned.NO) & ~self.passive
        return at_once


def _opening(sk: Words, generation: Words, stamp_us: Integers, lead_ns: Integers) -> Booleans:
    """Return the value with the smallest lead of each stamp of each socket."""
    opens = np.zeros(len(sk), dtype=np.bool_)
    if not len(sk):
        return opens
    key = sk ^ (generation * _ODD[0]) ^ (stamp_us.astype(np.uint64) * _ODD[1])
    order = np.argsort(key, kind="stable")
    begins = np.flatnonzero(np.append(True, key[order[1:]] != key[order[:-1]]))
    least = np.minimum.reduceat(lead_ns[order], begins)
    opens[order] = lead_ns[order] == np.repeat(least, np.diff(np.append(begins, len(order))))
    return opens


def longest_gap(passing_ns: Integers, begin_ns: Integers, end_ns: Integers) -> Integers:
    """Return the longest gap between begin, the packets that pass strictly between, and end, for each row.

    ``passing_ns`` is sorted. A gap is at most the whole time. The result is negative where the end is before the begin.
    """
    first = np.searchsorted(passing_ns, begin_ns, side="right")
    beyond = np.searchsorted(passing_ns, end_ns, side="left")
    longest: Integers = end_ns - begin_ns
    broken = np.flatnonzero(first < beyond)
    if not len(broken):
        return longest
    first, last = first[broken], beyond[broken] - 1
    gap = np.maximum(passing_ns[first] - begin_ns[broken], end_ns[broken] - passing_ns[last])
    inner = last > first
    if inner.any():
        gaps = np.append(np.diff(passing_ns), 0)
        # reduceat also reduces from each row's end to the next row's begin: every second value is not used.
        stretches = np.maximum.reduceat(gaps, np.column_stack((first[inner], last[inner])).ravel())[::2]
        gap[inner] = np.maximum(gap[inner], stretches)
    longest[broken] = gap
    return longest
