"""Programs in the kernel that count wrongly: every event is right, and the tables of the same calls are not."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from rttcheck.judge.findings import Layer
from rttcheck.record.histogram import BUCKETS, LAST_BUCKET, Histogram, Unit
from rttcheck.record.recording import Recording
from tests.faults.fault import Fault, Plant


def _table(unit: Unit, change: str) -> Plant:
    """The program's own table of ``unit`` comes out otherwise; the other one and the events are right."""

    def plant(recording: Recording) -> Recording:
        values = recording.events["first_rtt_us"]
        values = values[values >= 0]
        counts = recording.histograms[unit.value].copy()
        match change:
            case "edge":
                # bucket_of(value - 1): what is 2**n goes to the bucket that ends at 2**n - 1.
                below = np.maximum(values // unit.microseconds - 1, 0) * unit.microseconds
                counts = np.array(Histogram.of(below, unit).counts, dtype=np.uint64)
            case "lost overflow":
                counts[LAST_BUCKET] = 0
            case "merged overflow":
                counts[LAST_BUCKET - 1] += counts[LAST_BUCKET]
                counts[LAST_BUCKET] = 0
            case "last":
                last = recording.events["last_rtt_us"]
                counts = np.array(Histogram.of(last[last >= 0], unit).counts, dtype=np.uint64)
            case "racing":
                # (*count)++ on two processors at once.
                counts[int(counts.argmax())] -= np.uint64(1)
            case "other unit":
                counts = recording.histograms[Unit.US.value if unit is Unit.MS else Unit.MS.value].copy()
        assert len(counts) == BUCKETS
        return replace(recording, histograms={**recording.histograms, unit.value: counts})

    return plant


def _fault(name: str, what: str, plant: Plant, *scenarios: str, says: str) -> Fault:
    return Fault(name=name, layer=Layer.OBSERVER, what=what, scenarios=scenarios, apply=plant, says=says)


FAULTS: Final = (
    _fault("bucket edge off by one", "a value of 2**n is counted with those below it", _table(Unit.MS, "edge"), "edge",
           says="kernel-side table in ms"),
    _fault("overflow bucket lost", "what is beyond the last bucket is not counted", _table(Unit.US, "lost overflow"),
           "edge", says="kernel-side table in us"),
    _fault("overflow bucket merged", "the table has 16 buckets: what is beyond goes to the last but one",
           _table(Unit.US, "merged overflow"), "edge", says="kernel-side table in us"),
    _fault("microseconds named milliseconds", "the table in ms counts microseconds, as nettrace 1.2.11 does",
           _table(Unit.MS, "other unit"), "ping-pong", "edge", says="it counts us under the name of ms"),
    _fault("last-acked counted", "the table in us counts ca_rtt_us and not seq_rtt_us", _table(Unit.US, "last"),
           "jitter", says="kernel-side table in us"),
    _fault("count lost to a race", "two processors add to one bucket at once and one of them is forgotten",
           _table(Unit.MS, "racing"), "ping-pong", "loss", says="kernel-side table in ms"),
)  # fmt: skip
