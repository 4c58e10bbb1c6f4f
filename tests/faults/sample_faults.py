"""Kernels that measure another time than the one that passed; all that follows from their samples follows rightly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.findings import Layer
from rttcheck.judge.observation import addresses
from rttcheck.judge.samples import SampleSource, Side, connections_of, sources
from rttcheck.record.recording import Recording
from tests.faults.fault import Fault, Plant
from tests.faults.kernel import Integers, Kernel
from tests.faults.truth import KEYWORDS

Booleans = npt.NDArray[np.bool_]

ARGUMENTS: Final = ("first_rtt_us", "sack_rtt_us", "last_rtt_us")
_JIFFY_US: Final = 4_000


def resampled(
    change: Callable[[Integers], Integers],
    *,
    chosen: Callable[[Recording], Booleans] | None = None,
    only: tuple[str, ...] = ARGUMENTS,
) -> Plant:
    """A kernel in which the times from stamps, those of ``only``, are ``change(times)`` in the ``chosen`` calls."""

    def plant(recording: Recording) -> Recording:
        events = recording.events.copy()
        rows = np.ones(len(events), dtype=np.bool_) if chosen is None else chosen(recording)
        for name in only:
            told = rows & (events[name] >= 0)
            events[name][told] = change(events[name][told])
        return Kernel().relive(recording, fed_from_arguments(events))

    return plant


def fed_from_arguments(events: np.ndarray) -> np.ndarray:
    """What the estimator and the rate sample are given when the arguments are these; timestamps' samples stay.

    Source: ``tcp_ack_update_rtt()``: the first-acked time, else the SACKed one.
    """
    source = sources(events)
    for origin, name in ((SampleSource.FIRST, "first_rtt_us"), (SampleSource.SACK, "sack_rtt_us")):
        rows = source == origin
        events["sample_us"][rows] = events[name][rows]
        events["rs_rtt_us"][rows] = events["last_rtt_us"][rows]
    return events


def _of(side: Side) -> Callable[[Recording], Booleans]:
    def chosen(recording: Recording) -> Booleans:
        found: Booleans = connections_of(recording.events, addresses(recording.flows))[1] == side
        return found

    return chosen


def _every(number: int) -> Callable[[Recording], Booleans]:
    def chosen(recording: Recording) -> Booleans:
        found: Booleans = np.arange(len(recording.events)) % number == number - 1
        return found

    return chosen


def _swapped(recording: Recording) -> Recording:
    events = recording.events.copy()
    both = (events["first_rtt_us"] >= 0) & (events["sack_rtt_us"] < 0)
    first = events["first_rtt_us"][both]
    events["first_rtt_us"][both] = events["last_rtt_us"][both]
    events["last_rtt_us"][both] = first
    return Kernel().relive(recording, fed_from_arguments(events))


def _of_timestamps(change: Callable[[Integers], Integers]) -> Plant:
    """A kernel in which samples from timestamps, and they alone, are ``change(times)``."""

    def plant(recording: Recording) -> Recording:
        events = recording.events.copy()
        coarse = sources(events) == SampleSource.TSECR
        for name in ("sample_us", "rs_rtt_us"):
            events[name][coarse] = change(events[name][coarse])
        return Kernel().relive(recording, events)

    return plant


def _now_too_early(recording: Recording) -> Recording:
    events = recording.events.copy()
    kept = events["tcp_mstamp_us"] > 0
    events["tcp_mstamp_us"][kept] -= 50
    for name in ARGUMENTS:
        told = kept & (events[name] >= 0)
        events[name][told] -= 50
    return Kernel().relive(recording, fed_from_arguments(events))


def _longer(by_us: int, words: str) -> Fault:
    return Fault(
        name=f"samples {words} too long",
        layer=Layer.SAMPLE,
        what=f"every time from a stamp is {words} too long, with delay and without",
        scenarios=tuple(KEYWORDS),
        apply=resampled(lambda us: us + by_us),
        says=f"us, the kernel is {by_us} us above it; the median is {by_us} us above it",
    )


FAULTS: Final = (
    *(
        _longer(by_us, words)
        for by_us, words in (
            (5, "5 us"),
            (20, "20 us"),
            (200, "200 us"),
            (1_000, "1 ms"),
            (20_000, "20 ms"),
            (100_000, "100 ms"),
        )
    ),
    Fault(
        name="samples 1 % too long",
        layer=Layer.SAMPLE,
        what="every time from a stamp is a hundredth too long, which adds nothing without delay",
        scenarios=tuple(KEYWORDS),
        apply=resampled(lambda us: us + us // 100),
        says="the stamp gives",
    ),
    Fault(
        name="first-acked too long",
        layer=Layer.SAMPLE,
        what="seq_rtt_us, and it alone, is 20 us too long",
        scenarios=tuple(KEYWORDS),
        apply=resampled(lambda us: us + 20, only=("first_rtt_us",)),
        says="the stamp gives",
    ),
    Fault(
        name="timestamp samples halved",
        layer=Layer.SAMPLE,
        what="samples from timestamps, and they alone, are half as long",
        scenarios=("jitter", "loss"),
        apply=_of_timestamps(lambda us: us // 2),
    ),
    Fault(
        name="now out of date",
        layer=Layer.SAMPLE,
        what="an ACK is taken at the time of 50 us before",
        # Among ACKs of one number, as with loss, another than the right one fits such a time: eligibility comes first.
        scenarios=("ping-pong",),
        apply=_now_too_early,
    ),
    Fault(
        name="one end's samples 200 us too long",
        layer=Layer.SAMPLE,
        what="the server's samples, and they alone, are 200 us too long",
        scenarios=("ping-pong", "edge"),
        apply=resampled(lambda us: us + 200, chosen=_of(Side.SERVER)),
    ),
    Fault(
        name="samples 50 us too short",
        layer=Layer.SAMPLE,
        what="every sample is 50 us too short",
        scenarios=("ping-pong", "loss"),
        apply=resampled(lambda us: us - 50),
    ),
    Fault(
        name="one sample in ten 1 ms too long",
        layer=Layer.SAMPLE,
        what="in every tenth call the times are 1 ms too long",
        scenarios=("ping-pong", "jitter"),
        apply=resampled(lambda us: us + 1_000, chosen=_every(10)),
    ),
    Fault(
        name="milliseconds truncation",
        layer=Layer.SAMPLE,
        what="times are cut to whole milliseconds before they are handed over",
        scenarios=("ping-pong", "loss"),
        apply=resampled(lambda us: us - us % 1_000),
    ),
    Fault(
        name="samples counted in jiffies",
        layer=Layer.SAMPLE,
        what="times are rounded up to whole jiffies",
        scenarios=("ping-pong", "jitter"),
        apply=resampled(lambda us: us + -us % _JIFFY_US),
    ),
    Fault(
        name="clock 0.5 % fast",
        layer=Layer.SAMPLE,
        what="the clock that stamps are taken from gains 5 ms a second",
        scenarios=("ping-pong", "loss"),
        apply=resampled(lambda us: us + us // 200),
    ),
    Fault(
        name="SACK times cut to milliseconds",
        layer=Layer.SAMPLE,
        what="sack_rtt_us, and it alone, is cut to whole milliseconds",
        scenarios=("loss",),
        apply=resampled(lambda us: us - us % 1_000, only=("sack_rtt_us",)),
    ),
    Fault(
        name="timestamps a jiffy late",
        layer=Layer.SAMPLE,
        what="samples from timestamps are one jiffy too long",
        scenarios=("jitter", "loss"),
        apply=_of_timestamps(lambda us: us + _JIFFY_US),
    ),
    Fault(
        name="first and last swapped in the kernel",
        layer=Layer.SAMPLE,
        what="tcp_clean_rtx_queue() hands over seq_rtt_us and ca_rtt_us the wrong way round",
        scenarios=("jitter", "loss"),
        apply=_swapped,
    ),
)
