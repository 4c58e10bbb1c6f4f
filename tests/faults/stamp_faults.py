"""Kernels that stamp segments at another time than they send them; samples, and all made of these, follow rightly.

TCP's timestamps are the same stamps in milliseconds, so that samples from timestamps follow as well. Those in the
packets' headers are left as they are: they say which packet is echoed, and not when it was sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from rttcheck.judge.findings import Layer
from rttcheck.judge.observation import addresses
from rttcheck.judge.pairing.scoreboard import NONE
from rttcheck.judge.pairing.stamps import UNKNOWN, stamps_of
from rttcheck.judge.pairing.wire_times import MICROSECOND_NS, WireTimes
from rttcheck.judge.samples import SampleSource, Side, connections_of, sources
from rttcheck.record.packet import FIN, SYN, Point
from rttcheck.record.recording import Recording
from tests.faults.fault import Fault, Plant
from tests.faults.kernel import Integers, Kernel
from tests.faults.sample_faults import ARGUMENTS, fed_from_arguments
from tests.faults.truth import KEYWORDS


def restamped(change: Callable[[np.ndarray], Integers]) -> Plant:
    """A kernel whose stamps (rows of dtype ``STAMP``) are ``change(stamps)``, and whose samples are taken from these.

    Packets that bear no stamp get none.
    """

    def plant(recording: Recording) -> Recording:
        stamps = recording.stamps.copy()
        stamps["stamp_ns"] = np.where(stamps["stamp_ns"] == UNKNOWN, UNKNOWN, change(recording.stamps))
        events, wire = recording.events.copy(), recording.wire
        true_us, planted_us = (stamps_of(wire, each) // MICROSECOND_NS for each in (recording.stamps, stamps))
        pairs = WireTimes.of(events, wire, recording.flows).pairs
        for name, segment in zip(ARGUMENTS, (pairs.first, pairs.sack, pairs.last), strict=True):
            rows = np.flatnonzero((events[name] >= 0) & (segment != NONE))
            events[name][rows] += (true_us - planted_us)[segment[rows]]
        coarse = np.flatnonzero((sources(events) == SampleSource.TSECR) & (pairs.echoed != NONE))
        later_ms = (true_us // 1_000 - planted_us // 1_000)[pairs.echoed[coarse]]
        for name in ("sample_us", "rs_rtt_us"):
            events[name][coarse] += later_ms * 1_000
        return replace(Kernel().relive(recording, fed_from_arguments(events)), stamps=stamps)

    return plant


def _early(by_us: int, *, one_in: int = 1) -> Callable[[np.ndarray], Integers]:
    def change(stamps: np.ndarray) -> Integers:
        # A pure ACK's stamp is nobody's sample.
        segment = (stamps["payload"] > 0) | ((stamps["flags"] & (SYN | FIN)) != 0)
        chosen = segment & (np.cumsum(segment) % one_in == 0)
        earlier: Integers = stamps["stamp_ns"] - chosen * by_us * MICROSECOND_NS
        return earlier

    return change


def _clock_ahead(recording: Recording) -> Recording:
    """TCP reads a clock that is ahead whenever it takes an ACK or stamps a segment: samples are what they were."""
    events, stamps = recording.events.copy(), recording.stamps.copy()
    events["tcp_mstamp_us"][events["tcp_mstamp_us"] > 0] += _AHEAD_US
    stamps["stamp_ns"][stamps["stamp_ns"] != UNKNOWN] += _AHEAD_US * MICROSECOND_NS
    return replace(Kernel().relive(recording, events), stamps=stamps)


def _now_ahead(recording: Recording) -> Recording:
    """TCP reads a clock that is ahead whenever it takes an ACK, and none such when it stamps a segment."""
    events = recording.events.copy()
    events["tcp_mstamp_us"][events["tcp_mstamp_us"] > 0] += _AHEAD_US
    for name in ARGUMENTS:
        events[name][events[name] >= 0] += _AHEAD_US
    return Kernel().relive(recording, fed_from_arguments(events))


def _of_the_neighbour(recording: Recording) -> Recording:
    """Each time counts from the stamp of the segment that the socket sent before the right one, where there is one."""
    events, wire = recording.events.copy(), recording.wire
    stamp_us = stamps_of(wire, recording.stamps) // MICROSECOND_NS
    pairs = WireTimes.of(events, wire, recording.flows).pairs
    sides = connections_of(events, addresses(recording.flows))[1]
    for side, point in ((Side.CLIENT, Point.CLIENT), (Side.SERVER, Point.SERVER)):
        left = np.flatnonzero((wire["point"] == point) & (wire["outgoing"] != 0) & (wire["payload"] > 0))
        before = dict(zip(left[1:].tolist(), left[:-1].tolist(), strict=True))
        for name, segment in zip(ARGUMENTS, (pairs.first, pairs.sack, pairs.last), strict=True):
            for event in np.flatnonzero((sides == side) & (events[name] >= 0)).tolist():
                row = int(segment[event])
                events[name][event] += stamp_us[row] - stamp_us[before[row]] if row in before else 0
    return Kernel().relive(recording, fed_from_arguments(events))


_AHEAD_US: Final = 150


def _fault(name: str, what: str, plant: Plant, *, says: str = "") -> Fault:
    return Fault(name=name, layer=Layer.SAMPLE, what=what, scenarios=tuple(KEYWORDS), apply=plant, says=says)


FAULTS: Final = (
    _fault("stamps 20 us early", "every segment is stamped 20 us before it is sent", restamped(_early(20)),
           says="from before the application's write"),
    _fault("stamps 200 us early", "every segment is stamped 200 us before it is sent", restamped(_early(200)),
           says="from before the application's write"),
    _fault("one stamp in ten 200 us early", "every tenth segment is stamped 200 us before it is sent",
           restamped(_early(200, one_in=10)), says="which made TCP send them"),
    _fault("TCP's now 150 us ahead", "tcp_mstamp is 150 us ahead when an ACK is taken, and stamps are not", _now_ahead,
           says="the stamp gives"),
    _fault("TCP's clock 150 us ahead", "tcp_mstamp is 150 us ahead, and so are stamps: samples are right", _clock_ahead,
           says="the stamp gives"),
    _fault("samples from the wrong segment", "a time counts from the stamp of the segment that was sent before",
           _of_the_neighbour, says="the stamp gives"),
)  # fmt: skip
