"""Did the link do to packets what it was told: the time each took, and how many were lost, doubled, sent ahead.

It owns the check that looks at each packet from below, and puts the link's checks together. It looks at no sample of
TCP's: whatever the kernels made of it, the link is on trial alone here.

From below there is no tolerance, not of a nanosecond. A packet is stamped when it comes in before netem is handed it
(``__netif_receive_skb_core()`` comes before ``dev_queue_xmit()``) and when it leaves after netem let it go
(``dev_hard_start_xmit()`` comes after ``netem_dequeue()``); all three read one clock, cut to nanoseconds alike, the
captures plus the offset of the wall clock, which is the same for both. Netem lets nothing go before its time, and its
time counts from a reading later than the first stamp. So what is early is early by the link's fault.

From above, a packet may be late by what the machine adds: `check_late` in virtual time, `check_noisy` in real time.
Whether delays that are drawn are the right ones is `check_delays`'s to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from rttcheck.judge.check import NOTHING, Check, Quality
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.link.account_check import check_account
from rttcheck.judge.link.counts import check_counts
from rttcheck.judge.link.delays import check_delays, samples_of
from rttcheck.judge.link.late import check_late, check_timers, spread, too_late, unless_paused
from rttcheck.judge.link.model import ENGINES
from rttcheck.judge.link.noise import check_noisy
from rttcheck.judge.link.way import Way
from rttcheck.judge.pairing.transit import NOBODY, WAYS
from rttcheck.scenario.duration import format_ns

_US = 1_000
_POINTS = ("link_near", "link_far")


NEVER_EARLY: Final = Check(
    id="link.never-early",
    layer=Layer.LINK,
    title="no packet passes sooner than asked",
    asserts="No packet leaves the link before the engine's model lets it.",
    against="the engine's model and the scenario's settings",
    tolerance="none",
    needs=NOTHING,
    quality=Quality.LINK_CAPTURES,
)
SEED: Final = Check(
    id="link.delay-seed",
    layer=Layer.LINK,
    title="random delays are those of netem's seed",
    asserts=(
        "Each random delay is the one that netem draws from the seed that it reports (6.6 and later, virtual time)."
    ),
    against="prandom_u32_state(), redone",
    tolerance="as for link.never-late",
    needs=NOTHING,
    quality=Quality.LINK_CAPTURES,
)
RELAY_EARLY: Final = Check(
    id="link.relay-early",
    layer=Layer.LINK,
    title="the relay lets no packet go before it is due",
    asserts="The relay lets no packet go before it is due.",
    against="the relay's own account",
    tolerance="none",
    needs=NOTHING,
    quality=Quality.RELAY_ACCOUNT,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChecks:
    """Findings, what else a reader should know, and figures: counts, and microseconds where the name says so."""

    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    figures: tuple[tuple[str, int], ...] = ()


def check_link(evidence: Evidence) -> LinkChecks:
    """Every check of the link, in no order; none, and a note, where nothing can be seen of it."""
    recording = evidence.recording
    points = evidence.capture_points
    if not points:
        return LinkChecks()
    if evidence.scenario.topology == "direct":
        return LinkChecks(
            notes=(
                "the delay is at the ends, where captures see packets after it: one-way times, loss and the rest of "
                "the link are not judged",
            )
        )
    if not all(name in points for name in _POINTS):
        return LinkChecks(notes=("no packets were captured at the link: it is not judged",))
    if recording.engine not in ENGINES:
        return LinkChecks(notes=(f"there is no model of the engine {recording.engine}: the link is not judged",))
    ways = tuple(Way.of(evidence, name) for name in WAYS)
    samples = tuple(sample for way in ways for sample in samples_of(way, virtual=evidence.virtual))
    counted, notes = check_counts(ways, virtual=evidence.virtual)
    found = (
        _sooner(ways, evidence),
        check_late(ways, preemptible=evidence.preemptible)
        if evidence.noise is None
        else check_noisy(ways, evidence.noise),
        *((check_timers(recording.timers["late_ns"].astype(np.int64)),) if len(recording.timers) else ()),
        *check_delays(samples, virtual=evidence.virtual),
        *_seeded(ways, evidence),
        *counted,
        *_early(evidence),
        *check_account(ways, recording),
    )
    return LinkChecks(
        findings=tuple(found),
        notes=(*_notes(ways), *notes),
        figures=_figures(ways),
    )


def _seeded(ways: Sequence[Way], evidence: Evidence) -> tuple[Finding, ...]:
    """Random delays are those that netem's seed draws, in virtual time; nothing where no seed tells them.

    A netem that is off by more than a replay can follow is not found by this alone, and neither is it passed.
    """
    told = [way for way in ways if way.unfitting or (way.exact & ~way.constant).any()]
    if evidence.recording.engine != "netem" or not evidence.virtual or not told:
        return ()
    expected = "the draws of prandom_u32_state() (6.6 to 7.3)"
    total = sum(len(way.left_ns) for way in told)
    bad = [way.name for way in told if way.unfitting]
    if not bad:
        message = f"{total} packets, each delayed as it was drawn"
        return (SEED.finding(Outcome.PASSED, message, expected, message, total),)
    off = [f"{way.name} by {way.off_ns / _US:+.1f} us" for way in told if way.unfitting and way.off_ns is not None]
    if off:
        message = f"delays rise and fall with the draws of netem's seed, and half of them are off: {', '.join(off)}"
        return (SEED.finding(Outcome.FAILED, message, expected, message, total),)
    message = (
        f"packets {' and '.join(bad)} were not delayed as netem's seed says: this netem draws in another way than 6.6 "
        "to 7.3 do, or its delays are off"
    )
    return (SEED.finding(Outcome.INCONCLUSIVE, message, expected, message, total),)


def _sooner(ways: Sequence[Way], evidence: Evidence) -> Finding:
    """One-sided and hard: what lies between the stamps and netem's own readings can only add."""
    total = sum(len(way.left_ns) - way.straddling for way in ways)
    expected = "; ".join(f"{way.name} {_asked(way)} or more" for way in ways)
    seen = "; ".join(f"{way.name} {spread(way.longest_ns)}" for way in ways)
    if not total:
        return NEVER_EARLY.finding(Outcome.INCONCLUSIVE, "no packet passed the link", expected, seen, 0)
    for way in ways:
        judged = way.setting != NOBODY
        early = judged & ~way.ahead & (way.left_ns < way.due_first_ns)
        if early.any():
            short = np.where(early, way.due_first_ns - way.left_ns, 0)
            worst = int(short.argmax())
            message = (
                f"{int(early.sum())} of {int(judged.sum())} packets {way.name} passed sooner than the link may let "
                f"them, the worst {short[worst] / _US:.1f} us too soon, after {way.longest_ns[worst] / _US:.1f} us; "
                f"half of them by {np.median(short[early]) / _US:.1f} us or more"
            )
            return NEVER_EARLY.finding(Outcome.FAILED, message, expected, seen, total)
        surely = judged & way.ahead & (way.longest_ns == way.shortest_ns)
        slow = surely & too_late(way)
        if evidence.virtual and way.overhead.known and slow.any():
            message = (
                f"{int(slow.sum())} of {int(judged.sum())} packets {way.name} were neither sent ahead nor delayed as "
                f"asked, the first passed after {way.shortest_ns[np.flatnonzero(slow)[0]] / _US:.1f} us"
            )
            return NEVER_EARLY.finding(
                *unless_paused(message, [(way, slow)], total, preemptible=evidence.preemptible),
                expected,
                seen,
                total,
            )
    return NEVER_EARLY.finding(Outcome.PASSED, f"{total} packets, none too soon", expected, seen, total)


def _early(evidence: Evidence) -> tuple[Finding, ...]:
    """The relay's own account of when it let packets go; no noise makes one early. None with another engine."""
    noise = evidence.noise
    if noise is None or noise.relay is None:
        return ()
    total, early = len(noise.relay.late_ns), noise.early
    return (
        RELAY_EARLY.finding(
            Outcome.FAILED if early else Outcome.PASSED,
            f"{early} of {total} packets were let go before they were due, by the relay's own account",
            "none",
            noise.relay.render(),
            total,
        ),
    )


def _asked(way: Way) -> str:
    """The least that each setting holds a packet for."""
    return " then ".join(
        format_ns(0 if netem.reorder else delay.lowest_ns) for netem, delay in zip(way.netems, way.delays, strict=True)
    )


def _notes(ways: Sequence[Way]) -> tuple[str, ...]:
    notes = [f"{way.name} through the link, {len(way.left_ns)} packets: {spread(way.shortest_ns)}" for way in ways]
    straddling = sum(way.straddling for way in ways)
    if straddling:
        notes.append(f"{straddling} packets were under way while the link was changed, and are not judged")
    for way in ways:
        if way.transit.pieces:
            notes.append(f"{way.name}: {way.transit.pieces} packets left in pieces, timed by the first")
        if any(netem.delay_correlation for netem in way.netems):
            notes.append(f"{way.name}: delays are correlated: held against their bounds only")
        if any(netem.jitter_ns and netem.rate_bytes for netem in way.netems):
            notes.append(f"{way.name}: behind a rate a delay is not seen by itself: held against its bounds only")
        if any(netem.slot for netem in way.netems):
            notes.append(f"{way.name}: packets wait for slots: held against the lower bound only")
    return tuple(notes)


def _figures(ways: Sequence[Way]) -> tuple[tuple[str, int], ...]:
    figures: list[tuple[str, int]] = []
    for way in ways:
        figures.append((f"link_{way.name}_packets", len(way.transit.entered)))
        if len(way.shortest_ns):
            figures.append((f"link_{way.name}_median_us", round(float(np.median(way.shortest_ns)) / _US)))
        figures.append((f"link_{way.name}_lost", len(way.transit.gone)))
    return tuple(figures)
