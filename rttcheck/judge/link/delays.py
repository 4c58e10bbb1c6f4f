"""Check the distribution of random delays: mean, spread, shape, and that they stay the same during the run.

Delays are drawn anew for each packet; whole samples are tested against the engine's exact distribution, each test with
a known false alarm rate. Constant delays are not tested here.

The delay itself is not visible: the captures show how long a packet took, which includes what the machine added. So
each delay lies in a range: at most what the packet took, at least that less what the machine may have added
(`LinkOverhead`). A test takes from each range the value that is best for the link: noise can hide a fault but not cause
one. In real time there is no upper bound on what a machine adds, so delays that seem too long are inconclusive there.

The tests hold for any number of packets, without normal approximations. Mean and mean square are compared with
Chernoff's bound with the distribution's own moments, every rank of the sorted sample with the binomial distribution. In
virtual time, with the machine's few microseconds, they find nine times in ten (simulated, one direction at fault,
jitter of 5 ms, at 1 in 1,000,000 per check):

- normal delays off by 0.75 of their standard deviation from 90 packets on, 0.5 from 200, 0.25 from 900, 0.1 from 5,000;
- uniform delays, whose ends are hard, off by 0.25 of it from 45 packets on, 0.1 from 100;
- half the spread from 70 packets on (normal) or 45 (uniform), 20 % less or more from 700 or 200;
- uniform delays where normal ones were asked for: from 100 packets on at the same ``jitter``, 500 at the same spread.

With both directions at fault half as many are enough, as both are also tested together. A delay beyond the ends of a
distribution is found by `check_link` in a single packet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.check import NOTHING, Check, Quality
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.link.model import Delay
from rttcheck.judge.link.noise import HALF_NS
from rttcheck.judge.link.overhead import MOST_NS
from rttcheck.judge.link.way import Way
from rttcheck.judge.machine.chance import Draws, Floats, Law, rarest_low, usual_sum
from rttcheck.judge.machine.slack import FALSE_ALARM

Integers = npt.NDArray[np.int64]

_OUTLIERS = 10
"""Without the relay's record of each packet, one in this many may have met noise of any length."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DelaySample:
    """Packets of one direction with a random delay under one setting, in the order in which they came in."""

    way: str
    delay: Delay
    least_ns: Integers
    """The shortest possible delay of each packet."""
    most_ns: Integers
    """The longest possible one."""

    def part(self, chosen: slice) -> DelaySample:
        """Return a sample of the chosen packets."""
        return DelaySample(way=self.way, delay=self.delay, least_ns=self.least_ns[chosen], most_ns=self.most_ns[chosen])

    def __len__(self) -> int:
        """Return the number of packets."""
        return len(self.least_ns)


def samples_of(way: Way, *, virtual: bool) -> tuple[DelaySample, ...]:
    """Return the packets of a direction whose delays can be tested against a distribution, per setting.

    Left out are packets behind a rate, where waiting hides the delay, in slots, which come after the delay, and with
    correlated delays, which are not drawn independently.
    """
    found = []
    for place, (netem, delay) in enumerate(zip(way.netems, way.delays, strict=True)):
        if delay.constant or netem.rate_bytes or netem.slot is not None or netem.delay_correlation:
            continue
        # If packets sent ahead look like ones with a short delay, the remaining ones are a biased sample.
        if netem.reorder and delay.lowest_ns <= MOST_NS:
            continue
        chosen = np.flatnonzero(way.under(place))
        entered_ns = way.transit.entered_ns[way.transit.latest[way.transit.matched[chosen]]]
        chosen = chosen[np.argsort(entered_ns, kind="stable")]
        if virtual and not way.overhead.known:
            added = way.shortest_ns[chosen]
        elif virtual:
            added = way.overhead.allowed_ns(way.left_ns[chosen])
        else:
            added = _noise_ns(way, chosen)
        if len(chosen):
            found.append(
                DelaySample(
                    way=way.name,
                    delay=delay,
                    least_ns=np.maximum(way.shortest_ns[chosen] - added, 0),
                    most_ns=way.longest_ns[chosen],
                )
            )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Test:
    """The result of one test of one group: the deviation and whether it is upwards, the seen and the usual value."""

    off: str
    upward: bool
    seen: str
    usual: str
    able: bool
    """Whether this many packets could fail the test at all."""


_Tester = Callable[[Sequence[DelaySample], float], _Test]


def _noise_ns(way: Way, chosen: npt.NDArray[np.intp]) -> Integers:
    """Return what the machine may have added in real time.

    Where the relay recorded when a packet was due, everything after that. Otherwise what forwarding and waking up cost
    half of all packets at most (`HALF_NS`), and any time for one packet in ten: packets that are later than timers
    explain are found by `check_noisy`.
    """
    took_ns, relay_due_ns = way.shortest_ns[chosen], way.relay_due_ns[chosen]
    added = np.full(len(took_ns), HALF_NS, dtype=np.int64)
    longest = np.argsort(took_ns, kind="stable")[len(took_ns) - len(took_ns) // _OUTLIERS :]
    added[longest] = took_ns[longest]
    return np.where(relay_due_ns > 0, np.maximum(way.left_ns[chosen] - relay_due_ns, 0), added)


MEAN: Final = Check(
    id="link.delay-mean",
    layer=Layer.LINK,
    title="the mean delay is as configured",
    asserts="The mean of random delays is as configured.",
    against="the engine's exact distribution of delays",
    tolerance="false alarm in one of a million runs",
    needs=NOTHING,
    quality=Quality.LINK_CAPTURES,
)
SCATTER: Final = Check(
    id="link.delay-scatter",
    layer=Layer.LINK,
    title="the spread of delays is as configured",
    asserts="The spread of random delays around the mean is as configured.",
    against="the engine's exact distribution of delays",
    tolerance="false alarm in one of a million runs",
    needs=NOTHING,
    quality=Quality.LINK_CAPTURES,
)
DISTRIBUTION: Final = Check(
    id="link.delay-distribution",
    layer=Layer.LINK,
    title="the distribution of delays is as configured",
    asserts="Random delays have the configured distribution, rank by rank.",
    against="the engine's exact distribution of delays",
    tolerance="false alarm in one of a million runs",
    needs=NOTHING,
    quality=Quality.LINK_CAPTURES,
)
STEADY: Final = Check(
    id="link.delay-steady",
    layer=Layer.LINK,
    title="the distribution of delays does not change during the run",
    asserts="Each half of the run has the configured mean and distribution.",
    against="the engine's exact distribution of delays",
    tolerance="false alarm in one of a million runs",
    needs=NOTHING,
    quality=Quality.LINK_CAPTURES,
)


def check_delays(samples: Sequence[DelaySample], *, virtual: bool) -> tuple[Finding, ...]:
    """Return the findings on all random delays of a run; none where no delay is random."""
    if not samples:
        return ()
    groups = _groups(samples)
    halves = [
        (f"{sample.way}, the {name} half", (sample.part(half),))
        for sample in samples
        for name, half in (("first", slice(0, len(sample) // 2)), ("second", slice(len(sample) // 2, None)))
    ]
    return (
        _check(MEAN, groups, (_mean,), virtual=virtual),
        _check(SCATTER, groups, (_square,), virtual=virtual),
        _check(DISTRIBUTION, groups, (_ranks,), virtual=virtual),
        _check(STEADY, halves, (_mean, _ranks), virtual=virtual),
    )


def _groups(samples: Sequence[DelaySample]) -> list[tuple[str, tuple[DelaySample, ...]]]:
    """Return each direction and both together: a fault of both directions shows in fewer packets."""
    ways = tuple(dict.fromkeys(sample.way for sample in samples))
    groups = [(name, tuple(sample for sample in samples if sample.way == name)) for name in ways]
    return [*groups, ("both ways", tuple(samples))] if len(ways) > 1 else groups


def _check(
    check: Check, groups: Sequence[tuple[str, Sequence[DelaySample]]], tests: Sequence[_Tester], *, virtual: bool
) -> Finding:
    """Run every test on every group; the false alarm rate is shared equally among all of them and both sides."""
    groups = [(name, group) for name, group in groups if any(len(sample) for sample in group)]
    chance = FALSE_ALARM / (2 * len(groups) * len(tests))
    results = [(name, group, test(group, chance)) for name, group in groups for test in tests]
    total = sum(len(sample) for sample in groups[-1][1]) if len(groups) == 3 else 0
    total = max(total, sum(len(sample) for _, group in groups[:2] for sample in group))
    expected = "; ".join(f"{name} {result.usual}" for name, _, result in results)
    expected += f" (false alarm in 1 of {1 / FALSE_ALARM:,.0f} runs)"
    seen = "; ".join(f"{name} {result.seen}" for name, _, result in results)
    outcome, message = Outcome.PASSED, seen
    able = [result for _, _, result in results if result.able]
    if not able:
        outcome, message = Outcome.INCONCLUSIVE, f"{total} packets are too few to test the delays"
    for name, _, result in results:
        if result.off and outcome is not Outcome.FAILED:
            outcome, message = Outcome.FAILED, f"{name}: {result.off}"
            if not virtual and result.upward:
                outcome = Outcome.INCONCLUSIVE
                message += ", which the machine may have caused in real time"
    return check.finding(outcome, message, expected, seen, total)


@lru_cache(maxsize=16)
def _laws(delay: Delay) -> tuple[Law, Law]:
    """Return the laws of a delay's distance from the mean, in standard deviations, and of its square."""
    distance = (delay.values_ns - delay.mean_ns) / delay.deviation_ns
    return Law.of(distance, delay.weights), Law.of(distance**2, delay.weights)


def _ends(sample: DelaySample) -> tuple[Floats, Floats]:
    """Return the shortest and longest delay of each packet, in standard deviations from the mean."""
    delay = sample.delay
    mean_ns, deviation_ns = np.float64(delay.mean_ns), np.float64(delay.deviation_ns)
    return (sample.least_ns - mean_ns) / deviation_ns, (sample.most_ns - mean_ns) / deviation_ns


def _mean(group: Sequence[DelaySample], chance: float) -> _Test:
    parts = [Draws(len(one), _laws(one.delay)[0]) for one in group]
    lowest, highest = usual_sum(parts, chance)
    least = sum(float(_ends(one)[0].sum()) for one in group)
    most = sum(float(_ends(one)[1].sum()) for one in group)
    total = sum(len(one) for one in group)
    off = ""
    if most < lowest or least > highest:
        off = f"the mean of {total} delays is {_scaled(group, (most if most < lowest else least) / total)}"
        off += " from the configured one"
    return _Test(
        off=off,
        upward=least > highest,
        seen=f"mean off by {_scaled(group, most / total)}",
        usual=f"mean off by {_scaled(group, lowest / total)} to {_scaled(group, highest / total)}",
        able=_able(parts, lowest, highest),
    )


def _square(group: Sequence[DelaySample], chance: float) -> _Test:
    parts = [Draws(len(one), _laws(one.delay)[1]) for one in group]
    lowest, highest = usual_sum(parts, chance)
    narrow = wide = 0.0
    for one in group:
        left, right = _ends(one)
        wide += float((np.maximum(np.maximum(left, -right), 0.0) ** 2).sum())
        narrow += float((np.maximum(-left, right) ** 2).sum())
    total = sum(len(one) for one in group)
    seen, low, high = (100 * np.sqrt(max(value, 0.0) / total) for value in (narrow, lowest, highest))
    off = ""
    if narrow < lowest or wide > highest:
        share = 100 * np.sqrt((narrow if narrow < lowest else wide) / total)
        off = f"the spread of {total} delays around the mean is {share:.0f} % of the configured one"
    return _Test(
        off=off,
        upward=wide > highest,
        seen=f"spread {seen:.0f} % of the configured one",
        usual=f"spread {low:.0f} to {high:.0f} % of the configured one",
        able=_able(parts, lowest, highest),
    )


def _ranks(group: Sequence[DelaySample], chance: float) -> _Test:
    below = np.concatenate([one.delay.share_up_to(one.most_ns) for one in group])
    above = np.concatenate([1.0 - one.delay.share_below(one.least_ns) for one in group])
    total = len(below)
    # Later than the longest possible delay: how late, how many and why is for `check_late` to judge.
    possible = above[above > 0]
    (low, low_rank), (high, high_rank) = rarest_low(below), rarest_low(possible)
    off = ""
    if low < chance:
        share = float(np.sort(below)[low_rank - 1])
        off = f"the shortest {low_rank} of {total} delays are in a range that should hold {share:.2%} of all"
    elif high < chance:
        share = float(np.sort(possible)[high_rank - 1])
        off = f"the longest {high_rank} of {len(possible)} delays are in a range that should hold {share:.2%} of all"
    # The largest distance of any rank from its expected place: Kolmogorov's distance.
    distance = float(np.abs(np.sort(below) - (np.arange(total) + 0.5) / total).max())
    return _Test(
        off=off,
        upward=not low < chance and high < chance,
        seen=f"at most {distance:.2f} from the model (Kolmogorov's distance)",
        usual=f"each rank of {total} as in the model",
        able=total > 1,
    )


def _scaled(group: Sequence[DelaySample], deviations: float) -> str:
    """Return text in microseconds where all packets have one configured spread, else in standard deviations."""
    scales = {one.delay.deviation_ns for one in group}
    if len(scales) > 1:
        return f"{deviations:+.2f} standard deviations"
    return f"{deviations * next(iter(scales)) / 1_000:+.0f} us"


def _able(parts: Sequence[Draws], lowest: float, highest: float) -> bool:
    """Return whether some possible delays would be called unusual."""
    least = sum(part.number * part.law.least for part in parts)
    most = sum(part.number * part.law.most for part in parts)
    return lowest > least or highest < most
