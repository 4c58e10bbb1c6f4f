"""The relay's own account of each packet: was it held for as long as was asked for, and which packet is which.

It owns the match of the relay's records with the captures, and the check of the relay's arithmetic, which is exact: no
noise is in what a packet was due at, as the relay says it. That is worked out from when the kernel received the packet,
and from numbers of a seed that the recording holds. How late it was let go then is judged with the captures, by
`check_noisy`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.link_seed import seed_of
from rttcheck.netns.netem import Netem
from rttcheck.netns.relay.line import UNLIMITED, Fate, Line
from rttcheck.recording import Recording

if TYPE_CHECKING:
    from rttcheck.judge.link_way import Way

Integers = npt.NDArray[np.int64]

_DIRECTIONS = {"out": 0, "back": 1}

_SAME_NS = 200_000
"""A packet's capture and the relay's record of it bear one stamp of the kernel's, but for reading the wall clock twice
(``CLOCK_REALTIME`` less ``CLOCK_MONOTONIC``): some microseconds."""


def account_of(recording: Recording, name: str, entered_ns: Integers, left_ns: Integers) -> Integers:
    """When each packet of a direction was due by the relay's account; 0 where no record is surely the packet's.

    The record is the one that was taken when the packet came in, the nearest of all, and let go before it left.
    """
    due_ns = np.zeros(len(entered_ns), dtype=np.int64)
    held = _held(recording, name)
    if not len(held) or not len(entered_ns):
        return due_ns
    held = held[np.argsort(held["taken_ns"], kind="stable")]
    taken_ns = held["taken_ns"]
    after = np.minimum(np.searchsorted(taken_ns, entered_ns), len(held) - 1)
    before = np.maximum(after - 1, 0)
    nearer = np.abs(taken_ns[before] - entered_ns) < np.abs(taken_ns[after] - entered_ns)
    place = np.where(nearer, before, after)
    once = np.bincount(place, minlength=len(held))[place] == 1
    sure = once & (np.abs(taken_ns[place] - entered_ns) <= _SAME_NS) & (held["released_ns"][place] <= left_ns)
    due_ns[sure] = held["due_ns"][place[sure]]
    return due_ns


def check_account(ways: Sequence[Way], recording: Recording) -> tuple[Finding, ...]:
    """Whether each packet that was held was due when its setting says; none with another engine."""
    total, wrong, worst_ns = 0, 0, 0
    for way in ways:
        held = _held(recording, way.name)
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
    return (
        Finding(
            layer=Layer.LINK,
            check="the relay holds each packet for as long as was asked for",
            outcome=Outcome.FAILED if wrong else Outcome.PASSED,
            message=message,
            expected="its arithmetic, to the nanosecond",
            seen=message,
            samples=total,
        ),
    )


def _redrawn(recording: Recording, name: str, netem: Netem) -> Integers | None:
    """When each packet of `_held` was to be due, by the settings asked for and the numbers of the relay's seed.

    None where copies are made, which other numbers go to, where a packet was dropped for want of room, or without seed.
    """
    rows = recording.relay[recording.relay["direction"] == _DIRECTIONS[name]]
    seed = seed_of(str(recording.netem.get("held", {}).get(name, "")))
    if seed is None or netem.duplicate or np.isin(rows["fate"], (Fate.OVERFLOW, Fate.REFUSED)).any():
        return None
    line = Line(replace(netem, limit=UNLIMITED), seed)
    taken = zip(rows["taken_ns"].tolist(), rows["length"].tolist(), strict=True)
    due_ns = np.array([line.admit(taken_ns, length)[0][0] for taken_ns, length in taken], dtype=np.int64)
    redrawn: Integers = due_ns[(rows["released_ns"] > 0) & np.isin(rows["fate"], (Fate.PASSED, Fate.REORDERED))]
    return redrawn


def _held(recording: Recording, name: str) -> np.ndarray:
    """The records of packets of a direction that were held and let go, in the order in which they were taken."""
    packets = recording.relay
    kept = (packets["direction"] == _DIRECTIONS[name]) & (packets["released_ns"] > 0)
    held: np.ndarray = packets[kept & np.isin(packets["fate"], (Fate.PASSED, Fate.REORDERED))]
    return held
