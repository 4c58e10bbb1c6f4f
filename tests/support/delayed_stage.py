"""Recordings in which one stage of every sample of the client's takes longer: time itself is stretched there."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from rttcheck.compare.path import STAGES
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.sample.overhead import SampleOverhead
from rttcheck.judge.samples import Kind, Side
from rttcheck.record.packet import Point
from rttcheck.record.recording import Recording

Integers = npt.NDArray[np.int64]


def with_longer(stage: str, recording: Recording, by_us: int) -> Recording:
    """The recording as it would be if ``stage`` of each of the client's data samples took ``by_us`` more.

    The traffic must be an exchange at a time. All that happens later happens later by so much.
    """
    moments = np.sort(_moments(stage, recording))

    def later(times_ns: npt.NDArray[np.generic]) -> Integers:
        times = times_ns.astype(np.int64)
        stretched: Integers = times + 1_000 * by_us * np.searchsorted(moments, times, side="left")
        return stretched

    events, wire = recording.events.copy(), recording.wire.copy()
    wire["time_ns"] = later(recording.wire["time_ns"])
    events["timestamp_ns"] = later(recording.events["timestamp_ns"])
    told_us = recording.events["tcp_mstamp_us"].astype(np.int64)
    # A passive handshake's now is not kept.
    now_us = np.where(told_us == 0, recording.events["timestamp_ns"].astype(np.int64) // 1_000, told_us)
    new_us = later(now_us * 1_000) // 1_000
    events["tcp_mstamp_us"] = np.where(told_us == 0, 0, new_us)
    for name in ("first_rtt_us", "last_rtt_us", "rs_rtt_us", "sample_us"):
        value = recording.events[name]
        longer = new_us - later((now_us - value) * 1_000) // 1_000
        events[name] = np.where(value >= 0, longer, value)
    return dataclasses.replace(recording, events=events, wire=wire)


def _moments(stage: str, recording: Recording) -> Integers:
    """A moment within the stage of each sample."""
    evidence = Evidence.of(recording)
    assert evidence.wire_times is not None
    account = evidence.wire_times.exact[0]
    own = SampleOverhead.of(account, evidence.events)
    chosen = (evidence.sides[account.event] == Side.CLIENT) & (evidence.kinds[account.event] == Kind.DATA)
    wire = recording.wire
    at_server, data = wire["point"] == Point.SERVER, wire["payload"] > 0
    server = np.sort(wire["time_ns"][at_server & data & (wire["outgoing"] == 0)])
    answers = np.sort(wire["time_ns"][at_server & ~data & (wire["outgoing"] == 1)])
    left, came = account.departed_ns[chosen], account.arrived_ns[chosen]
    arrived = server[np.searchsorted(server, left)]
    answered = answers[np.searchsorted(answers, arrived, side="right")]
    ends = (left - own.lead_ns[chosen], left, arrived, answered, came, came + own.lag_ns[chosen])
    begin, end = dict(zip(STAGES, pairwise(ends), strict=True))[stage]
    middle: Integers = (begin + end) // 2
    return middle
