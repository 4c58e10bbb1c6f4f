"""Does the link lose, double and send ahead as many packets as it was told to, and keep the order of all others.

It owns those counts of a run and the limits of chance for them: exact binomial tails where each packet is drawn for
itself, bounds true for any number where the model has a memory (`Chain`). It looks at no time but to see the queue.

A packet that finds netem's queue full is dropped whatever was drawn for it (``netem_enqueue()``: ``qlen >= limit``).
How many wait is on the wire: those that came in and have not left. Such packets are counted apart: where the scenario
sets the limit they are what was asked for; where it does not, the default was too small, and that is a fault of the
link.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.check import NOTHING, Check, Quality
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.link.chain import Stretch, usual_events
from rttcheck.judge.link.overhead import MOST_NS
from rttcheck.judge.link.way import Way
from rttcheck.judge.machine.slack import FALSE_ALARM
from rttcheck_netns.netem import Netem, RandomLoss

Booleans = npt.NDArray[np.bool_]

SUSPECT: Final = 1e-4
"""How often a run without a single event may be called inconclusive by chance, where events were asked for."""

_DEFAULT_LIMIT = Netem().limit


LOSS: Final = Check(
    id="link.loss",
    layer=Layer.LINK,
    title="as many packets are lost as was asked for",
    asserts="As many packets are lost as the loss model loses; none where no loss was asked for.",
    against="the loss model's exact distribution of counts",
    tolerance="by chance otherwise in one of a million runs",
    needs=NOTHING,
    quality=Quality.LINK_CAPTURES,
)
DUPLICATES: Final = Check(
    id="link.duplicates",
    layer=Layer.LINK,
    title="as many packets are duplicated as was asked for",
    asserts="As many packets are duplicated as was asked for, and none leaves that did not come in.",
    against="the exact distribution of counts",
    tolerance="by chance otherwise in one of a million runs",
    needs=NOTHING,
    quality=Quality.LINK_CAPTURES,
)
REORDERED: Final = Check(
    id="link.reordered",
    layer=Layer.LINK,
    title="as many packets are sent ahead as was asked for",
    asserts="As many packets are sent ahead of the queue as was asked for.",
    against="the exact distribution of counts",
    tolerance="by chance otherwise in one of a million runs",
    needs=NOTHING,
    quality=Quality.LINK_CAPTURES,
)
ORDER: Final = Check(
    id="link.order",
    layer=Layer.LINK,
    title="packets of a connection leave in the order in which they came",
    asserts="Where the link has no reason to reorder, packets of a connection leave in the order in which they came.",
    against="netem's queue, which is in order of time (tfifo_enqueue())",
    tolerance="none in virtual time; inconclusive in real time",
    needs=NOTHING,
    quality=Quality.LINK_CAPTURES,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Events among packets of one direction under one setting: at least ``seen``, at most ``hidden`` more."""

    way: str
    stretch: Stretch
    seen: int
    hidden: int = 0

    @property
    def mean(self) -> float:
        """How many there are in the long run of as many packets."""
        return self.stretch.packets * self.stretch.chain.mean


def check_counts(ways: Sequence[Way], *, virtual: bool) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """The checks of all that is counted, and what else a reader should know."""
    found = [_lost(ways), _doubled(ways)]
    if any(netem.reorder for way in ways for netem in way.netems):
        found.append(_ahead(ways))
    findings = [finding for finding, _ in found if finding is not None]
    notes = [note for _, note in found if note]
    if any(_keeps_order(netem, way.delays[place].constant) for way in ways for place, netem in enumerate(way.netems)):
        findings.append(_order(ways, virtual=virtual))
    return tuple(findings), (*notes, *_unasserted(ways))


def _unasserted(ways: Sequence[Way]) -> tuple[str, ...]:
    """What is not counted against anything, each with its reason and what was seen."""
    notes = []
    for way in ways:
        for netem in dict.fromkeys(way.netems):
            transit = way.transit
            for reason, what, seen in (
                (_why_not_lost(way, netem), "lost", len(transit.gone)),
                (_why_not_doubled(way, netem), "doubled", len(transit.extra)),
                (_why_not_ahead(way, netem) if netem.reorder else "", "sent ahead", int(way.ahead.sum())),
            ):
                if reason:
                    notes.append(f"{way.name}: {seen} of {len(transit.entered)} packets {what}, not judged: {reason}")
    return tuple(dict.fromkeys(notes))


def _why_not_lost(way: Way, netem: Netem) -> str:
    if isinstance(netem.loss, RandomLoss) and netem.loss.correlation:
        return "netem's correlated loss does not lose its share"
    if netem.duplicate_correlation:
        return "doubling is correlated, which does not do what it says"
    if netem.ecn:
        return "netem marks what would be lost, where both ends speak ECN"
    if netem.corrupt:
        return "a packet whose header was corrupted cannot be known again"
    chain = way.engine.vanishing(netem)
    if chain is None:
        return "packets are doubled as well, and the model of loss has a memory"
    if chain.share is None and netem is not way.netems[-1]:
        return "before a step nobody counts the markers, which take steps of the loss model too"
    return ""


def _why_not_doubled(way: Way, netem: Netem) -> str:
    if netem.duplicate_correlation:
        return "doubling is correlated, which does not do what it says"
    if not netem.duplicate:
        return ""
    if isinstance(netem.loss, RandomLoss) and netem.loss.correlation:
        return "loss is correlated, and copies are lost as well"
    if netem.corrupt:
        return "a packet whose header was corrupted cannot be known again"
    if netem.ecn:
        return "netem marks what would be lost, where both ends speak ECN"
    return (
        "" if way.engine.doubling(netem) is not None else "the model of loss has a memory, and copies are lost as well"
    )


def _why_not_ahead(way: Way, netem: Netem) -> str:
    if netem.reorder_correlation:
        return "sending ahead is correlated, which does not do what it says"
    chain = way.engine.ahead(netem)
    if chain is None:
        return f"a gap of {netem.gap} is too large for the model"
    if way.delays[way.netems.index(netem)].lowest_ns <= MOST_NS:
        return "a packet that was drawn a short delay looks like one that was sent ahead"
    if chain.share is None and netem is not way.netems[-1]:
        return "before a step nobody counts the markers, which take their turn too"
    return ""


def _judged(check: Check, verb: str, counts: Sequence[Count]) -> tuple[Finding | None, str]:
    """Each direction's counts and those of both against chance, and a note where they are too few to tell from none.

    No finding where nothing is asserted.
    """
    if not counts:
        return None, ""
    ways = tuple(dict.fromkeys(count.way for count in counts))
    groups = [(name, [count for count in counts if count.way == name]) for name in ways]
    groups += [("both ways", list(counts))] if len(ways) > 1 else []
    chance = FALSE_ALARM / (2 * len(groups))
    outcome, message = Outcome.PASSED, ""
    expected, seen, too_few = [], [], []
    for name, group in groups:
        least, most = usual_events([count.stretch for count in group], chance)
        packets = sum(count.stretch.packets for count in group)
        events = sum(count.seen for count in group)
        hidden = sum(count.hidden for count in group)
        mean = sum(count.mean for count in group)
        usual = f"{least}" if least == most else f"{least} to {most}"
        expected.append(f"{name} {usual} of {packets}")
        seen.append(f"{name} {events} of {packets}")
        if (events > most or events + hidden < least) and outcome is not Outcome.FAILED:
            outcome = Outcome.FAILED
            message = f"{name}: {events} of {packets} packets were {verb}, where {mean:.1f} are the mean of what was "
            message += f"asked for and {usual} are within chance"
        none = exp(sum(count.stretch.chain.log_none(count.stretch.packets) for count in group)) if mean else 1.0
        if not events + hidden and none < SUSPECT / len(groups) and outcome is Outcome.PASSED:
            outcome = Outcome.INCONCLUSIVE
            message = (
                f"{name}: none of {packets} packets was {verb}, where {mean:.1f} are the mean; by chance that is so "
            )
            message += f"in 1 of {1 / none:,.0f} runs, too few packets to be sure"
        too_few += [f"{name} {packets}"] if mean and not least else []
    tail = f" (by chance otherwise in 1 of {1 / FALSE_ALARM:,.0f} runs)" if any(count.mean for count in counts) else ""
    told = "; ".join(seen)
    packets = sum(count.stretch.packets for count in counts)
    note = f"too few packets to tell from a link on which none is {verb}: {', '.join(too_few)}" if too_few else ""
    return check.finding(outcome, message or f"{told} {verb}", "; ".join(expected) + tail, told, packets), note


def _lost(ways: Sequence[Way]) -> tuple[Finding | None, str]:
    counts, overflow, unasked = [], [], 0
    for way in ways:
        gone = np.zeros(len(way.transit.entered), dtype=np.bool_)
        gone[way.transit.gone] = True
        waiting = _waiting(way)
        for place, netem in enumerate(way.netems):
            here = _settled(way, place)
            full = here & (waiting >= netem.limit - way.unseen)
            dropped = int((gone & full).sum())
            if dropped:
                overflow.append(f"{dropped} {way.name} that found {int(waiting[gone & full].min())} waiting")
                unasked += dropped if netem.limit == _DEFAULT_LIMIT and netem.loss is None else 0
            chain = way.engine.vanishing(netem)
            if chain is None or _why_not_lost(way, netem):
                continue
            free = here & ~full
            counts.append(
                Count(
                    way=way.name,
                    stretch=Stretch(chain=chain, packets=int(free.sum()), unseen=way.unseen),
                    seen=int((gone & free).sum()),
                    hidden=way.transit.hidden if netem.duplicate else 0,
                )
            )
    found, note = _judged(LOSS, "lost", counts)
    if found is None:
        return None, ""
    if unasked:
        message = (
            f"the queue's limit of {_DEFAULT_LIMIT} packets was hit, which nobody asked for: {'; '.join(overflow)}"
        )
        return replace(found, outcome=Outcome.FAILED, message=message), note
    if found.outcome is Outcome.FAILED and all(count.mean == 0 for count in counts):
        return replace(found, message=f"{found.message}{_likeness(ways)}"), note
    if overflow:
        message = f"{found.message}; and by the limit that was asked for {'; '.join(overflow)}"
        return replace(found, message=message), note
    return found, note


def _likeness(ways: Sequence[Way]) -> str:
    """Where packets are lost only when the same number waits, that is a queue's limit."""
    for way in ways:
        if len(way.transit.gone):
            waiting = _waiting(way)
            lost = waiting[way.transit.gone]
            if len(lost) > 1 and lost.min() >= waiting.max() - 1 and waiting.max() > 1:
                limits = " and ".join(str(netem.limit) for netem in dict.fromkeys(way.netems))
                return (
                    f"; {way.name} they are those that found {int(lost.min())} waiting, as a queue's limit does it, "
                    f"which is {limits}"
                )
    return ""


def _settled(way: Way, place: int) -> Booleans:
    """Which packets came in under a setting, so long before its end that they would have left."""
    here: Booleans = way.entered_setting == place
    if place < len(way.changes_ns):
        here = here & (way.transit.entered_ns + way.delays[place].highest_ns < way.changes_ns[place])
    return here


def _waiting(way: Way) -> npt.NDArray[np.int64]:
    """How many of those that left were in the link when each packet came in."""
    transit = way.transit
    came = np.sort(transit.entered_ns[transit.earliest[transit.matched]])
    before = np.searchsorted(came, transit.entered_ns, side="left")
    waiting: npt.NDArray[np.int64] = before - np.searchsorted(way.left_ns, transit.entered_ns, side="right")
    return waiting


def _doubled(ways: Sequence[Way]) -> tuple[Finding | None, str]:
    counts, strangers = [], []
    for way in ways:
        extra = np.zeros(len(way.transit.left), dtype=np.bool_)
        extra[way.transit.extra] = True
        extra = extra[way.transit.matched]
        if way.transit.strangers and not any(netem.corrupt for netem in way.netems):
            strangers.append(f"{way.transit.strangers} {way.name}")
        for place, netem in enumerate(way.netems):
            chain = way.engine.doubling(netem)
            if chain is None or _why_not_doubled(way, netem):
                continue
            counts.append(
                Count(
                    way=way.name,
                    stretch=Stretch(chain=chain, packets=int(_settled(way, place).sum())),
                    seen=int((extra & (way.setting == place)).sum()),
                    hidden=way.transit.hidden if netem.loss is not None or netem.duplicate else 0,
                )
            )
    found, note = _judged(DUPLICATES, "duplicated", counts)
    if found is not None and strangers:
        message = f"packets left the link that had not come in: {' and '.join(strangers)}"
        found = replace(found, outcome=Outcome.FAILED, message=message)
    return found, note


def _ahead(ways: Sequence[Way]) -> tuple[Finding | None, str]:
    counts = []
    for way in ways:
        for place, netem in enumerate(way.netems):
            chain = way.engine.ahead(netem)
            if chain is None or _why_not_ahead(way, netem):
                continue
            here = way.setting == place
            surely = int((here & (way.longest_ns < way.delays[place].lowest_ns)).sum())
            counts.append(
                Count(
                    way=way.name,
                    stretch=Stretch(chain=chain, packets=int(here.sum()), unseen=way.unseen),
                    seen=surely,
                    hidden=int((here & way.ahead).sum()) - surely,
                )
            )
    return _judged(REORDERED, "sent ahead", counts)


def _keeps_order(netem: Netem, constant: bool) -> bool:
    """netem's queue is in order of time due, then of arrival (``tfifo_enqueue()``); behind a rate all keep theirs."""
    return (constant or netem.rate_bytes > 0) and not netem.reorder


def _order(ways: Sequence[Way], *, virtual: bool) -> Finding:
    overtaken, total = [], 0
    for way in ways:
        transit = way.transit
        matched = transit.matched
        first, sure = transit.earliest[matched], transit.earliest[matched] == transit.latest[matched]
        for place, (netem, delay) in enumerate(zip(way.netems, way.delays, strict=True)):
            if not _keeps_order(netem, delay.constant):
                continue
            chosen = np.flatnonzero(sure & (way.setting == place))
            connection = way.connection[chosen]
            order = np.argsort(connection, kind="stable")
            came, within = first[chosen][order].astype(np.int64), 0
            if not virtual:
                # A processor that captured a packet may be held up before it hands it to the link, while another hands
                # over its own: for no longer than a packet may take to be passed on.
                came, within = transit.entered_ns[came], way.overhead.handing_ns
            came += connection[order] * (int(np.ptp(came)) + within + 1) if len(came) else 0
            late = int((np.maximum.accumulate(came) - came > within).sum()) if len(came) else 0
            total += len(chosen)
            if late:
                overtaken.append(f"{late} of {len(chosen)} {way.name}")
    outcome = Outcome.PASSED
    message = f"{total} packets, none overtaken"
    if overtaken:
        # Captures on several processors stamp each for itself.
        outcome = Outcome.FAILED if virtual else Outcome.INCONCLUSIVE
        message = f"packets were overtaken where the link has no reason to: {' and '.join(overtaken)}"
    return ORDER.finding(outcome, message, "no packet overtaken: netem's queue is in order of time", message, total)
