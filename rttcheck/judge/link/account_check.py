"""Check that the relay held each packet for as long as was asked for, by its own account."""

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
    title="the relay holds each packet for as long as was asked for",
    asserts="Each packet that the relay held was due when the settings, and the numbers of its seed, say.",
    against="the relay's arithmetic, redone from when it received each packet",
    tolerance="none: to the nanosecond",
    needs=NOTHING,
    quality=Quality.RELAY_ACCOUNT,
)


def check_account(ways: Sequence[Way], recording: Recording) -> tuple[Finding, ...]:
    """Whether each packet that was held was due when its setting says; none with another engine."""
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
            # Sent ahead, a packet is due when it comes.
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
    message = f"of {total} packets that the relay held, by its own account, {wrong} were not due when they were to be"
    message += f", the worst by {worst_ns / 1_000:.1f} us" if wrong else ""
    unrecorded = int(recording.relay_facts.get("unrecorded", 0))
    message += f"; {unrecorded} more are not in its account, whose memory was full" if unrecorded else ""
    return (
        RELAY_ACCOUNT.finding(
            Outcome.FAILED if wrong else Outcome.INCONCLUSIVE if unrecorded else Outcome.PASSED,
            message,
            expected="its arithmetic, to the nanosecond",
            seen=message,
            samples=total,
        ),
    )


def _redrawn(recording: Recording, name: str, netem: Netem) -> Integers | None:
    """When each packet of `held_packets` was to be due, by the settings asked for and the numbers of the relay's seed.

    None where copies are made, which other numbers go to, where a packet was dropped for want of room, or without seed.
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
