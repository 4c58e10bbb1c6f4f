"""Turn a recording into that of a narrower probe: fewer events, with fewer members."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rttcheck.judge.arithmetic.estimator import is_after
from rttcheck.judge.arithmetic.steps import Steps
from rttcheck.judge.samples import SampleSource, shown_us, sources
from rttcheck.record.event import FLAG_SYN_ACKED, Hook
from rttcheck.record.histogram import BUCKETS, Unit, buckets_of
from rttcheck.record.recording import Recording
from rttcheck.record.view import SOCKOPS, SOCKOPS_WITHOUT_ARGUMENTS, TRACEPOINT, View

_TIMES = {"first_rtt_us", "sack_rtt_us", "last_rtt_us", "rs_rtt_us", "sample_us"}


def once_a_round_trip(events: np.ndarray) -> np.ndarray:
    """Return the events at which ``tcp_rtt_estimator()`` calls back: each first sample, and those past ``rtt_seq``."""
    steps = Steps.of(events)
    before = events[np.maximum(steps.previous, 0)]
    ended = is_after(events["snd_una"].astype(np.int64), before["rtt_seq"].astype(np.int64))
    called: np.ndarray = events[steps.taken & ((steps.previous < 0) | ended | (before["srtt_us"] == 0))]
    return called


def hide(events: np.ndarray, view: View, hook: Hook) -> np.ndarray:
    """Return the events without the members that ``view`` does not see."""
    hidden = events.copy()
    for name in view.unseen:
        hidden[name] = events[name] & FLAG_SYN_ACKED if name == "flag" else -1 if name in _TIMES else 0
    hidden["hook"] = hook
    return hidden


def as_sockops(events: np.ndarray, view: View = SOCKOPS, *, thin: bool = True) -> np.ndarray:
    """Return what sockops would report of these calls; not ``thin``: as if each were a round trip of its own."""
    kept = once_a_round_trip(events) if thin else events
    shown = hide(kept, view, Hook.SOCKOPS)
    if view == SOCKOPS_WITHOUT_ARGUMENTS:  # RACK has no SYN-ACK
        shown["last_rtt_us"] = np.where(sources(kept) == SampleSource.FIRST, kept["last_rtt_us"], -1)
    return shown


def seen_by_sockops(recording: Recording, view: View = SOCKOPS, *, thin: bool = False) -> Recording:
    """Return the recording that sockops would make of the same run."""
    events = as_sockops(recording.events, view, thin=thin)
    values = shown_us(events)
    values = values[values >= 0]
    return replace(
        recording,
        probe="sockops",
        view=view,
        events=events,
        control=as_sockops(recording.control, view, thin=thin),
        histograms={unit.value: np.bincount(buckets_of(values, unit), minlength=BUCKETS) for unit in Unit},
    )


def seen_by_tracepoint(recording: Recording) -> Recording:
    """Return the recording that the tracepoint would make: states, no samples."""
    none = {unit: np.zeros(BUCKETS, np.uint64) for unit in ("us", "ms")}
    events, control = (hide(each, TRACEPOINT, Hook.TRACEPOINT) for each in (recording.events, recording.control))
    return replace(recording, probe="tracepoint", view=TRACEPOINT, events=events, control=control, histograms=none)
