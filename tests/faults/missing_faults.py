"""Kernels that take no sample where one is due; what they make of the others follows rightly."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.findings import Layer
from rttcheck.judge.observation import addresses
from rttcheck.judge.samples import Kind, SampleSource, Side, classify, connections_of, sources
from rttcheck.record.event import FLAG_SYN_ACKED
from rttcheck.record.recording import Recording
from tests.faults.fault import Fault, Plant
from tests.faults.kernel import Kernel

_ARGUMENTS: Final = ("first_rtt_us", "sack_rtt_us", "last_rtt_us")


def _untaken(events: np.ndarray, rows: npt.NDArray[np.bool_]) -> None:
    """Calls that find no segment to measure: no argument, no sample."""
    for name in (*_ARGUMENTS, "sample_us", "rs_rtt_us"):
        events[name][rows] = -1
    events["taken"][rows] = 0


def _without(source: SampleSource) -> Plant:
    def plant(recording: Recording) -> Recording:
        events = recording.events.copy()
        _untaken(events, sources(events) == source)
        return Kernel().relive(recording, events)

    return plant


def middle(recording: Recording) -> int:
    """A data sample in the middle of the run, of an ACK of new data and from the clock."""
    events = recording.events
    rows = np.flatnonzero((classify(events) == Kind.DATA) & (sources(events) == SampleSource.FIRST))
    return int(rows[len(rows) // 2])


def _dropped(recording: Recording) -> Recording:
    events = recording.events.copy()
    _untaken(events, np.arange(len(events)) == middle(recording))
    return Kernel().relive(recording, events)


def _never_called(recording: Recording) -> Recording:
    return Kernel().relive(recording, np.delete(recording.events, middle(recording)))


def _one_in_three(recording: Recording) -> Recording:
    events = recording.events.copy()
    data = np.flatnonzero((classify(events) == Kind.DATA) & (sources(events) == SampleSource.FIRST))
    _untaken(events, np.isin(np.arange(len(events)), data[::3]))
    return Kernel().relive(recording, events)


def _without_passive_handshake(recording: Recording) -> Recording:
    events = recording.events
    side = connections_of(events, addresses(recording.flows))[1]
    return Kernel().relive(recording, events[((events["flag"] & FLAG_SYN_ACKED) == 0) | (side != Side.SERVER)])


def _fault(name: str, what: str, plant: Plant, *scenarios: str) -> Fault:
    return Fault(name=name, layer=Layer.ELIGIBILITY, what=what, scenarios=scenarios, apply=plant)


FAULTS: Final = (
    _fault("sample dropped", "one call in the middle finds no segment to measure", _dropped, "ping-pong", "loss"),
    _fault("call dropped", "for one ACK in the middle tcp_ack_update_rtt() is not called", _never_called,
           "ping-pong", "loss"),
    _fault("one sample in three missing", "every third ACK of new data gives no sample", _one_in_three,
           "ping-pong", "jitter"),
    _fault("SACK gives no sample", "sack_rtt_us is not made use of", _without(SampleSource.SACK), "loss"),
    _fault("timestamps give no sample", "the fallback to the echoed timestamp is not taken",
           _without(SampleSource.TSECR), "loss"),
    _fault("no sample of a passive handshake", "tcp_synack_rtt_meas() is not called", _without_passive_handshake,
           "ping-pong"),
)  # fmt: skip
