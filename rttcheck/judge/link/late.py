"""Check the upper bound of packets in virtual time: half of them, and single ones.

A packet's due time follows from the engine's own arithmetic and its arrival (`Way`); it may be late by what the machine
adds (`LinkOverhead`). It is the link's fault if half of a direction's packets of similar size are later than usual, if
three single ones at different times are late, or if two are later than any packet may be; one pause of the processor of
that length is inconclusive. Real time is judged in `rttcheck.judge.link.noise`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.check import NOTHING, Check, Quality
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.link.overhead import MOST_NS, LinkOverhead
from rttcheck.judge.link.way import Way
from rttcheck.judge.machine.noise import Late
from rttcheck.judge.machine.stall import pauses, unless_stalled
from rttcheck.judge.pairing.transit import UNMATCHED

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

_US = 1_000

_ENOUGH = 10
"""Half of a group are significant from this many packets on: fewer may all have waited for the same work."""

SLIGHT = 3
"""This many late packets at different times are a failure; one or two may be late by up to `MOST_NS`."""

WAITS = 2
"""How often a packet waits for a processor in the link: to be released when it is due, and to be forwarded."""


NEVER_LATE: Final = Check(
    id="link.never-late",
    layer=Layer.LINK,
    title="no packet passes later than link and machine explain",
    asserts=(
        "No packet leaves the link later than the engine's model allows, plus forwarding, a timer and the "
        "work on other packets."
    ),
    against="the engine's model; forwarding without a qdisc, and timers, of the same kernel",
    tolerance=(
        "virtual time: median of each size as late as idle timers, single packets 100 us; real time: median of each "
        "size 100 us plus the timers' median, at most 150 us"
    ),
    needs=NOTHING,
    quality=Quality.LINK_CAPTURES,
)
TIMERS: Final = Check(
    id="link.timers",
    layer=Layer.LINK,
    title="timers of this kernel fire on time",
    asserts="Timers of this kernel fire on time when it is idle (virtual time only).",
    against="CLOCK_MONOTONIC",
    tolerance="median: 100 us",
    needs=NOTHING,
    quality=Quality.LINK_CAPTURES,
)


def check_late(ways: Sequence[Way], *, preemption: str, at_the_ends: bool = False) -> Finding:
    """Check the upper bound in virtual time; ``preemption``: what may preempt a softirq.

    ``at_the_ends``: netem is on the ends' own interfaces, and single packets also wait for what an end does besides,
    which no capture shows. 5.10 does so for up to 0.2 ms in bulk transfers.
    """
    chosen = [(way, bounded(way)) for way in ways]
    total = sum(int(each.sum()) for _, each in chosen)
    seen = seen_late(chosen)
    if not total:
        return nothing_bounded(ways, seen)
    if not all(way.overhead.known for way in ways):
        message = "the control run has too few packets to measure the machine's overhead"
        return NEVER_LATE.finding(Outcome.INCONCLUSIVE, message, "a control run with enough packets", seen, total)
    expected = "; ".join(f"{way.name} {_allowed(way.overhead)}" for way in ways)
    for way, each in chosen:
        for state, among in (("", each), ("due on an idle processor ", each & way.idle)):
            for size, group in sizes(way, among):
                middle = float(np.median(way.beyond_ns[group])) / _US
                if middle * _US > way.overhead.usual_ns:
                    message = (
                        f"half of the {int(group.sum())} packets {way.name} {size}{state}left {middle:.1f} us or more "
                        f"after they were due, where {way.overhead.usual_ns / _US:.1f} us are allowed"
                    )
                    return NEVER_LATE.finding(Outcome.FAILED, message, expected, seen, total)
    for limits, least in ((False, 1), (True, SLIGHT)):
        late = [(way, each & too_late(way, slight=limits)) for way, each in chosen]
        late = [(way, each) for way, each in late if each.any()]
        if sum(_pauses(way, each) for way, each in late) < least:
            continue
        counts = " and ".join(f"{int(each.sum())} {way.name}" for way, each in late)
        way, each = late[0]
        worst = int(np.where(each, way.beyond_ns, -1).argmax())
        message = (
            f"of {total} packets {counts} left later than link and machine explain, the worst {way.name} "
            f"{(way.left_ns - way.due_last_ns)[worst] / _US:.1f} us after it was due, having taken "
            f"{way.shortest_ns[worst] / _US:.1f} us"
        )
        outcome, message = unless_paused(message, late, total, preemption=preemption)
        if at_the_ends and outcome is Outcome.FAILED:
            outcome = Outcome.INCONCLUSIVE
            message += "; but netem is on the ends' own interfaces, and no capture shows what else they did meanwhile"
        return NEVER_LATE.finding(outcome, message, expected, seen, total)
    return NEVER_LATE.finding(Outcome.PASSED, f"{total} packets, none too late", expected, seen, total)


def _pauses(way: Way, late: Booleans) -> int:
    """Return how many pauses of the processor it takes to explain these packets."""
    return pauses(way.due_last_ns[late], way.left_ns[late])


def check_timers(late_ns: Integers) -> Finding:
    """Check the lateness of idle timers in virtual time: with late timers netem cannot be on time."""
    half = float(np.median(late_ns))
    low, high = int(late_ns.min()), int(late_ns.max())
    seen = f"{low / _US:.1f} to {high / _US:.1f} us late, median {half / _US:.1f} us"
    message = f"{len(late_ns)} timers on the idle kernel fired {seen}"
    expected = f"median at most {MOST_NS / _US:.0f} us late, including the return to the process"
    outcome = Outcome.FAILED if half > MOST_NS else Outcome.PASSED
    return TIMERS.finding(outcome, message, expected, seen, len(late_ns))


def spread(times_ns: Integers) -> str:
    """Return least, most and median as text."""
    if not len(times_ns):
        return "no packet"
    low, middle, high = (float(value) / _US for value in np.percentile(times_ns, (0, 50, 100)))
    return f"{low:.1f} to {high:.1f} us, median {middle:.1f} us"


def seen_late(chosen: Sequence[tuple[Way, Booleans]]) -> str:
    """Return how late the chosen packets of each direction were, as text."""
    return "; ".join(
        f"{way.name} {spread((way.left_ns - way.due_last_ns)[each])} after the latest that netem allows"
        for way, each in chosen
    )


def nothing_bounded(ways: Sequence[Way], seen: str) -> Finding:
    """Return the finding where no packet has an upper bound: passed with slots, otherwise no packet passed the link."""
    outcome = Outcome.PASSED if any(netem.slot for way in ways for netem in way.netems) else Outcome.INCONCLUSIVE
    return NEVER_LATE.finding(outcome, "no packet has an upper bound", "nothing", seen, 0)


def _allowed(overhead: LinkOverhead) -> str:
    """Return the bounds of one direction as text: they are the smallest detectable faults."""
    usual, single, unit, timer = (
        each / _US for each in (overhead.usual_ns, overhead.single_ns, overhead.unit_ns, overhead.timer_ns)
    )
    return (
        f"median of each size up to {usual:.1f} us late, single packets up to {single:.1f} us, fewer than {SLIGHT} up "
        f"to {MOST_NS / _US:.0f} us, not counting {unit:.1f} us or more for each packet in between (forwarding without "
        f"a qdisc: {spread(overhead.forwarded_ns)}; timers {timer:.1f} us late)"
    )


def too_late(way: Way, *, slight: bool = False) -> Booleans:
    """Return which packets are later than link and machine explain; ``slight``: also those that a few may be."""
    if slight:
        few: Booleans = way.beyond_ns > way.overhead.single_ns
        return few
    late = way.beyond_ns > MOST_NS
    # The rest of the work is only looked at where it may excuse a packet.
    excused = np.flatnonzero(late)
    unanswered_ns = way.overhead.unanswered_ns(way.due_last_ns[excused], way.left_ns[excused])
    late[excused] = way.beyond_ns[excused] - unanswered_ns > MOST_NS
    return late


def unless_paused(
    message: str, late: Sequence[tuple[Way, Booleans]], total: int, *, preemption: str
) -> tuple[Outcome, str]:
    """Return a failure, unless one pause of the processor explains all late packets, or PREEMPT_RT a few."""
    lates = [late_of(way, each, way.beyond_ns[each], 0) for way, each in late]
    return unless_stalled(message, replace(Late.together(*lates), total=total), None, preemption=preemption)


def late_of(way: Way, chosen: Booleans, excess_ns: Integers, total: int) -> Late:
    """Return the late packets as `Late`: each waits for the link and for the receiving end to wake up."""
    return Late(
        begin_ns=way.due_last_ns[chosen], end_ns=way.left_ns[chosen], excess_ns=excess_ns, total=total, waits=WAITS
    )


def bounded(way: Way) -> Booleans:
    """Return which packets have an upper bound: not those in slots, nor in flight during a change."""
    found: Booleans = (way.setting != UNMATCHED) & ~way.ahead
    for place, netem in enumerate(way.netems):
        if netem.slot is not None:
            found &= way.setting != place
    return found


def sizes(way: Way, among: Booleans) -> list[tuple[str, Booleans]]:
    """Return packets with a known due time, all and by size: a fault of one size must not hide among the others."""
    exact = among & way.exact
    longest = int(way.payload.max(initial=0))
    groups = (
        ("", exact),
        ("without data ", exact & (way.payload == 0)),
        (f"of less than {longest // 2} bytes ", exact & (way.payload > 0) & (2 * way.payload < longest)),
        (f"of {longest // 2} bytes or more ", exact & (way.payload > 0) & (2 * way.payload >= longest)),
    )
    return [(size, group) for size, group in groups if int(group.sum()) >= _ENOUGH]
