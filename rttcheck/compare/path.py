"""Split each sample's round trip into stages.

The stages of a sample add up to it, to the nanosecond:

- ``sender``: from the segment's timestamp to its departure (`SampleOverhead.lead_ns`);
- ``link out``: from there to the far end's interface;
- ``receiver``: from there to the departure of the ACK;
- ``link back``: from there to the sender's interface;
- ``arrival``: from there to the sample (`SampleOverhead.lag_ns`).

Out and back are relative to the sample: for a sample of the server, out is the direction to the client.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.evidence import Evidence
from rttcheck.judge.pairing.scoreboard import NONE
from rttcheck.judge.pairing.transit import identities
from rttcheck.judge.pairing.wire_times import MICROSECOND_NS, Booleans, Integers, WireTimes
from rttcheck.judge.sample.overhead import SampleOverhead
from rttcheck.judge.samples import SampleSource
from rttcheck.record.packet import Point

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

STAGES: Final = ("sender", "link out", "receiver", "link back", "arrival")
"""In order of time."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Paths:
    """One row per sample in microseconds that has both packets; microseconds, NaN where a packet is missing."""

    side: npt.NDArray[np.uint8]
    """Side of the sample (`Side`)."""
    kind: npt.NDArray[np.uint8]
    """See `Kind`."""
    total_us: Floats
    stages_us: dict[str, Floats]
    """By the names of `STAGES`."""

    @classmethod
    def of(cls, evidence: Evidence, wire_times: WireTimes) -> Paths:
        """Return the stages of every sample of a recording; ``wire_times`` are the evidence's."""
        wire, account = evidence.recording.wire, wire_times.exact[0]
        own = SampleOverhead.of(account, evidence.events)
        pairs, event = wire_times.pairs, account.event
        sacked = (evidence.sources[event] == SampleSource.SACK) | (pairs.first[event] == NONE)
        segment = np.where(sacked, pairs.sack[event], pairs.first[event]).astype(np.intp)
        ack = pairs.ack[event].astype(np.intp)
        far = np.where(account.point == Point.CLIENT, Point.SERVER, Point.CLIENT)
        came_ns = np.full(len(event), np.nan)
        went_ns = np.full(len(event), np.nan)
        for point in (Point.CLIENT, Point.SERVER):
            here = np.flatnonzero(far == point)
            came_ns[here] = _first_after(wire, segment[here], point)
            went_ns[here] = _last_before(wire, ack[here], point)
        return cls(
            side=evidence.sides[event],
            kind=evidence.kinds[event],
            total_us=account.value_us.astype(np.float64),
            stages_us={
                "sender": own.lead_ns / MICROSECOND_NS,
                "link out": (came_ns - account.departed_ns) / MICROSECOND_NS,
                "receiver": (went_ns - came_ns) / MICROSECOND_NS,
                "link back": (account.arrived_ns - went_ns) / MICROSECOND_NS,
                "arrival": own.lag_ns / MICROSECOND_NS,
            },
        )

    def chosen(self, side: int, kind: int) -> Booleans:
        """Return which samples have this side and kind."""
        chosen: Booleans = (self.side == side) & (self.kind == kind)
        return chosen


def _first_after(wire: np.ndarray, sent: Rows, point: Point) -> Floats:
    """Return when each packet of ``sent`` arrived at ``point``: the first identical one after it was sent."""
    times, key, wanted = _keys(wire, sent, point, outgoing=0, side="left")
    at = np.searchsorted(key, wanted)
    there = at < len(key)
    there[there] = key[at[there]] >> 32 == wanted[there] >> 32
    return _times(times, key, at, there)


def _last_before(wire: np.ndarray, arrived: Rows, point: Point) -> Floats:
    """Return when each packet of ``arrived`` left ``point``: the last identical one before it arrived."""
    times, key, wanted = _keys(wire, arrived, point, outgoing=1, side="right")
    at = np.searchsorted(key, wanted) - 1
    there = at >= 0
    there[there] = key[at[there]] >> 32 == wanted[there] >> 32
    return _times(times, key, at, there)


def _keys(
    wire: np.ndarray, rows: Rows, point: Point, *, outgoing: int, side: str
) -> tuple[Integers, Integers, Integers]:
    """Return the times at ``point``, the keys of its packets in order, and the keys of ``rows`` among them.

    A key is a number for the packet's identity in its upper 32 bits, and its rank in time in the lower ones.
    """
    there = np.flatnonzero((wire["point"] == point) & (wire["outgoing"] == outgoing))
    there = there[np.argsort(wire["time_ns"][there], kind="stable")]
    times: Integers = wire["time_ns"][there].astype(np.int64)
    names = np.unique(identities(wire, np.concatenate((there, rows))), return_inverse=True)[1].astype(np.int64) << 32
    moment = np.searchsorted(times, wire["time_ns"][rows], side="left" if side == "left" else "right")
    return times, np.sort(names[: len(there)] + np.arange(len(there))), names[len(there) :] + moment


def _times(times: Integers, key: Integers, at: Rows, there: Booleans) -> Floats:
    found = np.full(len(at), np.nan)
    found[there] = times[key[at[there]] & 0xFFFF_FFFF]
    return found
