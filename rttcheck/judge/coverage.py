"""Check that a recording is complete: the link's settings, every step, no events lost, samples on every side.

These checks keep a verdict from passing without data. No sample's value is looked at.
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
    title="link settings read back as configured",
    asserts="The link settings read back from the kernel equal the configured ones.",
    against="the scenario's settings",
    tolerance="none: they are equal",
    needs=NOTHING,
)
STEPS: Final = Check(
    id="link.steps",
    layer=Layer.LINK,
    title="every step was applied",
    asserts="Every step of the scenario was applied, in order.",
    against="the scenario's steps",
    tolerance="none",
    needs=NOTHING,
)
EVENTS_LOST: Final = Check(
    id="observer.no-events-lost",
    layer=Layer.OBSERVER,
    title="no events lost",
    asserts="The probe delivered every event.",
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
    tolerance="inconclusive for short connections without a sample on a link that loses packets",
    needs=VALUES,
)


def check_coverage(evidence: Evidence) -> tuple[Finding, ...]:
    """Return the findings of all completeness checks, in no particular order."""
    return (_link(evidence), _steps(evidence), _lost(evidence), _samples(evidence))


def _link(evidence: Evidence) -> Finding:
    """Check that the settings read back from the kernel are the configured ones, after steps the last step's."""
    taken = evidence.recording.steps
    out, back = evidence.scenario.links[taken[-1].index + 1 if taken else 0]
    held = evidence.recording.netem
    wrong = [
        f"{side} has {held[side]}, configured was {_text(asked)}"
        for side, asked in (("out", out), ("back", back))
        if side in held and not _is(held[side], asked)
    ]
    known = [side for side in ("out", "back") if side in held]
    outcome = Outcome.FAILED if wrong else Outcome.PASSED if known else Outcome.INCONCLUSIVE
    message = "; ".join(wrong) if wrong else f"read back from the kernel: {' and '.join(known) or 'nothing'}"
    return SETTINGS.finding(
        outcome,
        message=message,
        expected=f"out {_text(out)}, back {_text(back)}",
        seen=message,
        samples=len(known),
    )


def _is(held: object, asked: Netem) -> bool:
    return held == asked.changed() if isinstance(held, Mapping) else held == str(asked)


def _text(netem: Netem) -> str:
    return ", ".join(f"{name}={value}" for name, value in netem.changed().items()) or "nothing"


def _steps(evidence: Evidence) -> Finding:
    """Check that all steps were applied in order; otherwise the bounds in force are unknown."""
    due = list(range(len(evidence.scenario.steps)))
    taken = [step.index for step in evidence.recording.steps]
    outcome = Outcome.PASSED if taken == due else Outcome.FAILED
    return STEPS.finding(
        outcome,
        message=f"{len(taken)} of {len(due)} steps were applied" + ("" if taken == due else f", in the order {taken}"),
        expected=f"{len(due)} steps",
        seen=f"{len(taken)} steps",
        samples=len(taken),
    )


def _lost(evidence: Evidence) -> Finding:
    """Check that no event was lost. A loss does not make the other events wrong, but it makes every count uncertain."""
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
    """Check that every side of every connection that wrote data has at least one data sample."""
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
        # Karn: with packet loss, all ACKs of a short connection may be of retransmissions.
        excused = evidence.lost > 0 or (loses and some)
        outcome = Outcome.INCONCLUSIVE if excused else Outcome.FAILED
        message = f"of {flows} connections {missing or 'all'} have no data sample ({seen})"
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
