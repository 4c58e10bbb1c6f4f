"""Are segments stamped when they leave, and ACKs taken when they come, to within the work on one packet.

It owns the limits: how long the work on one packet may take. What the work is made of is `Overhead`'s.

No run of the kernel's TCP says what the limits are. In virtual time there is one processor and no noise: half of the
segments are stamped at most `work_ns` before they leave, and half of the ACKs are taken at most as long after they
come. That is four times what a packet takes from one interface to the next (`hop_ns`), in which TCP has no part;
3 us are usual where the limit is 13 us (5.10 to 7.3). No single one of them waits for more than `MOST_NS` in which no
packet passed. In real time half of them obey `MOST_NS`, unless timers on the same cores were as late; single ones may
be late by chance.

An ACK that waited for the thread that owned its socket is judged by its lead only: the wait is real time, the kernel's
sample holds it by design, and how long a thread works is nobody's promise. How many and how long is in the notes.
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
from rttcheck.judge.pairing.wire_times import MICROSECOND_NS, Account, Booleans, Integers, spread_us
from rttcheck.judge.sample.overhead import Overhead, passing_of
from rttcheck.judge.samples import Side
from rttcheck.record.event import Owned

_LEAST_NS: Final = 12_000
"""No faster machine makes the limit for half of the values smaller."""

_HOPS: Final = 4
"""A segment is built, routed and handed to its device; a hop is one veth pair and a softirq."""

ENOUGH: Final = 8
"""From so many values on half of them are a measure: a few may all have met the same work on something else."""

LEAD: Final = Check(
    id="sample.stamp-on-departure",
    layer=Layer.SAMPLE,
    title="segments are not time-stamped before they leave",
    asserts="Segments are time-stamped at most as long before they leave as the work on one packet takes.",
    against="the time of each packet at the sender's own interface",
    tolerance=(
        "half of the values: four hops of the veth pair, 12 to 100 us (virtual time), 100 us (real time); a "
        "single one: 100 us in which no packet passed (virtual time only)"
    ),
    needs=Needs(all_of=("sample_us",)),
    quality=Quality.PACKETS_AND_EVENTS,
)
LAG: Final = Check(
    id="sample.ack-on-arrival",
    layer=Layer.SAMPLE,
    title="ACKs are processed when they arrive",
    asserts=(
        "The kernel takes an ACK's time (tcp_mstamp) not before the ACK arrives, and at most as long after as "
        "the work on one packet takes."
    ),
    against="the time of each packet at the sender's own interface",
    tolerance="as for sample.stamp-on-departure; ACKs that waited for the thread that owned their socket are left out",
    needs=Needs(all_of=("sample_us",)),
    quality=Quality.PACKETS_AND_EVENTS,
)


def check_overhead(evidence: Evidence, observation: Observation) -> tuple[tuple[Finding, ...], str]:
    """Make both checks of all values of a run, and say what a reader should know of ACKs that waited."""
    wire_times = observation.wire_times
    passing = passing_of(observation.wire)
    exact = [
        (account, Overhead.of(account, observation.events, passing, observation.stamp_ns[account.segment]))
        for account in wire_times.exact
    ]
    limits = _Limits.of(evidence, observation)
    findings = (
        _lead(evidence, observation, exact, limits),
        _lag(evidence, observation, *exact[0], limits),
    )
    return findings, _waits(exact[0][1])


@dataclass(frozen=True, slots=True)
class _Limits:
    """Nanoseconds: for half of the values, and for a single one in virtual time."""

    half_ns: int
    single_ns: int | None

    @classmethod
    def of(cls, evidence: Evidence, observation: Observation) -> _Limits:
        if not evidence.virtual:
            return cls(MOST_NS, None)
        return cls(work_ns(observation.wire), MOST_NS)

    def render(self, what: str) -> str:
        text = f"{what}: half by at most {self.half_ns / MICROSECOND_NS:.1f} us"
        if self.single_ns is None:
            return text
        return f"{text}, and none by over {self.single_ns / MICROSECOND_NS:.0f} us in which no packet passed"


def work_ns(wire: np.ndarray) -> int:
    """Return what the work on one packet may take in virtual time, by the packets' hops, ns."""
    return min(max(_HOPS * hop_ns(wire), _LEAST_NS), MOST_NS)


def _waits(part: Overhead) -> str:
    waited = part.lag_ns[part.owned == Owned.YES]
    if not len(waited):
        return ""
    return (
        f"{len(waited)} of {len(part.lag_ns)} ACKs waited in the backlog for the thread that owned their socket, which "
        f"their samples hold: {spread_us(waited)}"
    )


def _lead(
    evidence: Evidence, observation: Observation, parts: Sequence[tuple[Account, Overhead]], limits: _Limits
) -> Finding:
    total = sum(len(account.event) for account, _ in parts)
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
        for account, part in parts:
            excess_ns = part.quiet_lead_ns - queued[observation.sides[account.event]]
            lates.append(_Over(account, part.lead_ns, excess_ns, excess_ns > limits.single_ns, departing=True))
        if any(late.chosen.any() for late in lates):
            message = observation.where + _worst(lates, "{lead} us before the segment left")
            each = Late.together(*(late.late() for late in lates))
            found.append(unless_stalled(message, each, None, preemptible=evidence.preemptible))
    account, part = parts[0]
    # A timer of the sender's own netem is in each lead: half of them are no measure of the sender's work.
    if not queued.any():
        early = (part.opens & ~part.passive, part.lead_ns, "are stamped", "before they leave", True)
        found += _by_half(evidence, observation, account, *early, limits.half_ns)
    passed = (Outcome.PASSED, f"{observation.where}{total} values, {seen}")
    return LEAD.finding(*_worst_of(found, passed), expected, seen, total)


def _lag(evidence: Evidence, observation: Observation, account: Account, part: Overhead, limits: _Limits) -> Finding:
    chosen = part.at_once
    total = int(chosen.sum())
    seen = f"{spread_us(part.lag_ns[chosen])} after the ACK came"
    behind = (part.lag_ns <= -MICROSECOND_NS) & ~part.passive
    for wrong, words, expected in (
        (behind, "earlier than the ACK came", "a now after the ACK came"),
        (part.ahead, "later than the call that used it", "a now before the call"),
    ):
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            message = (
                f"{observation.where}in {int(wrong.sum())} of {len(wrong)} samples the kernel's now (tcp_mstamp) is "
                f"{words}, the first {account.render(at)}"
            )
            return LAG.finding(Outcome.FAILED, message, expected, seen, len(wrong))
    if (part.owned == Owned.UNKNOWN).any():
        message = "the probe did not say whether a thread owned the socket, so that any wait may be its"
        return LAG.finding(Outcome.INCONCLUSIVE, message, "who owned the socket at each call", seen, total)
    expected = limits.render("ACKs taken after they came")
    found = []
    if limits.single_ns is not None:
        late = chosen & (part.quiet_lag_ns > limits.single_ns)
        if late.any():
            at = int(np.flatnonzero(late)[part.quiet_lag_ns[late].argmax()])
            message = (
                f"{observation.where}{int(late.sum())} of {total} ACKs that nothing kept waiting were taken late, the "
                f"worst {part.lag_ns[at] / MICROSECOND_NS:.1f} us after it came: {account.render(at)}"
            )
            each = _Over(account, part.lag_ns, part.quiet_lag_ns, late, departing=False).late(total)
            found.append(unless_stalled(message, each, None, preemptible=evidence.preemptible))
    # Of a passive handshake the call's own time stands for the kernel's now: it comes after the child socket was made.
    groups = ((chosen, limits.half_ns, ""), (part.passive, MOST_NS, "(handshakes) "))
    for group, half_ns, words in groups:
        took = (group, part.lag_ns, f"{words}have their ACK taken", "after it came", False)
        found += _by_half(evidence, observation, account, *took, half_ns)
    passed = (Outcome.PASSED, f"{observation.where}{total} ACKs that nothing kept waiting, taken {seen}")
    return LAG.finding(*_worst_of(found, passed), expected, seen, total)


def _worst_of(found: Sequence[tuple[Outcome, str]], passed: tuple[Outcome, str]) -> tuple[Outcome, str]:
    """Return the first failure, else the first that proves nothing: what a pause explains must not hide a failure."""
    failed = [each for each in found if each[0] is Outcome.FAILED]
    return next(iter((*failed, *found, passed)))


@dataclass(frozen=True, slots=True, eq=False)
class _Over:
    """Values of an account and by how much each is over; ``chosen`` are too far."""

    account: Account
    took_ns: Integers
    excess_ns: Integers
    chosen: Booleans
    departing: bool
    """Whether the time ends when the segment departs; else it begins when the ACK arrives."""

    def late(self, total: int | None = None) -> Late:
        """Return the chosen ones as late values, of ``total``."""
        took_ns = self.took_ns[self.chosen]
        if self.departing:
            end_ns = self.account.departed_ns[self.chosen]
            begin_ns = end_ns - took_ns
        else:
            begin_ns = self.account.arrived_ns[self.chosen]
            end_ns = begin_ns + took_ns
        return Late(
            begin_ns=begin_ns,
            end_ns=end_ns,
            excess_ns=self.excess_ns[self.chosen],
            total=len(self.chosen) if total is None else total,
        )


def _worst(lates: Sequence[_Over], words: str) -> str:
    counts = ", ".join(
        f"{int(one.chosen.sum())} of {len(one.chosen)} values of {one.account.name}"
        for one in lates
        if one.chosen.any()
    )
    one = next(late for late in lates if late.chosen.any())
    at = int(np.where(one.chosen, one.excess_ns, np.iinfo(np.int64).min).argmax())
    lead = words.format(lead=f"{one.took_ns[at] / MICROSECOND_NS:.1f}")
    return f"{counts} begin too early, the worst {one.account.render(at)}: its stamp lies {lead}"


def _by_half(
    evidence: Evidence, observation: Observation, account: Account, chosen: Booleans, took_ns: Integers, verb: str,
    when: str, departing: bool, half_ns: int,
) -> tuple[tuple[Outcome, str], ...]:  # fmt: skip
    """Return what is wrong with half of one side's values: one side's fault must not hide behind the other's."""
    groups = [
        (side, group)
        for side, group in _sides(observation, account, chosen)
        if float(np.median(took_ns[group])) > half_ns
    ]
    if not groups:
        return ()
    side, group = groups[0]
    message = (
        f"{observation.where}half of the {side.name.lower()}'s {int(group.sum())} samples {verb} "
        f"{np.median(took_ns[group]) / MICROSECOND_NS:.1f} us or more {when}, where the work on one packet takes at "
        f"most {half_ns / MICROSECOND_NS:.1f} us"
    )
    if evidence.noise is None:
        return ((Outcome.FAILED, message),)
    both: Booleans = np.logical_or.reduce([group for _, group in groups])
    late = _Over(account, took_ns, took_ns - half_ns, both & (took_ns > half_ns), departing).late(int(both.sum()))
    begin_ns = account.departed_ns - took_ns if departing else account.arrived_ns
    few = at_few_moments(begin_ns[both], half_ns, late)
    if few:
        return (inconclusive_if(Outcome.FAILED, message, few),)
    return (unless_stalled(message, late, evidence.noise, relayed=False),)


def _sides(observation: Observation, account: Account, chosen: Booleans) -> Iterator[tuple[Side, Booleans]]:
    sides: npt.NDArray[np.uint8] = observation.sides[account.event]
    for side in np.unique(sides[chosen]):
        group = chosen & (sides == side)
        if int(group.sum()) >= ENOUGH:
            yield Side(side), group


def own_queue_ns(evidence: Evidence) -> npt.NDArray[np.int64] | None:
    """Return what netem on the sender's own interface may add, by `Side`: a capture there sees packets after netem.

    None when there is no upper bound; nothing where the delay is in the middle.
    """
    queued = np.zeros(len(Side), dtype=np.int64)
    if evidence.scenario.topology != "direct":
        return queued
    loads = load_of(evidence.scenario)
    for side, way in ((Side.CLIENT, 0), (Side.SERVER, 1)):
        highest = [engine_bounds(link[way], loads[way]).highest_ns for link in evidence.scenario.links]
        if any(one is None for one in highest):
            return None
        queued[side] = max(one or 0 for one in highest)
    queued[Side.NEITHER] = queued.max()
    return queued
