"""Was there enough to judge by: the link that was asked for, no events lost, a sample on every side.

It owns the checks that keep a verdict from passing on nothing. It looks at no sample's value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from rttcheck.judge.check import NOTHING, VALUES, Check
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.samples import Side
from rttcheck_netns.netem import Netem

SETTINGS: Final = Check(
    id="link.settings",
    layer=Layer.LINK,
    title="netem is as asked for",
    asserts="The link's settings that were read back are those that were asked for.",
    against="the scenario's settings",
    tolerance="none: they are equal",
    needs=NOTHING,
)
STEPS: Final = Check(
    id="link.steps",
    layer=Layer.LINK,
    title="every step was taken",
    asserts="Every step of the scenario was taken, in order.",
    against="the scenario's steps",
    tolerance="none",
    needs=NOTHING,
)
EVENTS_LOST: Final = Check(
    id="observer.no-events-lost",
    layer=Layer.OBSERVER,
    title="no events lost",
    asserts="The probe handed over every event.",
    against="the probe's own count of lost events",
    tolerance="none; a loss is inconclusive",
    needs=NOTHING,
)
EVERY_SIDE: Final = Check(
    id="eligibility.every-side",
    layer=Layer.ELIGIBILITY,
    title="data samples on every side",
    asserts="Each side of each connection that wrote data took a sample of a data segment.",
    against="the scenario's flows",
    tolerance="short connections on a link that loses packets may have none: inconclusive",
    needs=VALUES,
)


def check_coverage(evidence: Evidence) -> tuple[Finding, ...]:
    """Every check of what a verdict rests on, in no order."""
    return (_link(evidence), _steps(evidence), _lost(evidence), _samples(evidence))


def _link(evidence: Evidence) -> Finding:
    """The impairment that the kernel gave back is the one that was asked for, the last step's after steps."""
    taken = evidence.recording.steps
    out, back = evidence.scenario.links[taken[-1].index + 1 if taken else 0]
    held = evidence.recording.netem
    wrong = [
        f"{side} holds {held[side]} where {_text(asked)} was asked for"
        for side, asked in (("out", out), ("back", back))
        if side in held and not _is(held[side], asked)
    ]
    told = [side for side in ("out", "back") if side in held]
    outcome = Outcome.FAILED if wrong else Outcome.PASSED if told else Outcome.INCONCLUSIVE
    message = "; ".join(wrong) if wrong else f"read back from the kernel: {' and '.join(told) or 'nothing'}"
    return SETTINGS.finding(
        outcome,
        message=message,
        expected=f"out {_text(out)}, back {_text(back)}",
        seen=message,
        samples=len(told),
    )


def _is(held: object, asked: Netem) -> bool:
    return held == asked.changed() if isinstance(held, Mapping) else held == str(asked)


def _text(netem: Netem) -> str:
    return ", ".join(f"{name}={value}" for name, value in netem.changed().items()) or "nothing"


def _steps(evidence: Evidence) -> Finding:
    """Every step of the scenario was taken, and in order: without them the bounds in force are unknown."""
    due = list(range(len(evidence.scenario.steps)))
    taken = [step.index for step in evidence.recording.steps]
    outcome = Outcome.PASSED if taken == due else Outcome.FAILED
    return STEPS.finding(
        outcome,
        message=f"{len(taken)} of {len(due)} steps were taken" + ("" if taken == due else f", in the order {taken}"),
        expected=f"{len(due)} steps",
        seen=f"{len(taken)} steps",
        samples=len(taken),
    )


def _lost(evidence: Evidence) -> Finding:
    """Lost events leave what was seen true, and every count open."""
    lost = evidence.lost
    total = lost + len(evidence.events)
    return EVENTS_LOST.finding(
        Outcome.INCONCLUSIVE if lost else Outcome.PASSED,
        message=f"{lost} of {total} events were lost between kernel and recording"
        if lost
        else f"{total} events, none lost",
        expected="0",
        seen=str(lost),
        samples=total,
    )


def _samples(evidence: Evidence) -> Finding:
    """At least one data sample from every side of every connection that wrote data."""
    scenario, flows = evidence.scenario, len(evidence.recording.flows)
    sides = (Side.CLIENT, Side.SERVER) if scenario.traffic.server_writes else (Side.CLIENT,)
    counts = {
        side: np.bincount(
            evidence.connections[evidence.data & (evidence.sides == side) & (evidence.connections >= 0)],
            minlength=flows,
        )
        for side in sides
    }
    total = int(evidence.data.sum())
    without = {side: int((count == 0).sum()) for side, count in counts.items()}
    seen = ", ".join(f"{int(count.sum())} on the {side.name.lower()}'s side" for side, count in counts.items())
    missing = " and ".join(f"{number} {side.name.lower()}s" for side, number in without.items() if number)
    if flows and not missing:
        outcome, message = Outcome.PASSED, f"{seen}, of {flows} connections"
    else:
        loses = any(netem.loss or netem.corrupt for link in scenario.links for netem in link)
        some = total > 0 and all(count.any() for count in counts.values())
        # Karn: where packets are lost, a short connection may have nothing but retransmissions acknowledged.
        excused = evidence.lost > 0 or (loses and some)
        outcome = Outcome.INCONCLUSIVE if excused else Outcome.FAILED
        message = f"of {flows} connections {missing or 'all'} took no data sample ({seen})"
        if evidence.lost:
            message += f", and {evidence.lost} events were lost"
        elif excused:
            message += ", on a link that loses packets"
    return EVERY_SIDE.finding(
        outcome,
        message=message,
        expected=f"at least one for each of {flows} connections and {len(sides)} sides that write",
        seen=seen,
        samples=total,
    )
