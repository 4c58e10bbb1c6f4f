"""The finding of an arithmetic check: how many steps differ, the first of them, and the likeliest cause."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.address import address_text
from rttcheck.judge.arithmetic.steps import Steps
from rttcheck.judge.check import Check
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding, Layer, Outcome

Booleans = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]

EXAMINED: Final = 4_096
"""Search the cause in this many differences at most."""

_UNIT_FACTOR: Final = 500
"""Values that differ by this factor or more are in different units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """The cause of a difference; ``text`` is empty where none is known."""

    text: str = ""
    unit: bool = False
    """The events hold samples in another unit: the kernel is not at fault."""


NO_SAMPLE: Final = Cause(text="a call that takes no sample must change nothing")


def step_finding(
    evidence: Evidence,
    *,
    check: Check,
    expected: str,
    checked: int,
    unknown: int,
    bad: Places,
    describe: Callable[[int], str],
    cause: Callable[[], Cause],
    note: str = "",
    losses_explain: bool = True,
) -> Finding:
    """Return the finding for the events ``bad`` of ``checked`` steps.

    A lost event explains at most one difference: more differences than lost events are a failure.
    """
    layer, lost = Layer.ARITHMETIC, evidence.lost if losses_explain else 0
    known = f"{checked} steps, equal bit for bit" + (f"; {note}" if note else "")
    if len(bad) > lost:
        found = cause()
        layer = Layer.OBSERVER if found.unit else layer
        outcome = Outcome.FAILED
        first = int(bad[0])
        message = f"{len(bad)} of {checked} steps differ; the first is {_location(evidence, first)}, {describe(first)}"
        message += f": {found.text}" if found.text else ""
    elif len(bad):
        outcome = Outcome.INCONCLUSIVE
        message = f"{len(bad)} of {checked} steps differ, and {lost} lost events may lie between them"
    elif unknown or not checked:
        outcome = Outcome.INCONCLUSIVE
        message = f"{unknown} sockets were first seen after their handshake: the state before is unknown"
        message = f"{message}; {known}" if checked else message if unknown else "no sample was taken"
    else:
        outcome, message = Outcome.PASSED, known
    return check.finding(
        outcome,
        message,
        expected,
        f"{len(bad)} of {checked} steps differ",
        checked,
        layer=layer,
        blind=not checked and not evidence.recording.view.every_sample,
    )


def unknown_steps(evidence: Evidence, steps: Steps) -> int:
    """Count the samples without a known state before; 0 for a probe that does not report every sample."""
    return int((~steps.known & steps.taken).sum()) if evidence.recording.view.every_sample else 0


def in_another_unit(reported_us: Integers, held_us: Integers) -> bool:
    """Tell whether all pairs of values differ by so much that one of the two columns is not in microseconds."""
    factor = np.maximum(reported_us, 1) / np.maximum(held_us, 1)
    return bool(((factor <= 1 / _UNIT_FACTOR) | (factor >= _UNIT_FACTOR)).all())


def likeliest(causes: list[tuple[str, Booleans]]) -> Cause:
    """Return the cause that explains most differences, the first among equals; an empty one if none explains any."""
    text, explains = max(causes, key=lambda cause: int(cause[1].sum()))
    explained, total = int(explains.sum()), len(explains)
    if not explained:
        return Cause()
    share = "" if total == 1 else "all match: " if explained == total else f"{explained} of {total} match: "
    return Cause(text=share + text)


def _location(evidence: Evidence, at: int) -> str:
    event = evidence.events[at]
    own, peer = (
        f"{address_text(event[address].tobytes())} port {int(event[port])}"
        for address, port in (("saddr", "sport"), ("daddr", "dport"))
    )
    return f"event {at} ({own}, to {peer})"
