"""Check that the relay computed each packet's due time as configured, by its own records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from rttcheck.judge.check import NOTHING, Check, Quality
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.link.account import DIRECTIONS, Integers, held_packets
from rttcheck.judge.link.seed import seed_of
from rttcheck.judge.link.way import Way
from rttcheck.record.recording import Recording
from rttcheck_netns.netem import Netem
from rttcheck_netns.relay.line import UNLIMITED, Fate, Line

RELAY_ACCOUNT: Final = Check(
    id="link.relay-account",
    layer=Layer.LINK,
    title="the relay's due times are as configured",
    asserts="The due time of each packet that the relay held follows from the settings and its seed's random numbers.",
    against="the relay's arithmetic, recomputed from when it received each packet",
    tolerance="none: to the nanosecond",
    needs=NOTHING,
    quality=Quality.RELAY_ACCOUNT,
)


def check_relay_account(ways: Sequence[Way], recording: Recording) -> tuple[Finding, ...]:
    """Check each held packet's due time against its setting; return no finding with another engine."""
    total, wrong, worst_ns = 0, 0, 0
    for way in ways:
        held = held_packets(recording, way.name)
        if len(way.netems) == 1 and (redrawn := _redrawn(recording, way.name, way.netems[0])) is not None:
            off = np.abs(held["due_ns"] - redrawn)
            total, wrong = total + len(held), wrong + int((off > 0).sum())
            worst_ns = max(worst_ns, int(off.max(initial=0)))
            continue
        for place, (netem, delay) in enumerate(zip(way.netems, way.delays, strict=True)):
            here = held[held["setting"] == place]
            passed = here[here["fate"] == Fate.PASSED]
            taken_ns, lengths = passed["taken_ns"].astype(np.int64), passed["length"].astype(np.int64)
            first = way.engine.due(netem, taken_ns, lengths, delay.lowest_ns)
            last = way.engine.due(netem, taken_ns, lengths, delay.highest_ns)
            # A packet that is sent ahead is due when it comes in.
            ahead = here[here["fate"] == Fate.REORDERED]
            off = np.concatenate(
                (
                    np.maximum(np.maximum(first - passed["due_ns"], passed["due_ns"] - last), 0),
                    np.abs(ahead["due_ns"] - ahead["taken_ns"]),
                )
            )
            total, wrong = total + len(here), wrong + int((off > 0).sum())
            worst_ns = max(worst_ns, int(off.max(initial=0)))
    if not total:
        return ()
    message = f"{wrong} of {total} packets that the relay held have a wrong due time in its own records"
    message += f", the worst by {worst_ns / 1_000:.1f} us" if wrong else ""
    unrecorded = int(recording.relay_facts.get("unrecorded", 0))
    message += f"; {unrecorded} more were not recorded, as the record's memory was full" if unrecorded else ""
    return (
        RELAY_ACCOUNT.finding(
            Outcome.FAILED if wrong else Outcome.INCONCLUSIVE if unrecorded else Outcome.PASSED,
            message,
            expected="due times to the nanosecond",
            seen=message,
            samples=total,
        ),
    )


def _redrawn(recording: Recording, name: str, netem: Netem) -> Integers | None:
    """Return when each packet of `held_packets` should be due, by the settings and the relay's seed.

    None where packets are duplicated, as copies take other random numbers, where a packet was dropped because the queue
    was full, or without a seed.
    """
    rows = recording.relay[recording.relay["direction"] == DIRECTIONS[name]]
    seed = seed_of(str(recording.netem.get("held", {}).get(name, "")))
    if seed is None or netem.duplicate or np.isin(rows["fate"], (Fate.OVERFLOW, Fate.REFUSED)).any():
        return None
    line = Line(replace(netem, limit=UNLIMITED), seed)
    taken = zip(rows["taken_ns"].tolist(), rows["length"].tolist(), strict=True)
    due_ns = np.array([line.admit(taken_ns, length)[0][0] for taken_ns, length in taken], dtype=np.int64)
    redrawn: Integers = due_ns[(rows["released_ns"] > 0) & np.isin(rows["fate"], (Fate.PASSED, Fate.REORDERED))]
    return redrawn
