"""What kernel and machine add to a round trip at its two ends, sample by sample.

It owns the two parts of kernel minus wire, and how much of each other packets explain. What is too much it
does not know.

A sample is the kernel's "now" less the stamp of a segment (``tcp_stamp_us_delta()``). Both lie off the wire:

- the *lead*, from the stamp to the segment's departure: ``__tcp_transmit_skb()`` takes the time of the whole burst
  (``tcp_clock_cache``), before the segments ahead of it have left;
- the *lag*, from the ACK's arrival to ``tcp_mstamp_refresh()``: while a thread owns the socket, the ACK waits in its
  backlog (``tcp_v4_rcv()``, ``release_sock()``).

One processor does one thing at a time, and in virtual time there is one. What comes between a stamp and a departure is
another packet: the burst's own, or one that a timer or the link brought meanwhile. So not the whole time counts but its
longest *quiet spell*, in which no packet passed anywhere: that is the work on one packet, whatever else went on. Where
traffic is dense, spells are short and hide what a wrong stamp adds; so the leads of bursts are looked at as well, by
the first of each: what bears one stamp is one burst, and its first segment has none ahead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rttcheck.judge.pairing.stamps import UNKNOWN
from rttcheck.judge.pairing.wire_times import MICROSECOND_NS, Account, Booleans, Integers
from rttcheck.record.event import Owned

Words = npt.NDArray[np.uint64]

_ODD = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], dtype=np.uint64)
"""Odd numbers to multiply by, so that addresses and times spread over 64 bits."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overhead:
    """One row a value of an account, in nanoseconds."""

    lead_ns: Integers
    lag_ns: Integers
    quiet_lead_ns: Integers
    """The longest spell within the lead in which no packet passed any point."""
    quiet_lag_ns: Integers
    passive: Booleans
    """Samples of passive handshakes: their "now" is not kept (``tcp_synack_rtt_meas()``), the event's time stands for
    it, after the child socket was made; so that their lead is too small and their lag too large, by that work."""
    opens: Booleans
    """Of the values with one and the same stamp, the one whose segment left first."""
    owned: npt.NDArray[np.uint8]
    """See `Owned`."""
    ahead: Booleans
    """The kernel's "now" is later than the call in which it was used."""

    @classmethod
    def of(cls, account: Account, events: np.ndarray, passing: Integers, stamp_ns: Integers | None = None) -> Overhead:
        """Split every value of ``account``, rows of whose events are in ``events``; ``passing`` is of `passing_of`.

        ``stamp_ns`` are the stamps on the values' segments, `UNKNOWN` where none was read; then the value itself says
        when its segment was stamped.
        """
        # Column by column: whole rows would be copied for a few of their fields.
        chosen = account.event
        called_ns: Integers = events["timestamp_ns"][chosen].astype(np.int64)
        kept_ns: Integers = events["tcp_mstamp_us"][chosen].astype(np.int64) * MICROSECOND_NS
        passive = kept_ns == 0
        now_ns: Integers = np.where(passive, called_ns, kept_ns)
        lead_ns: Integers = account.value_us * MICROSECOND_NS - (now_ns - account.departed_ns)
        if stamp_ns is not None:
            lead_ns = np.where(stamp_ns != UNKNOWN, account.departed_ns - stamp_ns, lead_ns)
        return cls(
            lead_ns=lead_ns,
            lag_ns=now_ns - account.arrived_ns,
            quiet_lead_ns=longest_spell(passing, account.departed_ns - lead_ns, account.departed_ns),
            quiet_lag_ns=longest_spell(passing, account.arrived_ns, now_ns),
            passive=passive,
            opens=_opening(
                events["sk"][chosen],
                events["generation"][chosen],
                (account.departed_ns - lead_ns) // MICROSECOND_NS,
                lead_ns,
            ),
            owned=events["owned"][chosen],
            ahead=kept_ns > called_ns,
        )

    @property
    def at_once(self) -> Booleans:
        """Values of ACKs that were taken when they came: no thread owned the socket, which they belonged to already."""
        at_once: Booleans = (self.owned == Owned.NO) & ~self.passive
        return at_once


def passing_of(wire: np.ndarray) -> Integers:
    """When any packet passed any point, sorted: one processor carries both ends and the link."""
    passing: Integers = np.sort(wire["time_ns"])
    return passing


def _opening(sk: Words, generation: Words, stamp_us: Integers, lead_ns: Integers) -> Booleans:
    """The least lead of each stamp of each socket."""
    opens = np.zeros(len(sk), dtype=np.bool_)
    if not len(sk):
        return opens
    key = sk ^ (generation * _ODD[0]) ^ (stamp_us.astype(np.uint64) * _ODD[1])
    order = np.argsort(key, kind="stable")
    begins = np.flatnonzero(np.append(True, key[order[1:]] != key[order[:-1]]))
    least = np.minimum.reduceat(lead_ns[order], begins)
    opens[order] = lead_ns[order] == np.repeat(least, np.diff(np.append(begins, len(order))))
    return opens


def longest_spell(passing_ns: Integers, begin_ns: Integers, end_ns: Integers) -> Integers:
    """The longest time between neighbours among ``begin``, what passes strictly between the two, and ``end``.

    ``passing_ns`` is sorted; one row a pair of the others, which may be the wrong way round: then negative.
    """
    first = np.searchsorted(passing_ns, begin_ns, side="right")
    beyond = np.searchsorted(passing_ns, end_ns, side="left")
    longest: Integers = end_ns - begin_ns
    broken = np.flatnonzero(first < beyond)
    if not len(broken):
        return longest
    first, last = first[broken], beyond[broken] - 1
    spell = np.maximum(passing_ns[first] - begin_ns[broken], end_ns[broken] - passing_ns[last])
    inner = last > first
    if inner.any():
        gaps = np.append(np.diff(passing_ns), 0)
        # reduceat's odd places are the stretches between one pair's end and the next one's begin: not wanted.
        stretches = np.maximum.reduceat(gaps, np.column_stack((first[inner], last[inner])).ravel())[::2]
        spell[inner] = np.maximum(spell[inner], stretches)
    longest[broken] = spell
    return longest
