"""Check that the link treats packets as configured: the time each takes, and how many are lost, doubled, sent ahead.

The lower bound is checked here, and all checks of the link are put together. Only packets are used, no sample of TCP's.

The lower bound has no tolerance, not even a nanosecond. A packet is stamped when it comes in, before netem gets it
(``__netif_receive_skb_core()`` comes before ``dev_queue_xmit()``), and when it leaves, after netem released it
(``dev_hard_start_xmit()`` comes after ``netem_dequeue()``). All three read one clock in nanoseconds; the captures add
the offset of the wall clock, which is the same for both. Netem releases nothing early, and its time counts from a
reading later than the first stamp. So a packet that is early is the link's fault.

A packet may be late by what the machine adds: `check_late` in virtual time, `check_noisy` in real time. Whether random
delays have the configured distribution is checked by `check_delays`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from rttcheck.judge.check import NOTHING, Check, Quality
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.link.account_check import check_relay_account
from rttcheck.judge.link.counts import check_counts
from rttcheck.judge.link.delays import check_delays, samples_of
from rttcheck.judge.link.late import check_late, check_timers, spread, too_late, unless_paused
from rttcheck.judge.link.model import ENGINES
from rttcheck.judge.link.noise import check_noisy
from rttcheck.judge.link.way import Way
from rttcheck.judge.pairing.transit import UNMATCHED, WAYS
from rttcheck.scenario.duration import format_ns

_US = 1_000
LINK_POINTS: Final = ("link_near", "link_far")
"""The captures on both sides of the link."""


NEVER_EARLY: Final = Check(
    id="link.never-early",
    layer=Layer.LINK,
    title="no packet passes earlier than configured",
    asserts="No packet leaves the link earlier than the engine's model allows.",
    against="the engine's model and the scenario's settings",
    tolerance="none",
    needs=NOTHING,
    quality=Quality.LINK_CAPTURES,
)
SEED: Final = Check(
    id="link.delay-seed",
    layer=Layer.LINK,
    title="random delays match netem's seed",
    asserts=("Each random delay is the one that netem draws from its reported seed (6.6 and later, virtual time)."),
    against="prandom_u32_state(), recomputed",
    tolerance="as for link.never-late",
    needs=NOTHING,
    quality=Quality.LINK_CAPTURES,
)
RELAY_EARLY: Final = Check(
    id="link.relay-early",
    layer=Layer.LINK,
    title="the relay releases no packet before it is due",
    asserts="The relay releases no packet before it is due.",
    against="the relay's own records",
    tolerance="none",
    needs=NOTHING,
    quality=Quality.RELAY_ACCOUNT,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChecks:
    """Findings, notes, and figures: microseconds where the name ends in ``_us``, else counts."""

    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    figures: tuple[tuple[str, int], ...] = ()


def check_link(evidence: Evidence) -> LinkChecks:
    """Return the findings of all link checks, in no particular order; only a note where the link is not captured."""
    recording = evidence.recording
    points = evidence.capture_points
    if not points:
        return LinkChecks()
    if evidence.own_queues:
        return LinkChecks(
            notes=(
                "netem runs at the ends, where captures see packets only after it: one-way times, loss and other "
                "properties of the link are not judged",
            )
        )
    if not all(name in points for name in LINK_POINTS):
        return LinkChecks(notes=("no packets were captured at the link, so the link is not judged",))
    if recording.engine not in ENGINES:
        return LinkChecks(notes=(f"there is no model of the engine {recording.engine}, so the link is not judged",))
    ways = tuple(Way.of(evidence, name) for name in WAYS)
    samples = tuple(sample for way in ways for sample in samples_of(way, virtual=evidence.virtual))
    counted, notes = check_counts(ways, virtual=evidence.virtual)
    found = (
        _sooner(ways, evidence),
        check_late(ways, preemption=evidence.softirq_preemption, at_the_ends=evidence.scenario.topology == "direct")
        if evidence.noise is None
        else check_noisy(ways, evidence.noise),
        *((check_timers(recording.timers["late_ns"].astype(np.int64)),) if len(recording.timers) else ()),
        *check_delays(samples, virtual=evidence.virtual),
        *_seeded(ways, evidence),
        *counted,
        *_early(evidence),
        *check_relay_account(ways, recording),
    )
    for way in ways:
        way.overhead.busy.forget()
    return LinkChecks(
        findings=tuple(found),
        notes=(*_notes(ways), *notes),
        figures=_figures(ways),
    )


def _seeded(ways: Sequence[Way], evidence: Evidence) -> tuple[Finding, ...]:
    """Check that random delays are those of netem's seed, in virtual time; return nothing without a usable seed.

    A netem whose delays are too far off to be matched with the draws is inconclusive here.
    """
    seeded = [way for way in ways if way.unfitting or (way.exact & ~way.constant).any()]
    if evidence.recording.engine != "netem" or not evidence.virtual or not seeded:
        return ()
    expected = "the draws of prandom_u32_state() (6.6 to 7.3)"
    total = sum(len(way.left_ns) for way in seeded)
    bad = [way.name for way in seeded if way.unfitting]
    if not bad:
        message = f"{total} packets, each delayed as drawn"
        return (SEED.finding(Outcome.PASSED, message, expected, message, total),)
    off = [f"{way.name} by {way.off_ns / _US:+.1f} us" for way in seeded if way.unfitting and way.off_ns is not None]
    if off:
        message = f"delays follow the draws of netem's seed with an offset, in the median {', '.join(off)}"
        return (SEED.finding(Outcome.FAILED, message, expected, message, total),)
    message = (
        f"packets {' and '.join(bad)} were not delayed as netem's seed draws: this netem draws differently from 6.6 to "
        "7.3, or its delays are wrong"
    )
    return (SEED.finding(Outcome.INCONCLUSIVE, message, expected, message, total),)


def _sooner(ways: Sequence[Way], evidence: Evidence) -> Finding:
    """Check the lower bound, without tolerance: work between the stamps and netem's own readings can only add time."""
    total = sum(len(way.left_ns) - way.straddling for way in ways)
    expected = "; ".join(f"{way.name} {_asked(way)} or more" for way in ways)
    seen = "; ".join(f"{way.name} {spread(way.longest_ns)}" for way in ways)
    if not total:
        return NEVER_EARLY.finding(Outcome.INCONCLUSIVE, "no packet passed the link", expected, seen, 0)
    for way in ways:
        judged = way.setting != UNMATCHED
        early = judged & ~way.ahead & (way.left_ns < way.due_first_ns)
        if early.any():
            short = np.where(early, way.due_first_ns - way.left_ns, 0)
            worst = int(short.argmax())
            message = (
                f"{int(early.sum())} of {int(judged.sum())} packets {way.name} passed earlier than the link "
                f"allows, the worst {short[worst] / _US:.1f} us too early, after {way.longest_ns[worst] / _US:.1f} us; "
                f"half of them by {np.median(short[early]) / _US:.1f} us or more"
            )
            return NEVER_EARLY.finding(Outcome.FAILED, message, expected, seen, total)
        surely = judged & way.ahead & (way.longest_ns == way.shortest_ns)
        slow = surely & too_late(way)
        if evidence.virtual and way.overhead.known and slow.any():
            message = (
                f"{int(slow.sum())} of {int(judged.sum())} packets {way.name} were neither sent ahead nor delayed as "
                f"configured, the first passed after {way.shortest_ns[np.flatnonzero(slow)[0]] / _US:.1f} us"
            )
            return NEVER_EARLY.finding(
                *unless_paused(message, [(way, slow)], total, preemption=evidence.softirq_preemption),
                expected,
                seen,
                total,
            )
    return NEVER_EARLY.finding(Outcome.PASSED, f"{total} packets, none too early", expected, seen, total)


def _early(evidence: Evidence) -> tuple[Finding, ...]:
    """Check that the relay released no packet early, which no noise explains; nothing with another engine."""
    noise = evidence.noise
    if noise is None or noise.relay is None:
        return ()
    total, early = len(noise.relay.late_ns), noise.early
    return (
        RELAY_EARLY.finding(
            Outcome.FAILED if early else Outcome.PASSED,
            f"{early} of {total} packets were released before they were due, by the relay's own records",
            "none",
            noise.relay.render(),
            total,
        ),
    )


def _asked(way: Way) -> str:
    """Return the shortest delay of each setting."""
    return " then ".join(
        format_ns(0 if netem.reorder else delay.lowest_ns) for netem, delay in zip(way.netems, way.delays, strict=True)
    )


def _notes(ways: Sequence[Way]) -> tuple[str, ...]:
    notes = [f"{way.name} through the link, {len(way.left_ns)} packets: {spread(way.shortest_ns)}" for way in ways]
    straddling = sum(way.straddling for way in ways)
    if straddling:
        notes.append(f"{straddling} packets were in flight while the link was changed, and are not judged")
    for way in ways:
        if way.transit.pieces:
            notes.append(f"{way.name}: {way.transit.pieces} packets left in pieces, timed by the first piece")
        if any(netem.delay_correlation for netem in way.netems):
            notes.append(f"{way.name}: delays are correlated: only their bounds are checked")
        if any(netem.jitter_ns and netem.rate_bytes for netem in way.netems):
            notes.append(f"{way.name}: behind a rate a packet's own delay is not visible: only its bounds are checked")
        if any(netem.slot for netem in way.netems):
            notes.append(f"{way.name}: packets wait for slots: only the lower bound is checked")
    return tuple(notes)


def _figures(ways: Sequence[Way]) -> tuple[tuple[str, int], ...]:
    figures: list[tuple[str, int]] = []
    for way in ways:
        figures.append((f"link_{way.name}_packets", len(way.transit.entered)))
        if len(way.shortest_ns):
            figures.append((f"link_{way.name}_median_us", round(float(np.median(way.shortest_ns)) / _US)))
        figures.append((f"link_{way.name}_lost", len(way.transit.gone)))
    return tuple(figures)
