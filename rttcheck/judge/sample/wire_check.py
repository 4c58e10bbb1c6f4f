"""Check samples against the packets at the sender's own interface: each has its packets and is not below its wire time.

The injected latency is not used: the link may have done anything. `check_overhead` compares from above.

Rounding: both of the kernel's stamps are nanoseconds rounded down to microseconds, ``floor(b) - floor(a) > b - a - 1``.
A value may be up to 999 ns below its wire time and no more, since the segment is stamped before it leaves
(``__tcp_transmit_skb()``) and the ACK's time is read after it came in (``tcp_mstamp_refresh()``). For samples from
timestamps the same holds in milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from rttcheck.judge.check import NOTHING, VALUES, Check, Quality
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.observation import Observation
from rttcheck.judge.pairing.wire_times import MICROSECOND_NS, WireTimes, spread_us
from rttcheck.judge.sample.cause_check import check_causes
from rttcheck.judge.sample.overhead_check import check_overhead
from rttcheck.judge.sample.stamp_check import check_stamps

_FROM = "the wire time: from the segment's departure to its ACK's arrival at the sender's own interface"


WHOLE: Final = Check(
    id="sample.captures-whole",
    layer=Layer.SAMPLE,
    title="the captures are complete",
    asserts="The captures hold every packet, none damaged or fragmented, and the wall clock was not set.",
    against="the captures' own counters",
    tolerance="none; missing packets are inconclusive",
    needs=NOTHING,
)
PAIRED: Final = Check(
    id="sample.paired",
    layer=Layer.SAMPLE,
    title="every sample has its segment and its ACK",
    asserts=(
        "For each sample there is an ACK that came in before it, and a segment, never retransmitted, that this ACK "
        "is the first to acknowledge or SACK."
    ),
    against="packets at the sender's own interface",
    tolerance="none",
    needs=VALUES,
    quality=Quality.END_CAPTURES,
)
NOT_BELOW: Final = Check(
    id="sample.not-below-wire",
    layer=Layer.SAMPLE,
    title="no sample is below its wire time",
    asserts="No sample is shorter than the time from its segment's departure to its ACK's arrival.",
    against="packets at the sender's own interface",
    tolerance="the rounding of two stamps: 999 ns, 999,999 ns for samples from timestamps",
    needs=VALUES,
    quality=Quality.PACKETS_AND_EVENTS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WireChecks:
    """Findings, notes for the reader, and figures in microseconds."""

    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    figures: tuple[tuple[str, int], ...] = ()


def check_wire(evidence: Evidence) -> WireChecks:
    """Return all findings on samples and packets, in no order; only a note where nothing was captured."""
    wire_times = evidence.wire_times
    if wire_times is None:
        return WireChecks(notes=("no packets were captured: samples are not compared with wire times",))
    run, control = evidence.observation, evidence.control
    assert run is not None  # there are wire times
    overhead, waits = check_overhead(evidence, run)
    queued = evidence.own_queues
    findings = (
        _whole(evidence),
        _paired(evidence, wire_times),
        _below(run),
        *check_stamps(run),
        check_causes(run, queued=queued),
        *overhead,
        *_of_control(evidence, control, queued=queued),
    )
    over = wire_times.over_ns
    figures = (("over_wire_max_us", round(float(over.max()) / MICROSECOND_NS)),) if len(over) else ()
    return WireChecks(findings=findings, notes=_notes(wire_times, waits), figures=figures)


def _of_control(evidence: Evidence, control: Observation | None, *, queued: bool) -> tuple[Finding, ...]:
    """Return the same findings of the control run: the kernel under test makes it, so it is judged like any other run.

    A control run that fails also fails the scenario.
    """
    if control is None:
        return ()
    overhead, _ = check_overhead(evidence, control)
    findings = (_below(control), *check_stamps(control), check_causes(control, queued=queued), *overhead)
    return tuple(replace(finding, control=True) for finding in findings)


def _whole(evidence: Evidence) -> Finding:
    points = evidence.capture_points
    taken = {name: int(point["captured"]) for name, point in points.items()}
    bad = [
        f"{name} {fault} {point[fault]} of {int(point['captured']) + int(point['dropped'])}"
        for name, point in points.items()
        for fault in ("dropped", "damaged", "fragments")
        if point[fault]
    ]
    step_ns = evidence.clock_step_ns
    if step_ns:
        bad.append(f"the wall clock, which packets are stamped with, was set by {step_ns} ns")
    seen = ", ".join(f"{count} at {name}" for name, count in taken.items()) + " packets"
    outcome = Outcome.INCONCLUSIVE if bad else Outcome.PASSED
    message = "; ".join(bad) if bad else f"{seen}, none dropped"
    return WHOLE.finding(outcome, message, "no packet dropped", seen, sum(taken.values()))


def _paired(evidence: Evidence, wire_times: WireTimes) -> Finding:
    unpaired, total = wire_times.unpaired, int((evidence.events["taken"] != 0).sum())
    unreported = len(wire_times.pairs.unreported)
    seen = f"{total - len(unpaired)} of {total} samples paired, {unreported} ACKs of new data without an event"
    outcome, message = (Outcome.INCONCLUSIVE, "no sample was taken") if not total else (Outcome.PASSED, seen)
    if len(unpaired):
        at = int(unpaired[0])
        event = evidence.events[at]
        lacks = (
            "the ACK" if wire_times.pairs.ack[at] < 0 else "a segment that this ACK is the first to acknowledge or SACK"
        )
        lacks = lacks if wire_times.pairs.known[at] else "the connection"
        message = (
            f"{len(unpaired)} of {total} samples lack packets, the first is event {at}, "
            f"{int(evidence.values_us[at])} us at snd_una {int(event['snd_una'])}: {lacks} was not captured"
        )
        outcome = Outcome.FAILED
    expected = "for each sample an ACK that came in before it, and a segment, never retransmitted, that it acknowledges"
    return PAIRED.finding(outcome, message, expected, seen, total)


def _below(observation: Observation) -> Finding:
    wire_times = observation.wire_times
    columns = (*wire_times.exact, wire_times.coarse)
    expected = f"{_FROM}, minus the rounding of two stamps: 999 ns, 999,999 ns for samples from timestamps"
    early = {timed.name: timed.over_ns <= -timed.grain_ns for timed in columns}
    total = sum(len(timed.event) for timed in columns)
    bad = [timed for timed in columns if early[timed.name].any()]
    seen = spread_us(wire_times.over_ns)
    if not bad:
        outcome = Outcome.PASSED if total else Outcome.INCONCLUSIVE
        return NOT_BELOW.finding(outcome, f"{total} values, none below its wire time", expected, seen, total)
    counts = ", ".join(f"{int(early[one.name].sum())} of {len(one.event)} values of {one.name}" for one in bad)
    message = observation.where
    message += f"{counts} are below their wire time, the worst {bad[0].render(int(bad[0].over_ns.argmin()))}"
    return NOT_BELOW.finding(Outcome.FAILED, message, expected, seen, total)


def _notes(wire_times: WireTimes, waits: str) -> tuple[str, ...]:
    notes = [f"kernel minus wire time, {len(wire_times.over_ns)} samples: {spread_us(wire_times.over_ns)}"]
    notes += [waits] if waits else []
    if len(wire_times.pairs.unreported):
        notes.append(f"{len(wire_times.pairs.unreported)} ACKs of new data came in without an event")
    return tuple(notes)
