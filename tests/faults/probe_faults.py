"""Probes that show what the kernel did not have: the kernel is right, and so are its packets, state and TCP_INFO."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from rttcheck.judge.findings import Layer
from rttcheck.record.recording import Recording
from tests.faults.fault import Fault, Plant
from tests.faults.kernel import tables_of
from tests.faults.sample_faults import ARGUMENTS, fed_from_arguments

_TIMES: Final = (*ARGUMENTS, "sample_us", "rs_rtt_us")
_MILLISECOND_US: Final = 1_000


def _seen(recording: Recording, events: np.ndarray) -> Recording:
    """The probe's program counts what it has read, so that its tables go with its events."""
    return replace(recording, events=events, histograms=tables_of(events))


def _in_another_unit(up: int, down: int) -> Plant:
    def plant(recording: Recording) -> Recording:
        events = recording.events.copy()
        for name in _TIMES:
            told = events[name] >= 0
            events[name][told] = events[name][told] * up // down
        return _seen(recording, events)

    return plant


def _swapped(recording: Recording) -> Recording:
    events = recording.events.copy()
    events["first_rtt_us"], events["last_rtt_us"] = recording.events["last_rtt_us"], recording.events["first_rtt_us"]
    return _seen(recording, _fed(events))


def _shifted_up(recording: Recording) -> Recording:
    """Every argument is read from the register after its own; the last one from that of nothing."""
    before, events = recording.events, recording.events.copy()
    events["flag"] = before["first_rtt_us"].astype(np.int32)
    events["first_rtt_us"], events["sack_rtt_us"] = before["sack_rtt_us"], before["last_rtt_us"]
    # The rate sample lies on the kernel's stack: as a number such an address is far below zero.
    events["last_rtt_us"] = -0x3FFF_FFF8_4000 - before["sk"].astype(np.int64) % 4096
    events["rs_rtt_us"] = 0
    return _seen(recording, _fed(events))


def _shifted_down(recording: Recording) -> Recording:
    """As nettrace would if it forgot the flags: the times are read one register too early, the rate sample is not."""
    before, events = recording.events, recording.events.copy()
    events["first_rtt_us"] = before["flag"]
    events["sack_rtt_us"], events["last_rtt_us"] = before["first_rtt_us"], before["sack_rtt_us"]
    return _seen(recording, _fed(events))


def _fed(events: np.ndarray) -> np.ndarray:
    """The probe tells the sample from the arguments that it believes to have read; the rate sample it reads apart."""
    rs = events["rs_rtt_us"].copy()
    events = fed_from_arguments(events)
    events["rs_rtt_us"] = rs
    return events


def _lost(*, counted: bool) -> Plant:
    """One event in twenty never arrives and nobody says so; it was ``counted`` in the tables or not."""

    def plant(recording: Recording) -> Recording:
        kept = recording.events[np.arange(len(recording.events)) % 20 != 11]
        return replace(recording, events=kept) if counted else _seen(recording, kept)

    return plant


def _doubled(recording: Recording) -> Recording:
    """One event in twenty arrives twice."""
    twice = np.flatnonzero(np.arange(len(recording.events)) % 20 == 11)
    return replace(recording, events=np.insert(recording.events, twice + 1, recording.events[twice]))


def _without_bytes_in_order(recording: Recording) -> Recording:
    events = recording.events.copy()
    events["dport"] = events["dport"].byteswap()
    return replace(recording, events=events)


def _always_taken(recording: Recording) -> Recording:
    events = recording.events.copy()
    rows = events["taken"] == 0
    events["taken"][rows] = 1
    events["sample_us"][rows] = events["rs_rtt_us"][rows]
    return replace(recording, events=events)


def _srtt_without_scale(recording: Recording) -> Recording:
    events = recording.events.copy()
    events["srtt_us"] >>= 3
    return replace(recording, events=events)


def _minimum_in_milliseconds(recording: Recording) -> Recording:
    events = recording.events.copy()
    events["min_rtt"]["v"] //= _MILLISECOND_US
    return replace(recording, events=events)


def _fault(name: str, what: str, plant: Plant, *scenarios: str, says: str = "") -> Fault:
    return Fault(name=name, layer=Layer.OBSERVER, what=what, scenarios=scenarios, apply=plant, says=says)


FAULTS: Final = (
    _fault("unit x1000", "times are shown in nanoseconds under the name of microseconds", _in_another_unit(1_000, 1),
           "ping-pong", "loss"),
    _fault("unit /1000", "times are shown in milliseconds under the name of microseconds", _in_another_unit(1, 1_000),
           "ping-pong", "loss"),
    _fault("first and last swapped in the probe", "seq_rtt_us is read where ca_rtt_us is, and the reverse", _swapped,
           "jitter", "loss"),
    _fault("arguments shifted by one", "each argument is read from the register after its own", _shifted_up,
           "ping-pong", "loss"),
    _fault("times shifted by one", "each time is read from the register before its own: the first are the flags",
           _shifted_down, "ping-pong", "loss"),
    _fault("return value not read", "every call counts as one that took a sample", _always_taken, "jitter"),
    _fault("port's bytes not in order", "the peer's port is shown in network byte order", _without_bytes_in_order,
           "ping-pong"),
    _fault("srtt without its scale", "srtt_us is shown shifted, as TCP_INFO has it", _srtt_without_scale, "ping-pong"),
    _fault("min_rtt in milliseconds", "the minimum's candidates are shown in milliseconds", _minimum_in_milliseconds,
           "ping-pong", "loss"),
    _fault("events lost silently", "one event in twenty is lost after it was counted, and the loss is not",
           _lost(counted=True), "ping-pong", "loss"),
    _fault("calls not seen", "one call in twenty is neither counted nor shown, and the loss not told",
           _lost(counted=False), "ping-pong", "loss"),
    _fault("events doubled", "one event in twenty is handed over twice", _doubled, "ping-pong", "loss"),
)  # fmt: skip
