"""Check the upper bound of packets in real time: compare them with timers of the same seconds on the same cores.

In real time a machine may delay any packet for any time; timers that ran beside the traffic measure how often it does.
They depend on neither qdisc nor relay, so neither can excuse itself: the relay's own lateness is judged like any other.

The median has a limit of its own. Forwarding a packet and waking up for it takes tens of microseconds: the relay
released packets 17 to 66 us late in the median, in every named scenario, on two cores that also emulated a guest, and
timers ran 30 us late. On cores that may go idle in between it was up to 121 us, with timers 35 to 56 us late. So the
median of each direction and size, of packets without work on others, may be late by `HALF_NS` plus the timers' median,
and by no more than `MOST_HALF_NS`. Above that the timers may explain it, and then it is inconclusive, never passed.

Single packets are compared with the timers by count (Fisher's exact test), including timers of the control runs just
before and after: there are no more packets later than a level than waits as long on the core that the link uses, with a
false alarm rate of one in a million. Packets that one pause explains count once. A result rarer than one in a thousand
is inconclusive.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, lgamma
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.findings import Finding, Outcome, inconclusive_if
from rttcheck.judge.link.late import NEVER_LATE, bounded, late_of, nothing_bounded, sizes, spread
from rttcheck.judge.link.way import Way
from rttcheck.judge.machine.noise import Late, MachineNoise
from rttcheck.judge.machine.slack import FALSE_ALARM
from rttcheck.judge.machine.stall import at_few_moments, pauses

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

_US: Final = 1_000

HALF_NS: Final = 100_000
"""The limit of the median in real time, added to the timers' median."""

MOST_HALF_NS: Final = 150_000
"""The limit of the median however late the timers are: a fault of 200 us is found, one in between may be."""

SURE_NS: Final = 170_000
"""A median above the limit and below this may still be the cost of waking up on another machine."""

EACH_NS: Final = 25_000
"""The work on another packet in real time: the relay takes 15 to 20 us for one."""

MOST_WORK_NS: Final = 400_000
"""The most work on all packets in between: sixteen flows in step are the most of the named scenarios."""

SUSPECT: Final = 1e-3
"""A result with a smaller probability than this has not passed."""

LEVELS_NS: Final = tuple(level * _US for level in (200, 1_000, 5_000))
"""The levels of lateness at which single packets are counted."""


def check_noisy(ways: Sequence[Way], noise: MachineNoise) -> Finding:
    """Check the upper bound in real time."""
    noise = noise.in_link
    chosen = [(way, bounded(way) | (way.relay_due_ns > 0)) for way in ways]
    total = sum(int(each.sum()) for _, each in chosen)
    seen = "; ".join(f"{way.name} {spread(_late_ns(way)[each])} after they were due" for way, each in chosen)
    if not total:
        return nothing_bounded(ways, seen)
    half_ns = _half_ns(noise)
    expected = (
        f"median of each size up to {half_ns / _US:.0f} us late, and no more late single packets than late timers of "
        f"the same seconds ({noise.render_cores() or 'none'}), false alarm in 1 of {1 / FALSE_ALARM:,.0f} runs"
    )
    for way, each in chosen:
        late_ns = _late_ns(way)
        for size, group, alone in _groups(way, each):
            excess = late_ns[group] if alone else _beyond_ns(way)[group]
            middle = float(np.median(excess))
            # Where the work on others is subtracted already, that covers most of the cost of an idle core.
            most_ns = half_ns if alone else HALF_NS
            if middle <= most_ns:
                continue
            message = (
                f"half of the {int(group.sum())} packets {way.name} {size}left {middle / _US:.1f} us or more "
                f"after they were due, where {most_ns / _US:.0f} us are allowed"
            )
            over = group.copy()
            over[group] = excess > most_ns
            late = late_of(way, over, excess[excess > most_ns], int(group.sum()))
            cause = _ASLEEP if alone and middle <= SURE_NS else ""
            cause = cause or at_few_moments(way.left_ns[group] - late_ns[group], HALF_NS, late)
            cause = cause or (noise.explains(late, relayed=False) if noise.cores else _UNKNOWN)
            return NEVER_LATE.finding(*inconclusive_if(Outcome.FAILED, message, cause), expected, seen, total)
    undecided: Finding | None = None
    for level_ns in LEVELS_NS:
        for name, late, packets in _singles(chosen, level_ns):
            if not late.count:
                continue
            message = (
                f"{late.count} of {packets} packets {name} left {level_ns / _US:.0f} us or more after they were due"
            )
            if not noise.cores:
                return NEVER_LATE.finding(*inconclusive_if(Outcome.FAILED, message, _UNKNOWN), expected, seen, total)
            chance = _chance(late, packets, level_ns, noise) * 3 * len(LEVELS_NS)
            message += f", more than timers of the same seconds explain ({noise.render_cores()})"
            if chance < FALSE_ALARM:
                return NEVER_LATE.finding(Outcome.FAILED, message, expected, seen, total)
            if chance < SUSPECT:
                reason = f"that happens by chance in 1 of {1 / chance:,.0f} runs, which is too few to decide"
                unsure = inconclusive_if(Outcome.FAILED, message, reason)
                undecided = undecided or NEVER_LATE.finding(*unsure, expected, seen, total)
    passed = NEVER_LATE.finding(Outcome.PASSED, f"{total} packets, no later than timers explain", expected, seen, total)
    return undecided or passed


def _half_ns(noise: MachineNoise) -> int:
    late_ns = [float(np.median(core.late_ns)) for core in noise.cores if len(core.late_ns)]
    return min(HALF_NS + round(max(late_ns, default=0.0)), MOST_HALF_NS)


_ASLEEP: Final = f"less than {SURE_NS / _US:.0f} us may be the cost of waking up"

_UNKNOWN: Final = "no timers were measured during the run"


def _late_ns(way: Way) -> Integers:
    """Return how long after it was due each packet left, ns: by the model, or by the relay's record if that is more."""
    modelled = way.left_ns - way.due_last_ns - way.unseen_ns
    return np.where(way.relay_due_ns > 0, np.maximum(modelled, way.left_ns - way.relay_due_ns), modelled)


def _beyond_ns(way: Way) -> Integers:
    late_ns = _late_ns(way)
    return late_ns - np.minimum(EACH_NS * _others(way, late_ns), MOST_WORK_NS)


def _others(way: Way, late_ns: Integers) -> Integers:
    """Return how many packets passed between when each was due and when it left."""
    busy = way.overhead.busy.time_ns
    passed = np.searchsorted(busy, way.left_ns, side="left")
    others: Integers = np.maximum(passed - np.searchsorted(busy, way.left_ns - late_ns, side="right"), 0)
    return others


def _groups(way: Way, each: Booleans) -> list[tuple[str, Booleans, bool]]:
    """Return packets without work on others, by size; all of a direction where these are too few."""
    busy, due_ns = way.overhead.busy.time_ns, way.left_ns - _late_ns(way)
    quiet = np.searchsorted(busy, due_ns - HALF_NS, side="left")
    alone = each & (np.searchsorted(busy, np.minimum(way.left_ns, due_ns + HALF_NS), side="left") <= quiet)
    found = [(f"{size}with no other at the same time ", group, True) for size, group in sizes(way, alone)]
    return found or [(size, group, False) for size, group in sizes(way, each)]


def _singles(chosen: Sequence[tuple[Way, Booleans]], level_ns: int) -> list[tuple[str, Late, int]]:
    """Return the packets of each direction, and of both, that are later than a level after the work on others."""
    found = []
    for way, each in chosen:
        beyond = _beyond_ns(way)
        late = each & (beyond >= level_ns)
        found.append((way.name, late_of(way, late, beyond[late], int(each.sum())), int(each.sum())))
    together = Late.together(*(late for _, late, _ in found))
    return [*found, ("both ways", together, sum(packets for _, _, packets in found))]


def _chance(late: Late, packets: int, level_ns: int, noise: MachineNoise) -> float:
    """Return the probability of this many late packets, if packets wait no longer than timers on the core do."""
    wait_ns = level_ns - HALF_NS
    ticks = {core.name: 0 for core in noise.cores}
    peaks = 0
    for core in (*noise.cores, *noise.around):
        ticks[core.name] = ticks.get(core.name, 0) + len(core.late_ns)
        peaks += int((core.late_ns >= wait_ns).sum())
    count, fewest = pauses(late.begin_ns, late.end_ns), min(ticks.values())
    peaks = min(peaks, fewest)
    return at_least_of(count, packets, count + peaks, packets + fewest)


def at_least_of(count: int, drawn: int, marked: int, total: int) -> float:
    """Return the hypergeometric tail: P(``count`` or more of ``drawn`` are marked), of ``marked`` in ``total``."""
    if count <= max(0, drawn + marked - total):
        return 1.0

    def log_choose(number: int, taken: int) -> float:
        return lgamma(number + 1) - lgamma(taken + 1) - lgamma(number - taken + 1)

    whole = log_choose(total, drawn)
    return sum(
        exp(log_choose(marked, each) + log_choose(total - marked, drawn - each) - whole)
        for each in range(count, min(marked, drawn) + 1)
        if drawn - each <= total - marked
    )
