"""Check that segments are stamped on departure and ACKs processed on arrival, to within the work on one packet.

The limits do not come from a run of the kernel's TCP. In virtual time there is one processor and no noise: half of the
segments must be stamped at most `work_ns` before they leave, and half of the ACKs processed at most `work_ns` after
they come in. That is four times what a packet takes from one interface to the next (`hop_ns`), in which TCP has no
part; 3 us are usual where the limit is 13 us (5.10 to 7.3). No single value may hold a gap of more than `MOST_NS` in
which no packet passed. In real time half of the values must be within `MOST_NS`, unless timers on the same cores were
as late; single values may be late by chance.

Of an ACK that waited for the thread that owned its socket only the lead is checked: the wait is real time, the kernel's
sample includes it by design, and nothing bounds how long the thread works. The notes report how many waited, and how
long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.check import Check, Needs, Quality
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding, Layer, Outcome, inconclusive_if
from rttcheck.judge.link.bounds import engine_bounds, load_of
from rttcheck.judge.machine.hop import MOST_NS, hop_ns
from rttcheck.judge.machine.noise import Late
from rttcheck.judge.machine.stall import at_few_moments, unless_stalled
from rttcheck.judge.observation import Observation
from rttcheck.judge.pairing.wire_times import MICROSECOND_NS, Booleans, Integers, TimedValues, spread_us
from rttcheck.judge.sample.overhead import Passing, SampleOverhead
from rttcheck.judge.samples import Side
from rttcheck.record.event import Owned

_LEAST_NS: Final = 12_000
"""The limit for half of the values is at least this, however fast the machine."""

_HOPS: Final = 4
"""A segment is built, routed and handed to its device; a hop is one veth pair and a softirq."""

ENOUGH: Final = 8
"""The least number of values for the check of half of them: fewer may all be delayed by the same other work."""

LEAD: Final = Check(
    id="sample.stamp-on-departure",
    layer=Layer.SAMPLE,
    title="segments are stamped when they leave",
    asserts="The time from a segment's stamp to its departure is at most the work on one packet.",
    against="the time of each packet at the sender's own interface",
    tolerance=(
        "half of the values: four hops of the veth pair, 12 to 100 us (virtual time), 100 us (real time); each "
        "value: 100 us in which no packet passed (virtual time only)"
    ),
    needs=Needs(all_of=("sample_us",)),
    quality=Quality.PACKETS_AND_EVENTS,
)
LAG: Final = Check(
    id="sample.ack-on-arrival",
    layer=Layer.SAMPLE,
    title="ACKs are processed when they arrive",
    asserts=("The kernel reads an ACK's time (tcp_mstamp) after the ACK arrives, by at most the work on one packet."),
    against="the time of each packet at the sender's own interface",
    tolerance="as for sample.stamp-on-departure; ACKs that waited for the thread that owned their socket are excluded",
    needs=Needs(all_of=("sample_us",)),
    quality=Quality.PACKETS_AND_EVENTS,
)


def check_overhead(evidence: Evidence, observation: Observation) -> tuple[tuple[Finding, ...], str]:
    """Return both findings of a run, and a note on ACKs that waited; empty without any."""
    wire_times = observation.wire_times
    exact: list[tuple[TimedValues, SampleOverhead]] = []
    for timed in wire_times.exact:
        # Mostly the sample is the first-acked time and the last-acked one too: they have one overhead.
        known = next((overhead for other, overhead in exact if timed.same_times(other)), None)
        stamp_ns = observation.stamp_ns[timed.segment] if known is None else None
        exact.append((timed, known or SampleOverhead.of(timed, observation.events, stamp_ns)))
    limits = _Limits.of(evidence, observation)
    passing = Passing(wire=observation.wire)
    findings = (
        _lead(evidence, observation, exact, passing, limits),
        _lag(evidence, observation, *exact[0], passing, limits),
    )
    return findings, _waits(exact[0][1])


@dataclass(frozen=True, slots=True)
class _Limits:
    """Limits in nanoseconds: for half of the values, and for each value in virtual time."""

    half_ns: int
    single_ns: int | None

    @classmethod
    def of(cls, evidence: Evidence, observation: Observation) -> _Limits:
        if not evidence.virtual:
            return cls(MOST_NS, None)
        return cls(work_ns(observation.wire), MOST_NS)

    def render(self, what: str) -> str:
        text = f"{what}: half of them by at most {self.half_ns / MICROSECOND_NS:.1f} us"
        if self.single_ns is None:
            return text
        return f"{text}, and none by more than {self.single_ns / MICROSECOND_NS:.0f} us in which no packet passed"


def work_ns(wire: np.ndarray) -> int:
    """Return the most time that the work on one packet may take in virtual time, from the packets' hops, ns."""
    return min(max(_HOPS * hop_ns(wire), _LEAST_NS), MOST_NS)


def _waits(part: SampleOverhead) -> str:
    waited = part.lag_ns[part.owned == Owned.YES]
    if not len(waited):
        return ""
    return (
        f"{len(waited)} of {len(part.lag_ns)} ACKs waited in the backlog for the thread that owned their socket; "
        f"their samples include the wait: {spread_us(waited)}"
    )


def _lead(
    evidence: Evidence, observation: Observation, parts: Sequence[tuple[TimedValues, SampleOverhead]],
    passing: Passing, limits: _Limits,
) -> Finding:  # fmt: skip
    total = sum(len(timed.event) for timed, _ in parts)
    seen = f"stamped {spread_us(parts[0][1].lead_ns)} before the segment left"
    expected = limits.render("stamps from before the segment leaves")
    queued = own_queue_ns(evidence) if not observation.control else np.zeros(len(Side), dtype=np.int64)
    if queued is None:
        message = f"{observation.where}the sender's own interface delays, and its model has no upper bound"
        return LEAD.finding(Outcome.PASSED, message, "nothing", seen, 0)
    if not total:
        return LEAD.finding(Outcome.INCONCLUSIVE, f"{observation.where}no sample", expected, seen, 0)
    found = []
    if limits.single_ns is not None:
        lates = []
        for timed, part in parts:
            queued_ns = queued[observation.sides[timed.event]]
            excess_ns = part.lead_ns - queued_ns
            # No gap is longer than the lead itself.
            long = np.flatnonzero(excess_ns > limits.single_ns)
            if len(long):
                excess_ns[long] = part.quiet_lead_ns(passing, long) - queued_ns[long]
            lates.append(_Over(timed, part.lead_ns, excess_ns, excess_ns > limits.single_ns, departing=True))
        if any(late.chosen.any() for late in lates):
            message = observation.where + _worst(lates, "{lead} us before the segment left")
            each = Late.together(*(late.late() for late in lates))
            found.append(unless_stalled(message, each, None, preemption=evidence.thread_preemption))
    timed, part = parts[0]
    # Each lead includes a timer of the sender's own netem: half of them do not measure the sender's work.
    if not queued.any():
        early = (part.opens & ~part.passive, part.lead_ns, "are stamped", "before they leave", True)
        found += _by_half(evidence, observation, timed, *early, limits.half_ns)
    passed = (Outcome.PASSED, f"{observation.where}{total} values, {seen}")
    return LEAD.finding(*_worst_of(found, passed), expected, seen, total)


def _lag(
    evidence: Evidence, observation: Observation, timed: TimedValues, part: SampleOverhead, passing: Passing,
    limits: _Limits,
) -> Finding:  # fmt: skip
    chosen = part.at_once
    total = int(chosen.sum())
    seen = f"{spread_us(part.lag_ns[chosen])} after the ACK came in"
    behind = (part.lag_ns <= -MICROSECOND_NS) & ~part.passive
    for wrong, relation, expected in (
        (behind, "earlier than the ACK's arrival", "tcp_mstamp after the ACK's arrival"),
        (part.now_after_call, "later than the call that used it", "tcp_mstamp before the call"),
    ):
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            message = (
                f"{observation.where}in {int(wrong.sum())} of {len(wrong)} samples tcp_mstamp is "
                f"{relation}, the first {timed.render(at)}"
            )
            return LAG.finding(Outcome.FAILED, message, expected, seen, len(wrong))
    if (part.owned == Owned.UNKNOWN).any():
        message = "the probe does not report whether a thread owned the socket: any wait may be for the thread"
        return LAG.finding(Outcome.INCONCLUSIVE, message, "whether a thread owned the socket at each call", seen, total)
    expected = limits.render("ACKs processed after they came in")
    found = []
    if limits.single_ns is not None:
        quiet_lag_ns = part.lag_ns.copy()
        # No gap is longer than the lag itself.
        long = np.flatnonzero(chosen & (quiet_lag_ns > limits.single_ns))
        if len(long):
            quiet_lag_ns[long] = part.quiet_lag_ns(passing, long)
        late = chosen & (quiet_lag_ns > limits.single_ns)
        if late.any():
            at = int(np.flatnonzero(late)[quiet_lag_ns[late].argmax()])
            message = (
                f"{observation.where}{int(late.sum())} of {total} ACKs that did not wait were processed late, the "
                f"worst {part.lag_ns[at] / MICROSECOND_NS:.1f} us after it came in: {timed.render(at)}"
            )
            each = _Over(timed, part.lag_ns, quiet_lag_ns, late, departing=False).late(total)
            found.append(unless_stalled(message, each, None, preemption=evidence.thread_preemption))
    # For passive handshakes the call's own time replaces the kernel's now: it is after the child socket was made.
    groups = ((chosen, limits.half_ns, ""), (part.passive, MOST_NS, "(handshakes) "))
    for group, half_ns, prefix in groups:
        took = (group, part.lag_ns, f"{prefix}have their ACK processed", "after it came in", False)
        found += _by_half(evidence, observation, timed, *took, half_ns)
    passed = (Outcome.PASSED, f"{observation.where}{total} ACKs that did not wait, processed {seen}")
    return LAG.finding(*_worst_of(found, passed), expected, seen, total)


def _worst_of(found: Sequence[tuple[Outcome, str]], passed: tuple[Outcome, str]) -> tuple[Outcome, str]:
    """Return the first failure, else the first inconclusive result: it must not hide a failure."""
    failed = [each for each in found if each[0] is Outcome.FAILED]
    return next(iter((*failed, *found, passed)))


@dataclass(frozen=True, slots=True, eq=False)
class _Over:
    """Values of an timed and by how much each is over; ``chosen`` are too far."""

    timed: TimedValues
    took_ns: Integers
    excess_ns: Integers
    chosen: Booleans
    departing: bool
    """Whether the time is a lead, which ends at the segment's departure; a lag begins at the ACK's arrival."""

    def late(self, total: int | None = None) -> Late:
        """Return the chosen values as late ones of ``total``."""
        took_ns = self.took_ns[self.chosen]
        if self.departing:
            end_ns = self.timed.departed_ns[self.chosen]
            begin_ns = end_ns - took_ns
        else:
            begin_ns = self.timed.arrived_ns[self.chosen]
            end_ns = begin_ns + took_ns
        return Late(
            begin_ns=begin_ns,
            end_ns=end_ns,
            excess_ns=self.excess_ns[self.chosen],
            total=len(self.chosen) if total is None else total,
        )


def _worst(lates: Sequence[_Over], relation: str) -> str:
    counts = ", ".join(
        f"{int(one.chosen.sum())} of {len(one.chosen)} values of {one.timed.name}" for one in lates if one.chosen.any()
    )
    one = next(late for late in lates if late.chosen.any())
    at = int(np.where(one.chosen, one.excess_ns, np.iinfo(np.int64).min).argmax())
    lead = relation.format(lead=f"{one.took_ns[at] / MICROSECOND_NS:.1f}")
    return f"{counts} begin too early, the worst {one.timed.render(at)}: its stamp is {lead}"


def _by_half(
    evidence: Evidence, observation: Observation, timed: TimedValues, chosen: Booleans, took_ns: Integers, verb: str,
    when: str, departing: bool, half_ns: int,
) -> tuple[tuple[Outcome, str], ...]:  # fmt: skip
    """Return the result where half of one side's values exceed the limit; each side is checked on its own."""
    groups = [
        (side, group)
        for side, group in _sides(observation, timed, chosen)
        if float(np.median(took_ns[group])) > half_ns
    ]
    if not groups:
        return ()
    side, group = groups[0]
    message = (
        f"{observation.where}half of the {side.name.lower()}'s {int(group.sum())} samples {verb} "
        f"{np.median(took_ns[group]) / MICROSECOND_NS:.1f} us or more {when}; the work on one packet takes at "
        f"most {half_ns / MICROSECOND_NS:.1f} us"
    )
    if evidence.noise is None:
        return ((Outcome.FAILED, message),)
    both: Booleans = np.logical_or.reduce([group for _, group in groups])
    late = _Over(timed, took_ns, took_ns - half_ns, both & (took_ns > half_ns), departing).late(int(both.sum()))
    begin_ns = timed.departed_ns - took_ns if departing else timed.arrived_ns
    few = at_few_moments(begin_ns[both], half_ns, late)
    if few:
        return (inconclusive_if(Outcome.FAILED, message, few),)
    return (unless_stalled(message, late, evidence.noise, relayed=False),)


def _sides(observation: Observation, timed: TimedValues, chosen: Booleans) -> Iterator[tuple[Side, Booleans]]:
    sides: npt.NDArray[np.uint8] = observation.sides[timed.event]
    for side in np.unique(sides[chosen]):
        group = chosen & (sides == side)
        if int(group.sum()) >= ENOUGH:
            yield Side(side), group


def own_queue_ns(evidence: Evidence) -> npt.NDArray[np.int64] | None:
    """Return the most that netem on the sender's own interface may add, by `Side`, ns: captures see packets after it.

    None where there is no upper bound; 0 where the delay is in the middle.
    """
    queued = np.zeros(len(Side), dtype=np.int64)
    if not evidence.own_queues:
        return queued
    loads = load_of(evidence.scenario)
    for side, way in ((Side.CLIENT, 0), (Side.SERVER, 1)):
        highest = [engine_bounds(link[way], loads[way]).highest_ns for link in evidence.scenario.links]
        if any(one is None for one in highest):
            return None
        queued[side] = max(one or 0 for one in highest)
    queued[Side.NEITHER] = queued.max()
    return queued
