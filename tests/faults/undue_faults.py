"""Kernels that take a sample where none is due; what they make of it follows rightly from there."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.arithmetic.steps import Steps
from rttcheck.judge.findings import Layer
from rttcheck.judge.observation import addresses
from rttcheck.judge.samples import Side, connections_of
from rttcheck.record.event import FLAG_DATA_ACKED, FLAG_RETRANS_DATA_ACKED, FLAG_SYN_ACKED
from rttcheck.record.packet import FIN, Point
from rttcheck.record.recording import Recording
from tests.faults.fault import Fault, Plant
from tests.faults.kernel import Kernel
from tests.faults.missing_faults import middle

_STAMPED_EARLIER_US: Final = 3
"""A segment is stamped so long before it passes the sender's interface, in a guest in virtual time."""


def _taken_again(recording: Recording) -> Recording:
    """The ACK of a sample in the middle, and the same once more when the next packet with its number has come."""
    events = recording.events
    at = middle(recording)
    again = events[at : at + 1].copy()
    again["timestamp_ns"] += 20_000
    again["flag"] &= ~FLAG_DATA_ACKED
    place = int(np.searchsorted(events["timestamp_ns"], again["timestamp_ns"][0]))
    return Kernel().relive(recording, np.insert(events, place, again))


def _of_acks_in_vain(recording: Recording) -> Recording:
    """Calls that acknowledge nothing: they take the time of the segment that is still out, which was sent first."""
    events = recording.events.copy()
    rows = np.flatnonzero(events["taken"] == 0)
    _measured(recording, events, rows)
    return Kernel().relive(recording, events)


def _karn_ignored(recording: Recording) -> Recording:
    """Where what was retransmitted is acknowledged, the time since it was sent last is taken for a sample."""
    events = recording.events.copy()
    of_data = (events["flag"] & (FLAG_RETRANS_DATA_ACKED | FLAG_SYN_ACKED)) == FLAG_RETRANS_DATA_ACKED
    rows = np.flatnonzero(of_data & (events["first_rtt_us"] < 0))
    _measured(recording, events, rows, acknowledged=True)
    return Kernel().relive(recording, events)


def _measured(
    recording: Recording, events: np.ndarray, rows: npt.NDArray[np.intp], *, acknowledged: bool = False
) -> None:
    """Give calls the time since the lowest segment was sent last: that which is still out, or ``acknowledged`` now."""
    previous = Steps.of(events).previous
    sides = connections_of(events, addresses(recording.flows))[1]
    for row in rows.tolist():
        una = events["snd_una"][previous[row] if acknowledged else row]
        now_us = int(events["tcp_mstamp_us"][row])
        point = Point.CLIENT if sides[row] == Side.CLIENT else Point.SERVER
        wire = recording.wire[(recording.wire["point"] == point) & (recording.wire["outgoing"] != 0)]
        holds = (wire["payload"] > 0) | ((wire["flags"] & FIN) != 0)
        sent = wire[(wire["seq"] == una) & holds & (wire["time_ns"] < now_us * 1_000)]
        sample_us = now_us - int(sent["time_ns"].max()) // 1_000 + _STAMPED_EARLIER_US
        for name in ("first_rtt_us", "last_rtt_us", "sample_us", "rs_rtt_us"):
            events[name][row] = sample_us
        events["taken"][row] = 1


def _fault(name: str, what: str, plant: Plant, *scenarios: str) -> Fault:
    return Fault(name=name, layer=Layer.ELIGIBILITY, what=what, scenarios=scenarios, apply=plant)


FAULTS: Final = (
    _fault("Karn ignored", "an ACK of what was retransmitted gives the time since it was sent last", _karn_ignored,
           "loss"),
    _fault("sample invented", "an ACK that comes a second time gives its sample a second time", _taken_again,
           "ping-pong", "loss"),
    _fault("samples of ACKs in vain", "ACKs that acknowledge nothing give the time of the oldest segment",
           _of_acks_in_vain, "jitter"),
)  # fmt: skip
