"""Measure one recording for a comparison: a value for each distribution, counts, outcomes of checks, settings.

On a random link only what the kernel adds is measured: its random delays are not the kernel's.

The run is the unit: samples of one run share the state of their kernel, runs do not. So each distribution is reduced to
one value per run (its median, or its 90th percentile) with its standard error from the number of samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from rttcheck.compare.path import STAGES, Floats, Paths
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Outcome
from rttcheck.judge.samples import Kind, SampleSource, Side
from rttcheck.judge.verdict import judge
from rttcheck.record.recording import Recording
from rttcheck.scenario.model import Scenario
from rttcheck_netns.netem import Netem

TOTAL: Final = "round trip"
ADDED: Final = "kernel minus wire"
MEDIAN: Final = "median"
TAIL: Final = "90th percentile"

_SHARES: Final = {MEDIAN: 0.5, TAIL: 0.9}

TAIL_SAMPLES: Final = 20
"""With this many samples two are above the 90th percentile, so that no single late sample decides it."""

_BURSTS: Final = ("bulk", "oneway")
"""Kinds of traffic that write without waiting, so that segments and ACKs form bursts."""

_SHARED_WITH_A_BURST: Final = frozenset({TOTAL, "link out", "receiver", "link back"})
"""Stages at which a packet waits for earlier ones of its burst. For the slowest tenth their number varies from run to
run (medians repeat), so that tails of these stages are not compared."""

_SIDES: Final = {Side.CLIENT: "client", Side.SERVER: "server"}
_KINDS: Final = {Kind.DATA: "data", Kind.HANDSHAKE: "handshake"}
_SOURCES: Final = {
    SampleSource.FIRST: "from first-acked",
    SampleSource.SACK: "from SACK",
    SampleSource.TSECR: "from timestamps",
    SampleSource.UNKNOWN: "from an unknown source",
}


@dataclass(frozen=True, slots=True, order=True)
class DistributionName:
    """Identifies a distribution: side, kind of sample, part of the round trip, and quantile."""

    side: str
    kind: str
    part: str
    """`TOTAL`, `ADDED`, one of `STAGES`, or ``min_rtt``."""
    figure: str = MEDIAN

    def __str__(self) -> str:
        return f"{self.side}'s {self.kind}: {self.part}" + (f", {self.figure}" if self.figure != MEDIAN else "")


@dataclass(frozen=True, slots=True)
class Figure:
    """One run's value of a distribution, microseconds."""

    value_us: float
    off_us: float
    """Its standard error from the run's own samples; NaN where they are too few."""
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRun:
    """The measured values of a recording."""

    scenario: str
    kernel: str
    clock: str
    random: bool
    """Whether the link treats packets randomly."""
    settings: Mapping[str, str]
    """Settings that must be equal for a valid comparison."""
    figures: Mapping[DistributionName, Figure]
    counts: Mapping[str, int]
    """Empty where the link or the clock makes them random."""
    outcomes: Mapping[str, Outcome]
    """Of each check that was run."""
    reasons: Mapping[str, str]
    """The message of each check."""
    titles: Mapping[str, str]
    """Each check's title, for people."""
    verdict: Outcome
    """Of the whole run, judged by itself: against its packets and the injected latency, not against other runs."""
    reason: str
    """Title and message of the check that decided the verdict; empty where the run passed."""

    @classmethod
    def of(cls, recording: Recording) -> MeasuredRun:
        """Judge and measure a recording. Raises ScenarioError when this version does not know its scenario."""
        evidence = Evidence.of(recording)
        verdict = judge(recording)
        ran = {finding.key: finding for finding in verdict.findings if not finding.blind}
        random = is_random(evidence.scenario)
        why = verdict.reason
        return cls(
            scenario=evidence.scenario.name,
            kernel=recording.kernel,
            clock=recording.clock,
            random=random,
            settings=_settings(recording),
            figures=dict(_figures(evidence, random=random)),
            counts={} if random or recording.clock != "virtual" else dict(_counts(evidence)),
            outcomes={check: finding.outcome for check, finding in ran.items()},
            reasons={check: finding.message for check, finding in ran.items()},
            titles={check: finding.heading for check, finding in ran.items()},
            verdict=verdict.outcome,
            reason=f"{why.heading}: {why.message}" if why is not None else "",
        )


def is_random(scenario: Scenario) -> bool:
    """Return whether any link of the scenario treats packets randomly."""
    return any(_draws(netem) for link in scenario.links for netem in link)


def _draws(netem: Netem) -> bool:
    slot = netem.slot
    drawn = slot is not None and (slot.distribution is not None or slot.max_delay_ns != slot.min_delay_ns)
    return bool(netem.jitter_ns or netem.loss or netem.duplicate or netem.reorder or netem.corrupt or drawn)


def _settings(recording: Recording) -> dict[str, str]:
    asked = {name: value for name, value in recording.scenario.items() if name != "name"}
    facts = {
        "scenario": repr(sorted(asked.items())),
        "clock": recording.clock,
        "engine": recording.engine,
        "probe": recording.probe,
    }
    # A sysctl that a kernel lacks does not differ.
    return facts | {name: value for name, value in recording.sysctls.items() if value != "absent"}


def _figures(evidence: Evidence, *, random: bool) -> Iterator[tuple[DistributionName, Figure]]:
    if evidence.wire_times is None:
        yield from _without_packets(evidence, random=random)
        return
    paths = Paths.of(evidence, evidence.wire_times)
    in_bursts = evidence.scenario.traffic.kind in _BURSTS
    queued = any(netem.rate_bytes or netem.slot for link in evidence.scenario.links for netem in link)
    for side, whose in _SIDES.items():
        for kind, what in _KINDS.items():
            chosen = paths.chosen(side, kind)
            if not chosen.any():
                continue
            parts: dict[str, Floats] = {}
            if not random and not queued:
                parts[TOTAL] = paths.total_us
            parts[ADDED] = paths.stages_us["sender"] + paths.stages_us["arrival"]
            for stage in STAGES:
                # Waiting for randomly delayed packets, or in the link's queue, is not the stage's own time.
                if (random and stage in ("link out", "receiver", "link back")) or (queued and stage == "link out"):
                    continue
                parts[stage] = paths.stages_us[stage]
            for part, values in parts.items():
                tail = not (in_bursts and part in _SHARED_WITH_A_BURST)
                yield from _of(
                    DistributionName(whose, what, part), values[chosen], 1.0 if part == TOTAL else 0.0, tail=tail
                )
        least = [flow.get(f"{whose}_info", {}).get("min_rtt_us") for flow in evidence.recording.flows]
        known = np.array([value for value in least if value], dtype=np.float64)
        if len(known) and not random:
            yield (
                DistributionName(whose, "socket", "min_rtt"),
                Figure(float(np.median(known)), float("nan"), len(known)),
            )


def _without_packets(evidence: Evidence, *, random: bool) -> Iterator[tuple[DistributionName, Figure]]:
    """Yield the values of a recording without packets: no stages, and not what the kernel adds."""
    if random:
        return
    for side, whose in _SIDES.items():
        for kind, what in _KINDS.items():
            chosen = (evidence.sides == side) & (evidence.kinds == kind) & (evidence.sources != SampleSource.TSECR)
            values = evidence.values_us[chosen].astype(np.float64)
            tail = evidence.scenario.traffic.kind not in _BURSTS
            yield from _of(DistributionName(whose, what, TOTAL), values[values >= 0], 1.0, tail=tail)


def _of(
    name: DistributionName, values_us: Floats, grain_us: float, *, tail: bool
) -> Iterator[tuple[DistributionName, Figure]]:
    known = np.sort(values_us[~np.isnan(values_us)])
    if len(known):
        yield name, _figure(known, _SHARES[MEDIAN], grain_us)
    if tail and len(known) >= TAIL_SAMPLES and name.kind == "data":
        yield DistributionName(name.side, name.kind, name.part, TAIL), _figure(known, _SHARES[TAIL], grain_us)


def _figure(ordered_us: Floats, share: float, grain_us: float) -> Figure:
    """Return a quantile, with half the distance between the values one standard error of its rank to either side.

    A value in whole microseconds may be anywhere within its microsecond: equal values are spread evenly over it.
    """
    count = len(ordered_us)
    if grain_us:
        _, place, size = np.unique(ordered_us, return_index=True, return_counts=True)
        which = np.repeat(np.arange(len(place)), size)
        ordered_us = ordered_us + grain_us * ((np.arange(count) - place[which] + 0.5) / size[which] - 0.5)
    value = float(np.quantile(ordered_us, share, method="hazen"))
    rank_off = float(np.sqrt(count * share * (1 - share)))
    low, high = share * count - 0.5 - rank_off, share * count - 0.5 + rank_off
    if low < 0 or high > count - 1:
        return Figure(value, float("nan"), count)
    off = float(np.diff(np.interp([low, high], np.arange(count), ordered_us))[0]) / 2
    return Figure(value, off, count)


def _counts(evidence: Evidence) -> Iterator[tuple[str, int]]:
    for side, whose in _SIDES.items():
        mine = evidence.sides == side
        if not mine.any():
            continue
        for kind in (Kind.HANDSHAKE, Kind.DATA, Kind.FIN):
            yield f"{whose}'s {kind.name.lower()} samples", int((mine & (evidence.kinds == kind)).sum())
        for source, words in _SOURCES.items():
            yield f"{whose}'s samples {words}", int((mine & (evidence.sources == source)).sum())
        infos = [flow.get(f"{whose}_info", {}) for flow in evidence.recording.flows]
        yield f"{whose}'s segments sent again", sum(int(info.get("total_retrans") or 0) for info in infos)
        timeouts = [int(info["rto_us"]) for info in infos if info.get("rto_us")]
        if timeouts:
            yield f"{whose}'s longest timeout at the end (us)", max(timeouts)
