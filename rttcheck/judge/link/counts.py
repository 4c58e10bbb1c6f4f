"""Check how many packets the link loses, duplicates and sends ahead, and that all others keep their order.

Counts are compared with exact binomial tails where packets are drawn independently, and with bounds that hold for any
number of packets where the model is stateful (`Chain`). Times are used only to find the queue's length.

A packet that finds netem's queue full is dropped whatever was drawn for it (``netem_enqueue()``: ``qlen >= limit``).
The queue's length follows from the packets that came in and have not left. Such drops are counted separately: where
the scenario sets the limit they are expected; where it does not, the default was too small, which is a fault of the
link.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from math import exp
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.check import NOTHING, Check, Quality
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.link.chain import PacketRun, usual_events
from rttcheck.judge.link.overhead import MOST_NS
from rttcheck.judge.link.way import Way
from rttcheck.judge.machine.slack import FALSE_ALARM
from rttcheck_netns.netem import Netem, RandomLoss

Booleans = npt.NDArray[np.bool_]

SUSPECT: Final = 1e-4
"""The probability of an inconclusive result by chance for a run without any event, where events are configured."""

_EVERY: Final = 64
"""Packets between two at which the length of a queue is bounded."""

_DEFAULT_LIMIT = Netem().limit


LOSS: Final = Check(
    id="link.loss",
    layer=Layer.LINK,
    title="the configured share of packets is lost",
    asserts="The loss model explains the number of lost packets; none are lost where no loss is configured.",
    against="the loss model's exact distribution of counts",
    tolerance="false alarm in one of a million runs",
    needs=NOTHING,
    quality=Quality.LINK_CAPTURES,
)
DUPLICATES: Final = Check(
    id="link.duplicates",
    layer=Layer.LINK,
    title="the configured share of packets is duplicated",
    asserts="The configured share of packets is duplicated, and no packet leaves that did not come in.",
    against="the exact distribution of counts",
    tolerance="false alarm in one of a million runs",
    needs=NOTHING,
    quality=Quality.LINK_CAPTURES,
)
REORDERED: Final = Check(
    id="link.reordered",
    layer=Layer.LINK,
    title="the configured share of packets is sent ahead",
    asserts="The configured share of packets is sent ahead of the queue.",
    against="the exact distribution of counts",
    tolerance="false alarm in one of a million runs",
    needs=NOTHING,
    quality=Quality.LINK_CAPTURES,
)
ORDER: Final = Check(
    id="link.order",
    layer=Layer.LINK,
    title="packets of a connection leave in the order in which they came",
    asserts="Where no setting reorders, packets of a connection leave in the order in which they came.",
    against="netem's queue, which is sorted by due time (tfifo_enqueue())",
    tolerance="none in virtual time; inconclusive in real time",
    needs=NOTHING,
    quality=Quality.LINK_CAPTURES,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventCount:
    """Events among one direction's packets under one setting: at least ``seen``, and at most ``hidden`` more."""

    way: str
    run: PacketRun
    seen: int
    hidden: int = 0

    @property
    def mean(self) -> float:
        """The mean number of events in that many packets."""
        return self.run.packets * self.run.chain.mean


def check_counts(ways: Sequence[Way], *, virtual: bool) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Return the findings of all counts, and notes."""
    found = [_lost(ways), _doubled(ways)]
    if any(netem.reorder for way in ways for netem in way.netems):
        found.append(_ahead(ways))
    findings = [finding for finding, _ in found if finding is not None]
    notes = [note for _, note in found if note]
    if any(_keeps_order(netem, way.delays[place].constant) for way in ways for place, netem in enumerate(way.netems)):
        findings.append(_order(ways, virtual=virtual))
    return tuple(findings), (*notes, *_unasserted(ways))


def _unasserted(ways: Sequence[Way]) -> tuple[str, ...]:
    """Return notes on the counts that are not judged: the seen count and the reason."""
    notes = []
    for way in ways:
        for netem in dict.fromkeys(way.netems):
            transit = way.transit
            for reason, what, seen in (
                (_why_not_lost(way, netem), "lost", len(transit.gone)),
                (_why_not_doubled(way, netem), "duplicated", len(transit.extra)),
                (_why_not_ahead(way, netem) if netem.reorder else "", "sent ahead", int(way.ahead.sum())),
            ):
                if reason:
                    notes.append(f"{way.name}: {seen} of {len(transit.entered)} packets {what}, not judged: {reason}")
    return tuple(dict.fromkeys(notes))


def _why_not_lost(way: Way, netem: Netem) -> str:
    if isinstance(netem.loss, RandomLoss) and netem.loss.correlation:
        return "netem's correlated loss does not lose the configured share"
    if netem.duplicate_correlation:
        return "duplication is correlated, which netem does not implement as named"
    if netem.ecn:
        return "netem marks packets instead of losing them, where both ends use ECN"
    if netem.corrupt:
        return "a packet whose header was corrupted cannot be matched"
    chain = way.engine.vanishing(netem)
    if chain is None:
        return "packets are duplicated as well, and the loss model is stateful"
    if chain.share is None and netem is not way.netems[-1]:
        return "before a step the number of markers is unknown, and they take steps of the loss model too"
    return ""


def _why_not_doubled(way: Way, netem: Netem) -> str:
    if netem.duplicate_correlation:
        return "duplication is correlated, which netem does not implement as named"
    if not netem.duplicate:
        return ""
    if isinstance(netem.loss, RandomLoss) and netem.loss.correlation:
        return "loss is correlated, and copies are lost as well"
    if netem.corrupt:
        return "a packet whose header was corrupted cannot be matched"
    if netem.ecn:
        return "netem marks packets instead of losing them, where both ends use ECN"
    return "" if way.engine.doubling(netem) is not None else "the loss model is stateful, and copies are lost as well"


def _why_not_ahead(way: Way, netem: Netem) -> str:
    if netem.reorder_correlation:
        return "reordering is correlated, which netem does not implement as named"
    chain = way.engine.ahead(netem)
    if chain is None:
        return f"a gap of {netem.gap} is too large for the model"
    if way.delays[way.netems.index(netem)].lowest_ns <= MOST_NS:
        return "a packet with a short random delay looks like one that was sent ahead"
    if chain.share is None and netem is not way.netems[-1]:
        return "before a step the number of markers is unknown, and the gap counts them too"
    return ""


def _judged(check: Check, verb: str, counts: Sequence[EventCount]) -> tuple[Finding | None, str]:
    """Check each direction's counts and those of both together, with a note where there are too few packets.

    Return no finding where nothing is judged.
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
        least, most = usual_events([count.run for count in group], chance)
        packets = sum(count.run.packets for count in group)
        events = sum(count.seen for count in group)
        hidden = sum(count.hidden for count in group)
        mean = sum(count.mean for count in group)
        usual = f"{least}" if least == most else f"{least} to {most}"
        expected.append(f"{name} {usual} of {packets}")
        seen.append(f"{name} {events} of {packets}")
        if (events > most or events + hidden < least) and outcome is not Outcome.FAILED:
            outcome = Outcome.FAILED
            message = f"{name}: {events} of {packets} packets were {verb}, where the settings give {mean:.1f} in the "
            message += f"mean and chance allows {usual}"
        none = exp(sum(count.run.chain.log_none(count.run.packets) for count in group)) if mean else 1.0
        if not events + hidden and none < SUSPECT / len(groups) and outcome is Outcome.PASSED:
            outcome = Outcome.INCONCLUSIVE
            message = f"{name}: none of {packets} packets was {verb}, where the mean is {mean:.1f}; that happens by "
            message += f"chance in 1 of {1 / none:,.0f} runs: too few packets to decide"
        too_few += [f"{name} {packets}"] if mean and not least else []
    tail = f" (false alarm in 1 of {1 / FALSE_ALARM:,.0f} runs)" if any(count.mean for count in counts) else ""
    text = "; ".join(seen)
    packets = sum(count.run.packets for count in counts)
    note = f"too few packets to detect a link on which none is {verb}: {', '.join(too_few)}" if too_few else ""
    return check.finding(outcome, message or f"{text} {verb}", "; ".join(expected) + tail, text, packets), note


def _lost(ways: Sequence[Way]) -> tuple[Finding | None, str]:
    counts, overflow, unasked = [], [], 0
    for way in ways:
        gone = np.zeros(len(way.transit.entered), dtype=np.bool_)
        gone[way.transit.gone] = True
        waiting, crowded = cache(partial(packets_waiting, way)), most_waiting(way)
        for place, netem in enumerate(way.netems):
            here = _settled(way, place)
            room = netem.limit - way.unseen
            full = here & (waiting() >= room) if crowded >= room else np.zeros_like(here)
            dropped = int((gone & full).sum())
            if dropped:
                overflow.append(f"{dropped} {way.name} with {int(waiting()[gone & full].min())} waiting")
                unasked += dropped if netem.limit == _DEFAULT_LIMIT and netem.loss is None else 0
            chain = way.engine.vanishing(netem)
            if chain is None or _why_not_lost(way, netem):
                continue
            free = here & ~full
            counts.append(
                EventCount(
                    way=way.name,
                    run=PacketRun(chain=chain, packets=int(free.sum()), unseen=way.unseen),
                    seen=int((gone & free).sum()),
                    hidden=way.transit.hidden if netem.duplicate else 0,
                )
            )
    found, note = _judged(LOSS, "lost", counts)
    if found is None:
        return None, ""
    if unasked:
        message = f"the queue's default limit of {_DEFAULT_LIMIT} packets was hit: {'; '.join(overflow)}"
        return replace(found, outcome=Outcome.FAILED, message=message), note
    if found.outcome is Outcome.FAILED and all(count.mean == 0 for count in counts):
        return replace(found, message=f"{found.message}{_likeness(ways)}"), note
    if overflow:
        message = f"{found.message}; and by the configured limit {'; '.join(overflow)}"
        return replace(found, message=message), note
    return found, note


def _likeness(ways: Sequence[Way]) -> str:
    """Return a hint at a queue's limit where packets are lost only while the same number waits, else empty."""
    for way in ways:
        if len(way.transit.gone):
            waiting = packets_waiting(way)
            lost = waiting[way.transit.gone]
            if len(lost) > 1 and lost.min() >= waiting.max() - 1 and waiting.max() > 1:
                limits = " and ".join(str(netem.limit) for netem in dict.fromkeys(way.netems))
                return (
                    f"; {way.name} all found {int(lost.min())} packets waiting, which looks like a queue's limit "
                    f"(configured: {limits})"
                )
    return ""


def _settled(way: Way, place: int) -> Booleans:
    """Return which packets came in under a setting, early enough to leave before its end."""
    here: Booleans = way.entered_setting == place
    if place < len(way.changes_ns):
        here = here & (way.transit.entered_ns + way.delays[place].highest_ns < way.changes_ns[place])
    return here


def packets_waiting(way: Way) -> npt.NDArray[np.int64]:
    """Return how many packets that left later were in the link when each packet came in."""
    transit = way.transit
    came = np.sort(transit.entered_ns[transit.earliest[transit.matched]], kind="stable")
    before = np.searchsorted(came, transit.entered_ns, side="left")
    waiting: npt.NDArray[np.int64] = before - np.searchsorted(way.left_ns, transit.entered_ns, side="right")
    return waiting


def most_waiting(way: Way) -> int:
    """Return a number that no packet finds more than waiting: of every few packets, what the most of them may find."""
    transit = way.transit
    edges = np.append(transit.entered_ns[::_EVERY], transit.entered_ns[-1:])
    came = transit.entered_ns[transit.earliest[transit.matched]]
    if not len(came):
        return 0
    if (came[1:] < came[:-1]).any():
        came = np.sort(came, kind="stable")
    before = np.searchsorted(came, edges, side="left")
    return int((before[1:] - np.searchsorted(way.left_ns, edges[:-1], side="right")).max())


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
                EventCount(
                    way=way.name,
                    run=PacketRun(chain=chain, packets=int(_settled(way, place).sum())),
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
                EventCount(
                    way=way.name,
                    run=PacketRun(chain=chain, packets=int(here.sum()), unseen=way.unseen),
                    seen=surely,
                    hidden=int((here & way.ahead).sum()) - surely,
                )
            )
    return _judged(REORDERED, "sent ahead", counts)


def _keeps_order(netem: Netem, constant: bool) -> bool:
    """Return whether packets keep their order.

    netem's queue is sorted by due time, then by arrival (``tfifo_enqueue()``); behind a rate all packets keep order.
    """
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
            # NumPy sorts 16-bit numbers by counting.
            few = int(connection.max(initial=0)) < 1 << 16
            order = np.argsort(connection.astype(np.uint16) if few else connection, kind="stable")
            came, within = first[chosen][order].astype(np.int64), 0
            if not virtual:
                # A processor that captured a packet may be delayed before the link gets it, while another processor's
                # packet gets there: for no longer than a packet may take to be forwarded.
                came, within = transit.entered_ns[came], way.overhead.handing_ns
            came += connection[order] * (int(np.ptp(came)) + within + 1) if len(came) else 0
            late = int((np.maximum.accumulate(came) - came > within).sum()) if len(came) else 0
            total += len(chosen)
            if late:
                overtaken.append(f"{late} of {len(chosen)} {way.name}")
    outcome = Outcome.PASSED
    message = f"{total} packets, none overtaken"
    if overtaken:
        # Captures on several processors stamp independently.
        outcome = Outcome.FAILED if virtual else Outcome.INCONCLUSIVE
        message = f"packets were overtaken where no setting reorders: {' and '.join(overtaken)}"
    return ORDER.finding(outcome, message, "no packet overtaken: netem's queue is sorted by due time", message, total)
