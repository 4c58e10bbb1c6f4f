"""Is a sample above its own wire time by no more than the work of kernel and machine, at either end of it.

It owns the limits: how long the work on one packet may take, by the control run. What the work is made of is
`Overhead`'s. Two checks, because their causes differ: a segment is stamped too early, or an ACK is taken late.

In virtual time there is one processor and no noise, and every value obeys but what is `explained`. No single
piece of work on a packet can take longer than the shortest whole round trip of the control run, which is made of six
of them (sent, forwarded and received, and the same for the ACK); of whole leads and lags half are no more than twice
what is usual there, bursts by their first segment. In real time the processors are several and a value may be late by
chance: then the whole lead or lag counts, and how many are late is judged by rank.

An ACK that waited for the thread that owned its socket is judged by its lead only: the wait is real time, the kernel's
sample holds it by design, and how long a thread works is nobody's promise. How many and how long is in the notes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rttcheck.collect.probe.layout import Owned
from rttcheck.judge.bounds import engine_bounds, load_of
from rttcheck.judge.doubt import doubted
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.noise import Late
from rttcheck.judge.nominal import FALSE_ALARM, REAL_TIME_GRAIN_US
from rttcheck.judge.overhead import Overhead, passing_of
from rttcheck.judge.samples import Side
from rttcheck.judge.slack import chance_of_exceeding
from rttcheck.judge.stall import unless_stalled
from rttcheck.judge.witness import MICROSECOND_NS, Account, Integers, Witness, spread_us

LEAST_PASSIVE = 8
"""From so many passive handshakes on half of them are a measure: one may have had to wait for a page of memory."""

_LEAD = "samples do not begin before their segment leaves"
_LAG = "ACKs are taken when they come"
_BOUNDARY = "the sender's own interface"


def check_overhead(evidence: Evidence, witness: Witness, doubt: str) -> tuple[tuple[Finding, ...], str]:
    """Both checks, of all values that the events report, and what a reader should know of ACKs that waited.

    ``doubt`` is why a failure may prove nothing.
    """
    recording = evidence.recording
    control = Witness.of(recording.control, recording.control_wire, recording.control_flows)
    usual = Overhead.of(control.exact[0], recording.control, passing_of(recording.control_wire))
    accounts = (*witness.exact, witness.coarse_high)
    passing = passing_of(recording.wire)
    parts = [Overhead.of(account, evidence.events, passing) for account in accounts]
    findings = (
        _judged(_lead(evidence, accounts, parts, usual), doubt),
        _judged(_lag(evidence, accounts[0], parts[0], usual), doubt),
    )
    return findings, _waits(parts[0])


def _waits(part: Overhead) -> str:
    waited = part.lag_ns[part.owned == Owned.YES]
    if not len(waited):
        return ""
    return (
        f"{len(waited)} of {len(part.lag_ns)} ACKs waited in the backlog for the thread that owned their socket, which "
        f"their samples hold: {spread_us(waited)}"
    )


def _judged(finding: Finding, doubt: str) -> Finding:
    outcome, message = doubted(finding.outcome, finding.message, doubt)
    return Finding(
        layer=finding.layer, check=finding.check, outcome=outcome, message=message, expected=finding.expected,
        seen=finding.seen, samples=finding.samples,
    )  # fmt: skip


def _finding(check: str, outcome: Outcome, message: str, expected: str, seen: str, samples: int) -> Finding:
    return Finding(
        layer=Layer.SAMPLE, check=check, outcome=outcome, message=message, expected=expected, seen=seen, samples=samples
    )


def _lead(evidence: Evidence, accounts: Sequence[Account], parts: Sequence[Overhead], usual: Overhead) -> Finding:
    total = sum(len(account.event) for account in accounts)
    seen = f"stamped {spread_us(parts[0].lead_ns)} before the segment left"
    queued = _own_queue_ns(evidence)
    if queued is None:
        message = "the sender's own interface delays, and its model has no upper bound"
        return _finding(_LEAD, Outcome.PASSED, message, "nothing", seen, 0)
    control = np.sort((usual.quiet_lead_ns if evidence.virtual else usual.lead_ns)[~usual.passive])
    if not len(control) or not evidence.slack.samples or not total:
        message = f"{total} values and {len(control)} of the control run are too few to compare"
        return _finding(
            _LEAD, Outcome.INCONCLUSIVE, message, f"a stamp when the segment leaves {_BOUNDARY}", seen, total
        )
    limit_ns, half_ns = _limits(evidence, control, usual.lead_ns[usual.opens & ~usual.passive])
    excess = []
    for account, part in zip(accounts, parts, strict=True):
        lead_ns = part.quiet_lead_ns if evidence.virtual else part.lead_ns
        # Timestamps count milliseconds: both ends are cut.
        grain_ns = account.grain_ns if account.grain_ns > MICROSECOND_NS else 0
        excess.append(lead_ns - queued[evidence.sides[account.event]] - grain_ns)
    expected = _expected(evidence, "a stamp before the segment leaves", limit_ns, half_ns, control)
    late = [over > limit_ns for over in excess]
    worst = next((place for place, each in enumerate(late) if each.any()), None)
    if worst is None:
        opens = parts[0].opens
        sides = evidence.sides[accounts[0].event][opens]
        found = _by_half(evidence, sides, parts[0].lead_ns[opens], half_ns, "are stamped", "before they leave")
        # A timer of the sender's own netem, which a control run does not have, is in each lead.
        if found and not queued.any():
            return _finding(_LEAD, Outcome.FAILED, found, expected, seen, total)
        highest = max(float(part.lead_ns.max()) for part in parts if len(part.lead_ns)) / MICROSECOND_NS
        message = f"{total} values, stamped at most {highest:.1f} us before their segment left"
        return _finding(_LEAD, Outcome.PASSED, message, expected, seen, total)
    counts = ", ".join(
        f"{int(each.sum())} of {len(each)} values of {account.name}"
        for account, each in zip(accounts, late, strict=True)
        if each.any()
    )
    at = int(excess[worst].argmax())
    message = (
        f"{counts} are longer than wire and overhead explain, the worst {accounts[worst].render(at)}: its stamp lies "
        f"{parts[worst].lead_ns[at] / MICROSECOND_NS:.1f} us before the segment left"
    )
    lates = [
        Late(
            begin_ns=(account.departed_ns - part.lead_ns)[each],
            end_ns=account.departed_ns[each],
            excess_ns=part.lead_ns[each] - (0 if evidence.virtual else limit_ns),
            total=len(each),
        )
        for account, part, each in zip(accounts, parts, late, strict=True)
    ]
    return _finding(_LEAD, *_of_late(evidence, message, lates, len(control)), expected, seen, total)


def _lag(evidence: Evidence, account: Account, part: Overhead, usual: Overhead) -> Finding:
    chosen = part.at_once
    total = int(chosen.sum())
    seen = f"{spread_us(part.lag_ns[chosen])} after the ACK came"
    behind = (part.lag_ns <= -MICROSECOND_NS) & ~part.passive
    if behind.any():
        at = int(np.flatnonzero(behind)[0])
        message = (
            f"in {int(behind.sum())} of {len(behind)} samples the kernel's now (tcp_mstamp) is earlier than the ACK "
            f"came, the first {account.render(at)}"
        )
        return _finding(_LAG, Outcome.FAILED, message, "a now after the ACK came", seen, len(behind))
    if part.ahead.any():
        at = int(np.flatnonzero(part.ahead)[0])
        message = (
            f"in {int(part.ahead.sum())} of {len(part.ahead)} samples the kernel's now (tcp_mstamp) is later than the "
            f"call that used it, the first {account.render(at)}"
        )
        return _finding(_LAG, Outcome.FAILED, message, "a now before the call", seen, len(part.ahead))
    control = np.sort((usual.quiet_lag_ns if evidence.virtual else usual.lag_ns)[~usual.passive])
    if (part.owned == Owned.UNKNOWN).any():
        message = "the probe did not say whether a thread owned the socket, so that any wait may be its"
        return _finding(_LAG, Outcome.INCONCLUSIVE, message, "who owned the socket at each call", seen, total)
    if not len(control) or not evidence.slack.samples:
        message = f"{len(control)} values of the control run are too few to compare"
        return _finding(_LAG, Outcome.INCONCLUSIVE, message, "a control run", seen, total)
    limit_ns, half_ns = _limits(evidence, control, usual.lag_ns[~usual.passive])
    if not evidence.virtual:
        # A link that delays lets the processor fall asleep, one that does not never does.
        limit_ns += REAL_TIME_GRAIN_US * MICROSECOND_NS
    expected = _expected(evidence, "an ACK taken after it came", limit_ns, half_ns, control)
    lag_ns = part.quiet_lag_ns if evidence.virtual else part.lag_ns
    late = chosen & (lag_ns > limit_ns)
    if late.any():
        at = int(np.flatnonzero(late)[lag_ns[late].argmax()])
        message = (
            f"{int(late.sum())} of {total} ACKs that nothing kept waiting were taken late, the worst "
            f"{part.lag_ns[at] / MICROSECOND_NS:.1f} us after it came: {account.render(at)}"
        )
        begins = account.arrived_ns[late]
        each = Late(
            begin_ns=begins,
            end_ns=begins + part.lag_ns[late],
            excess_ns=part.lag_ns[late] - (0 if evidence.virtual else limit_ns),
            total=total,
        )
        return _finding(_LAG, *_of_late(evidence, message, [each], len(control)), expected, seen, total)
    sides = evidence.sides[account.event]
    found = _by_half(evidence, sides[chosen], part.lag_ns[chosen], half_ns, "have their ACK taken", "after it came")
    if not found and int(part.passive.sum()) >= LEAST_PASSIVE:
        passive = part.passive
        found = _by_half(evidence, sides[passive], lag_ns[passive], limit_ns, "(handshakes) are taken", "after the ACK")
    if found:
        return _finding(_LAG, Outcome.FAILED, found, expected, seen, total)
    highest = float(part.lag_ns[chosen].max()) / MICROSECOND_NS if total else 0.0
    message = f"{total} ACKs that nothing kept waiting, taken at most {highest:.1f} us after they came"
    return _finding(_LAG, Outcome.PASSED, message, expected, seen, total)


def _of_late(evidence: Evidence, message: str, lates: Sequence[Late], control: int) -> tuple[Outcome, str]:
    """What late values of several accounts come to; either end's work is done at once, without the link.

    In real time any one value may be late; too many are the machine's doing, more than half of them the kernel's,
    unless the machine was so late itself.
    """
    if evidence.noise is None:
        return unless_stalled(message, Late.together(*lates), None, preemptible=evidence.preemptible)
    many = [late for late in lates if chance_of_exceeding(late.count, late.total, control) < FALSE_ALARM]
    for late in many:
        if 2 * late.count > late.total:
            outcome, words = unless_stalled(message, late, evidence.noise, relayed=False)
            if outcome is Outcome.FAILED:
                return outcome, words
            message = words
        elif evidence.noise.accounts:
            message += f" ({evidence.noise.render()})"
    return (Outcome.INCONCLUSIVE if many else Outcome.PASSED), message


def _limits(evidence: Evidence, control: Integers, whole: Integers) -> tuple[int, int]:
    """For a single value, and for half of them; ``control`` is sorted.

    The shortest whole round trip without delay is no work on one packet. In real time the control run's largest counts
    where that is more; it may be less, because a link that delays lets caches go cold, one that does not never does.
    """
    least_ns = int(evidence.slack.overheads_us.min()) * MICROSECOND_NS
    if not evidence.virtual:
        limit_ns = max(int(control[-1]), least_ns)
        return limit_ns, limit_ns
    return least_ns, min(least_ns, 2 * int(np.percentile(whole, 90)))


def _expected(evidence: Evidence, what: str, limit_ns: int, half_ns: int, control: Integers) -> str:
    figures = f"(control run: {spread_us(control)})"
    if not evidence.virtual:
        return f"{what}, not more often by over {limit_ns / MICROSECOND_NS:.1f} us than by chance {figures}"
    return (
        f"{what} by at most {limit_ns / MICROSECOND_NS:.1f} us in which no packet passed, the shortest whole round "
        f"trip without delay; {half_ns / MICROSECOND_NS:.1f} us in half of them {figures}"
    )


def _by_half(
    evidence: Evidence, sides: npt.NDArray[np.uint8], over_ns: Integers, half_ns: int, verb: str, when: str
) -> str:
    """What is wrong with half of one side's values: one end's fault must not hide behind the other's good samples."""
    if not evidence.virtual:
        return ""
    for side in np.unique(sides):
        middle = float(np.median(over_ns[sides == side]))
        if middle > half_ns:
            return (
                f"half of the {Side(side).name.lower()}'s samples {verb} {middle / MICROSECOND_NS:.1f} us or more "
                f"{when}, where {half_ns / MICROSECOND_NS:.1f} us are usual"
            )
    return ""


def _own_queue_ns(evidence: Evidence) -> npt.NDArray[np.int64] | None:
    """What netem on the sender's own interface may add, by `Side`: a capture there sees packets when they leave netem.

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
