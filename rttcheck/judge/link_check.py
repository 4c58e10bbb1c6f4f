"""Did the link do to packets what it was told: the time each took, and how many were lost, doubled, sent ahead.

It owns the two checks that look at each packet by itself, from below and from above, and puts the link's checks
together. It looks at no sample of TCP's: whatever the kernels made of it, the link is on trial alone here.

From below there is no tolerance, not of a nanosecond. A packet is stamped when it comes in before netem is handed it
(``__netif_receive_skb_core()`` comes before ``dev_queue_xmit()``) and when it leaves after netem let it go
(``dev_hard_start_xmit()`` comes after ``netem_dequeue()``); all three read one clock, cut to nanoseconds alike, the
captures plus the offset of the wall clock, which is the same for both. Netem lets nothing go before its time, and its
time counts from a reading later than the first stamp. So what is early is early by the link's fault.

From above, a packet may be late by what the machine adds, as the control run shows it (`Overhead`). In virtual time
two packets apart by more than a hundred microseconds, and half of a direction's packets of like size by more than some
ten, are the link's fault, with constant delays and behind rates; whether delays that are drawn are the right ones is
`check_delays`'s to say. In real time late packets are judged by rank: noise makes any one late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rttcheck.judge.bounds import packet_time_ns
from rttcheck.judge.doubt import clock_step_ns, doubted, points_of
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.link_counts import check_counts
from rttcheck.judge.link_delays import check_delays, samples_of
from rttcheck.judge.link_model import ENGINES
from rttcheck.judge.link_way import Way
from rttcheck.judge.noise import Late, Noise
from rttcheck.judge.nominal import FALSE_ALARM, REAL_TIME_GRAIN_US
from rttcheck.judge.slack import chance_of_exceeding
from rttcheck.judge.stall import unless_stalled
from rttcheck.judge.transit import NOBODY, WAYS
from rttcheck.scenario.duration import format_ns

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

_US = 1_000
_POINTS = ("link_near", "link_far")

_NEEDS = 2
"""How often a packet waits for a processor on its way through: to be let go when it is due, and to be handed on."""

_ENOUGH = 10
"""From so many packets of a size on, half of them are more than chance: fewer may all have met the same work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChecks:
    """Findings, what else a reader should know, and figures: counts, and microseconds where the name says so."""

    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    figures: tuple[tuple[str, int], ...] = ()


def check_link(evidence: Evidence) -> LinkChecks:
    """Every check of the link, in no order; none, and a note, where nothing can be seen of it."""
    recording = evidence.recording
    points = points_of(evidence)
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
        _sooner(ways, virtual=evidence.virtual),
        _later(ways, evidence.noise),
        *check_delays(samples, virtual=evidence.virtual),
        *counted,
        *_early(evidence),
    )
    doubt = _doubt(evidence)
    return LinkChecks(
        findings=tuple(_judged(finding, doubt) for finding in found),
        notes=(*_notes(ways), *notes),
        figures=_figures(ways),
    )


def _doubt(evidence: Evidence) -> str:
    """Why what the link's captures say may not be so."""
    dropped = sum(int(point["dropped"]) for name, point in points_of(evidence).items() if name in _POINTS)
    step_ns = clock_step_ns(evidence)
    reasons = [f"the link's captures dropped {dropped} packets"] if dropped else []
    reasons += [f"the wall clock was set by {step_ns} ns meanwhile"] if step_ns else []
    return " and ".join(reasons)


def _judged(finding: Finding, doubt: str) -> Finding:
    outcome, message = doubted(finding.outcome, finding.message, doubt)
    return replace(finding, outcome=outcome, message=message)


def _finding(check: str, outcome: Outcome, message: str, expected: str, seen: str, samples: int) -> Finding:
    return Finding(
        layer=Layer.LINK, check=check, outcome=outcome, message=message, expected=expected, seen=seen, samples=samples
    )


def _sooner(ways: Sequence[Way], *, virtual: bool) -> Finding:
    """One-sided and hard: what lies between the stamps and netem's own readings can only add."""
    check = "no packet passes sooner than asked"
    total = sum(len(way.left_ns) - way.straddling for way in ways)
    expected = "; ".join(f"{way.name} {_asked(way)} or more" for way in ways)
    seen = "; ".join(f"{way.name} {_spread(way.longest_ns)}" for way in ways)
    if not total:
        return _finding(check, Outcome.INCONCLUSIVE, "no packet passed the link", expected, seen, 0)
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
            return _finding(check, Outcome.FAILED, message, expected, seen, total)
        surely = judged & way.ahead & (way.longest_ns == way.shortest_ns)
        slow = surely & (way.overhead.beyond_ns(way.due_last_ns, way.left_ns) > way.overhead.base_ns)
        if virtual and way.overhead.known and slow.any():
            message = (
                f"{int(slow.sum())} of {int(judged.sum())} packets {way.name} were neither sent ahead nor delayed as "
                f"asked, the first passed after {way.shortest_ns[np.flatnonzero(slow)[0]] / _US:.1f} us"
            )
            return _finding(check, *_unless_paused(message, [(way, slow)], total), expected, seen, total)
    return _finding(check, Outcome.PASSED, f"{total} packets, none too soon", expected, seen, total)


def _early(evidence: Evidence) -> tuple[Finding, ...]:
    """The relay's own account of when it let packets go; no noise makes one early. None with another engine."""
    noise = evidence.noise
    if noise is None or noise.relay is None:
        return ()
    total, early = len(noise.relay.late_ns), noise.early
    return (
        _finding(
            "the relay lets no packet go before it is due",
            Outcome.FAILED if early else Outcome.PASSED,
            f"{early} of {total} packets were let go before they were due, by the relay's own account",
            "none",
            noise.relay.render(),
            total,
        ),
    )


def _later(ways: Sequence[Way], noise: Noise | None) -> Finding:
    """Above the engine's own latest is what the machine adds, as in the control run."""
    check = "no packet passes later than link and machine explain"
    chosen = [(way, _bounded(way)) for way in ways]
    total = sum(int(bounded.sum()) for _, bounded in chosen)
    seen = "; ".join(
        f"{way.name} {_spread((way.left_ns - way.due_last_ns)[bounded])} after the latest that netem allows"
        for way, bounded in chosen
    )
    if not total:
        message = "no packet has an upper bound"
        outcome = Outcome.PASSED if any(netem.slot for way in ways for netem in way.netems) else Outcome.INCONCLUSIVE
        return _finding(check, outcome, message, "nothing", seen, 0)
    if not all(way.overhead.known for way in ways):
        message = "the control run has too few packets to tell the machine's part"
        return _finding(check, Outcome.INCONCLUSIVE, message, "a control run's overhead", seen, total)
    if noise is not None:
        return _by_rank(check, chosen, seen, total, noise)
    expected = "; ".join(
        f"{way.name} up to {way.overhead.base_ns / _US:.1f} us, and {way.overhead.highest_ns / _US:.1f} us for each "
        f"packet that comes between, half of each size up to {way.overhead.usual_ns / _US:.1f} us (control run: "
        f"{_spread(way.overhead.own_ns)})"
        for way in ways
    )
    for way, bounded in chosen:
        beyond = _beyond_ns(way)
        for words, group in _sizes(way, bounded):
            middle = float(np.median(beyond[group])) / _US
            if middle * _US > way.overhead.usual_ns:
                message = (
                    f"half of the {int(group.sum())} packets {way.name} {words}left {middle:.1f} us or more later than "
                    f"they were due, where {way.overhead.usual_ns / _US:.1f} us are usual"
                )
                return _finding(check, Outcome.FAILED, message, expected, seen, total)
    late = [(way, bounded & (_beyond_ns(way) > way.overhead.base_ns)) for way, bounded in chosen]
    late = [(way, each) for way, each in late if each.any()]
    if late:
        counts = " and ".join(f"{int(each.sum())} {way.name}" for way, each in late)
        way, each = late[0]
        worst = int(np.where(each, _beyond_ns(way), -1).argmax())
        message = (
            f"of {total} packets {counts} left later than link and machine explain, the worst {way.name} "
            f"{(way.left_ns - way.due_last_ns)[worst] / _US:.1f} us after it was due, having taken "
            f"{way.shortest_ns[worst] / _US:.1f} us"
        )
        return _finding(check, *_unless_paused(message, late, total), expected, seen, total)
    return _finding(check, Outcome.PASSED, f"{total} packets, none too late", expected, seen, total)


def _beyond_ns(way: Way) -> Integers:
    """How late each packet was, less the work on others."""
    return way.overhead.beyond_ns(way.due_last_ns, way.left_ns) - _unseen_ns(way)


def _unless_paused(message: str, late: Sequence[tuple[Way, Booleans]], total: int) -> tuple[Outcome, str]:
    """A failure, unless one pause of the processor explains all late packets of both directions."""
    lates = [_late(way, each, _beyond_ns(way)[each], 0) for way, each in late]
    return unless_stalled(message, replace(Late.together(*lates), total=total), None)


def _late(way: Way, chosen: Booleans, excess_ns: Integers, total: int) -> Late:
    """Packets that were held too long: the link has to wake up for each, and another end to take it."""
    return Late(
        begin_ns=way.due_last_ns[chosen], end_ns=way.left_ns[chosen], excess_ns=excess_ns, total=total, needs=_NEEDS
    )


def _bounded(way: Way) -> Booleans:
    """Packets with a latest time at which they were due: not in slots, and not under way during a change."""
    bounded: Booleans = (way.setting != NOBODY) & ~way.ahead
    for place, netem in enumerate(way.netems):
        if netem.slot is not None:
            bounded &= way.setting != place
    return bounded


def _sizes(way: Way, bounded: Booleans) -> list[tuple[str, Booleans]]:
    """Packets of constant delay, all of them and by size: a fault of one size must not hide among the others."""
    constant = np.zeros(len(bounded), dtype=np.bool_)
    for place, delay in enumerate(way.delays):
        if delay.constant:
            constant |= bounded & (way.setting == place)
    longest = int(way.payload.max(initial=0))
    groups = (
        ("", constant),
        ("without data ", constant & (way.payload == 0)),
        (f"of less than {longest // 2} bytes ", constant & (way.payload > 0) & (2 * way.payload < longest)),
        (f"of {longest // 2} bytes or more ", constant & (way.payload > 0) & (2 * way.payload >= longest)),
    )
    return [(words, group) for words, group in groups if int(group.sum()) >= _ENOUGH]


def _unseen_ns(way: Way) -> Integers:
    """How long packets that are no TCP may have kept a rate busy; what came before the last step was not counted."""
    busy = np.zeros(len(way.left_ns), dtype=np.int64)
    for place, netem in enumerate(way.netems):
        if netem.rate_bytes and way.unseen:
            each = packet_time_ns(netem, -(-way.unseen_bytes // way.unseen))
            busy[way.setting == place] = way.unseen * (each + 1)
    return busy


def _by_rank(check: str, chosen: Sequence[tuple[Way, Booleans]], seen: str, total: int, noise: Noise) -> Finding:
    """In real time any one packet may be late; too many, and each by more than noise scatters, are the link's."""
    grain_ns = REAL_TIME_GRAIN_US * _US
    expected = "; ".join(
        f"{way.name} no more often above {way.overhead.highest_ns / _US:.1f} us than by chance, 1 in "
        f"{1 / FALSE_ALARM:,.0f} (control run: {_spread(way.overhead.own_ns)})"
        for way, _ in chosen
    )
    outcome, message = Outcome.PASSED, f"{total} packets, no more of them late than by chance"
    for way, bounded in chosen:
        excess = (way.left_ns - way.due_last_ns - _unseen_ns(way))[bounded]
        limit_ns, control = way.overhead.highest_ns, len(way.overhead.all_ns)
        over, measured = int((excess > limit_ns).sum()), len(excess)
        if not measured or chance_of_exceeding(over, measured, control) >= FALSE_ALARM:
            continue
        low, middle, high = (float(value) for value in np.percentile(excess, (10, 50, 90)))
        least, scatter = int(excess.min()) - limit_ns, high - low
        words = (
            f"{over} of {measured} packets {way.name} are later than the control run's latest, {limit_ns / _US:.1f} "
            f"us; they scatter by {scatter / _US:.1f} us around {middle / _US:.1f} us"
        )
        if least > max(scatter, grain_ns):
            message = f"{words}, and even the first is {least / _US:.1f} us over it: that is no noise"
            judged = unless_stalled(message, _late(way, bounded, excess - limit_ns, measured), noise)
            return _finding(check, *judged, expected, seen, total)
        if middle - limit_ns < grain_ns:
            message = f"{words}: what waking up from idle costs, less than a millisecond"
        else:
            outcome, message = Outcome.INCONCLUSIVE, f"{words}: this machine is too noisy in real time to tell"
            if noise.accounts:
                message += f" ({noise.render()})"
            return _finding(check, outcome, message, expected, seen, total)
    return _finding(check, outcome, message, expected, seen, total)


def _asked(way: Way) -> str:
    """The least that each setting holds a packet for."""
    return " then ".join(
        format_ns(0 if netem.reorder else delay.lowest_ns) for netem, delay in zip(way.netems, way.delays, strict=True)
    )


def _spread(times_ns: Integers) -> str:
    if not len(times_ns):
        return "no packet"
    low, middle, high = (float(value) / _US for value in np.percentile(times_ns, (0, 50, 100)))
    return f"{low:.1f} to {high:.1f} us, median {middle:.1f} us"


def _notes(ways: Sequence[Way]) -> tuple[str, ...]:
    notes = [f"{way.name} through the link, {len(way.left_ns)} packets: {_spread(way.shortest_ns)}" for way in ways]
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
