"""Is each sample the time that really passed: never less than the wire says, more by a calibrated overhead only.

It owns the comparison of the kernel's values with the packets at the sender's own interface. It does not know what
latency was injected, and needs not: the link may have done anything.

What rounding allows: both of the kernel's stamps are nanoseconds cut to microseconds, ``floor(b) - floor(a) > b - a -
1``, so that a value may lie up to 999 ns below the wire and no more, since the segment is stamped before it leaves
(``__tcp_transmit_skb()``) and the ACK's arrival is read after it came in (``tcp_mstamp_refresh()``). Where timestamps
gave the sample, the same holds for milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rttcheck.judge.bounds import engine_bounds, load_of
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.nominal import FALSE_ALARM
from rttcheck.judge.samples import Side
from rttcheck.judge.slack import chance_of_exceeding
from rttcheck.judge.witness import MICROSECOND_NS, Account, Integers, Witness

_CLOCK_STEP_NS = 100_000
"""A wall clock that moved by more than this against the monotonic one was set; less is how finely it can be read."""

_FROM = "the wire: from the segment's departure to its ACK's arrival at the sender's own interface"


@dataclass(frozen=True, slots=True, kw_only=True)
class WireChecks:
    """Findings, what else a reader should know, and figures in microseconds."""

    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    figures: tuple[tuple[str, int], ...] = ()


def check_wire(evidence: Evidence) -> WireChecks:
    """Every check of samples against the wire, in no order; none, and a note, where nothing was captured."""
    recording = evidence.recording
    if not recording.wire_facts:
        return WireChecks(notes=("no packets were captured: samples are not compared with the wire",))
    witness = Witness.of(evidence.events, recording.wire, recording.flows)
    control = Witness.of(recording.control, recording.control_wire, recording.control_flows)
    doubt = _doubt(evidence)
    findings = (
        _whole(evidence),
        _paired(evidence, witness, doubt),
        _below(witness, doubt),
        _above(evidence, witness, np.sort(control.over_ns), doubt),
    )
    over = witness.over_ns
    figures = (("over_wire_max_us", round(float(over.max()) / MICROSECOND_NS)),) if len(over) else ()
    return WireChecks(findings=findings, notes=_notes(witness), figures=figures)


def _points(evidence: Evidence) -> dict[str, dict[str, Any]]:
    return dict(evidence.recording.wire_facts.get("points", {}))


def _doubt(evidence: Evidence) -> str:
    """Why packets and events may not match although nobody lied; empty when there is no such reason."""
    dropped = sum(int(point["dropped"]) for point in _points(evidence).values())
    step_ns = int(evidence.recording.wire_facts.get("clock_step_ns", 0))
    reasons = [f"the captures dropped {dropped} packets"] if dropped else []
    reasons += [f"the wall clock was set by {step_ns} ns meanwhile"] if abs(step_ns) > _CLOCK_STEP_NS else []
    reasons += [f"{evidence.lost} events were lost"] if evidence.lost else []
    if any(netem.corrupt for link in evidence.scenario.links for netem in link):
        reasons.append("the link corrupts packets, which a capture sees and TCP drops")
    return " and ".join(reasons)


def _finding(check: str, outcome: Outcome, message: str, expected: str, seen: str, samples: int) -> Finding:
    return Finding(
        layer=Layer.SAMPLE, check=check, outcome=outcome, message=message, expected=expected, seen=seen, samples=samples
    )


def _doubted(outcome: Outcome, message: str, doubt: str) -> tuple[Outcome, str]:
    """A failure that something else may explain proves nothing."""
    if outcome is Outcome.FAILED and doubt:
        return Outcome.INCONCLUSIVE, f"{message}; but {doubt}"
    return outcome, message


def _whole(evidence: Evidence) -> Finding:
    points = _points(evidence)
    taken = {name: int(point["captured"]) for name, point in points.items()}
    bad = [
        f"{name} {word} {point[word]} of {int(point['captured']) + int(point['dropped'])}"
        for name, point in points.items()
        for word in ("dropped", "damaged", "fragments")
        if point[word]
    ]
    step_ns = int(evidence.recording.wire_facts.get("clock_step_ns", 0))
    if abs(step_ns) > _CLOCK_STEP_NS:
        bad.append(f"the wall clock, which packets are stamped with, was set by {step_ns} ns")
    seen = ", ".join(f"{count} at {name}" for name, count in taken.items()) + " packets"
    outcome = Outcome.INCONCLUSIVE if bad else Outcome.PASSED
    message = "; ".join(bad) if bad else f"{seen}, none dropped"
    return _finding("the captures are whole", outcome, message, "no packet dropped", seen, sum(taken.values()))


def _paired(evidence: Evidence, witness: Witness, doubt: str) -> Finding:
    check = "every sample has its segment and its ACK"
    alone, total = witness.alone, int((evidence.events["taken"] != 0).sum())
    orphans = len(witness.pairs.orphans)
    seen = f"{total - len(alone)} of {total} samples paired, {orphans} ACKs of new data without an event"
    outcome, message = (Outcome.INCONCLUSIVE, "no sample was taken") if not total else (Outcome.PASSED, seen)
    if len(alone):
        at = int(alone[0])
        event = evidence.events[at]
        lacks = "the ACK" if witness.pairs.ack[at] < 0 else "a segment that this ACK is the first answer to"
        lacks = lacks if witness.pairs.known[at] else "the connection"
        message = (
            f"{len(alone)} of {total} samples have no packets behind them, the first is event {at}, "
            f"{int(event['sample_us'])} us at snd_una {int(event['snd_una'])}: {lacks} is not on the wire"
        )
        outcome, message = _doubted(Outcome.FAILED, message, doubt)
    expected = "for each sample an ACK that came in before it, and a segment never sent again that it acknowledges"
    return _finding(check, outcome, message, expected, seen, total)


def _below(witness: Witness, doubt: str) -> Finding:
    check = "samples are not below their own wire time"
    accounts = (*witness.exact, witness.coarse_low)
    expected = f"{_FROM}, less what cutting two stamps takes: 999 ns, 999,999 ns for samples from timestamps"
    early = {account.name: account.over_ns <= -account.grain_ns for account in accounts}
    total = sum(len(account.event) for account in accounts)
    bad = [account for account in accounts if early[account.name].any()]
    seen = _spread(witness.over_ns)
    if not bad:
        outcome = Outcome.PASSED if total else Outcome.INCONCLUSIVE
        return _finding(check, outcome, f"{total} values, none below the wire", expected, seen, total)
    counts = ", ".join(f"{int(early[one.name].sum())} of {len(one.event)} values of {one.name}" for one in bad)
    message = (
        f"{counts} are shorter than the time that passed, the worst {_worst(bad[0], int(bad[0].over_ns.argmin()))}"
    )
    outcome, message = _doubted(Outcome.FAILED, message, doubt)
    return _finding(check, outcome, message, expected, seen, total)


def _worst(account: Account, at: int) -> str:
    return (
        f"{int(account.value_us[at])} us ({account.name}) where {account.wire_ns[at] / MICROSECOND_NS:.1f} us passed "
        f"on the wire (event {int(account.event[at])})"
    )


def _above(evidence: Evidence, witness: Witness, control: Integers, doubt: str) -> Finding:
    """Above the wire is what kernel and machine add: as in the control run, by the same rule as `Slack.upper_us`.

    An ACK that comes in while the socket sends, or together with others, waits for them; a segment that leaves behind
    others carries the time at which the first was made (``tcp_write_xmit()``). That makes single values larger; half of
    them no larger than the middle 80 % of the control run allow (`Slack.typical_us`).
    """
    check = "samples are not above their own wire time and the overhead"
    queued = _own_queue_ns(evidence)
    accounts = (*witness.exact, witness.coarse_high)
    total = sum(len(account.event) for account in accounts)
    seen = _spread(witness.over_ns)
    if queued is None:
        message = "the sender's own interface delays, and its model has no upper bound"
        return _finding(check, Outcome.PASSED, message, "nothing", seen, 0)
    if not len(control) or not total:
        message = f"{total} values and {len(control)} of the control run are too few to compare"
        return _finding(check, Outcome.INCONCLUSIVE, message, _FROM, seen, total)
    limit_ns, usual_ns = int(control[-1]), 0
    if evidence.virtual:
        limit_ns += int(control[-1]) * evidence.slack.abreast + int(control[-1] - control[0])
        low, usual_ns = (int(value) for value in np.percentile(control, (10, 90)))
        usual_ns += usual_ns * evidence.slack.abreast + usual_ns - low
    expected = f"{_FROM}, and at most {limit_ns / MICROSECOND_NS:.1f} us"
    expected += f", {usual_ns / MICROSECOND_NS:.1f} us in half of them" if evidence.virtual else ""
    expected += f" (control run: {_spread(control)})"
    excess = {one.name: one.over_ns - queued[evidence.sides[one.event]] - limit_ns for one in accounts}
    excess[witness.coarse_high.name] -= witness.coarse_high.grain_ns
    bad = [one for one in accounts if (excess[one.name] > 0).any()]
    if not bad and evidence.virtual:
        # By side: one end's fault must not hide behind the other end's good samples.
        fed = witness.exact[0]
        over = fed.over_ns - queued[evidence.sides[fed.event]]
        for side in np.unique(evidence.sides[fed.event]):
            middle = float(np.median(over[evidence.sides[fed.event] == side]))
            if middle > usual_ns:
                message = (
                    f"half of the {Side(side).name.lower()}'s samples are {middle / MICROSECOND_NS:.1f} us or more "
                    f"above the wire, where {usual_ns / MICROSECOND_NS:.1f} us are usual"
                )
                outcome, message = _doubted(Outcome.FAILED, message, doubt)
                return _finding(check, outcome, message, expected, seen, total)
    if not bad:
        message = f"{total} values, at most {_most(witness)} us above"
        return _finding(check, Outcome.PASSED, message, expected, seen, total)
    counts = ", ".join(f"{int((excess[one.name] > 0).sum())} of {len(one.event)} values of {one.name}" for one in bad)
    worst = _worst(bad[0], int(excess[bad[0].name].argmax()))
    message = f"{counts} are longer than wire and overhead explain, the worst {worst}"
    outcome = Outcome.FAILED
    if not evidence.virtual:
        outcome = _by_rank(bad, excess, len(control))
        message += f", in real time, where by chance it would be rarer than 1 in {1 / FALSE_ALARM:,.0f}" * (
            outcome is not Outcome.PASSED
        )
    outcome, message = _doubted(outcome, message, doubt)
    return _finding(check, outcome, message, expected, seen, total)


def _by_rank(bad: list[Account], excess: dict[str, Integers], control: int) -> Outcome:
    """In real time any one value may be late; too many are the machine's doing, more than half of them the kernel's."""
    outcome = Outcome.PASSED
    for account in bad:
        over, measured = int((excess[account.name] > 0).sum()), len(account.event)
        if chance_of_exceeding(over, measured, control) < FALSE_ALARM:
            if 2 * over > measured:
                return Outcome.FAILED
            outcome = Outcome.INCONCLUSIVE
    return outcome


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


def _spread(over_ns: Integers) -> str:
    if not len(over_ns):
        return "no sample"
    low, middle, most, highest = (float(value) / MICROSECOND_NS for value in np.percentile(over_ns, (0, 50, 99, 100)))
    return f"{low:.1f} to {highest:.1f} us, median {middle:.1f} us, 99 % up to {most:.1f} us"


def _most(witness: Witness) -> str:
    return f"{max(float(one.over_ns.max()) for one in witness.exact if len(one.event)) / MICROSECOND_NS:.1f}" if any(
        len(one.event) for one in witness.exact
    ) else "0"  # fmt: skip


def _notes(witness: Witness) -> tuple[str, ...]:
    notes = [f"kernel minus wire, {len(witness.over_ns)} samples: {_spread(witness.over_ns)}"]
    if len(witness.pairs.orphans):
        notes.append(f"{len(witness.pairs.orphans)} ACKs of new data came in without an event of their own")
    return tuple(notes)
