"""Compare two probes that ran at the same time: event by event, every member that both see.

Where they differ, either may be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.arithmetic.estimator import is_after
from rttcheck.judge.arithmetic.steps import Steps
from rttcheck.judge.check import NOTHING, Check
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.pairing.scoreboard import NONE
from rttcheck.judge.pairing.transit import identities
from rttcheck.record.event import EVENT, Hook
from rttcheck.record.recording import Recording
from rttcheck.record.view import Coverage, View

SAME_SAMPLES: Final = Check(
    id="observer.second-samples",
    layer=Layer.OBSERVER,
    title="the second probe reports the same samples",
    asserts="Two probes that ran at the same time report the same samples, as far as each sees them.",
    against="each other",
    tolerance="none; lost events are inconclusive",
    needs=NOTHING,
)
SAME_VALUES: Final = Check(
    id="observer.second-values",
    layer=Layer.OBSERVER,
    title="the second probe reports the same values",
    asserts="Two probes that ran at the same time report the same value of every member that both see.",
    against="each other",
    tolerance="none",
    needs=NOTHING,
)
SAME_STATE: Final = Check(
    id="observer.second-state",
    layer=Layer.OBSERVER,
    title="the second probe reports the state after the last sample",
    asserts="A probe that sees no samples reports the estimators as after the other probe's last sample.",
    against="each other",
    tolerance="none; lost events are inconclusive",
    needs=NOTHING,
)

Booleans = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]

_SOCKET: Final = ("sk", "sport", "dport", "netns")
_SAMPLE: Final = (*_SOCKET, "tcp_mstamp_us", "snd_una", "delivered")
"""Members that are constant during one call, the "now" of its sample included."""

_AT_ONCE: Final = 1 << 12
"""Events that are compared at a time: both tables' rows are then in the processor's cache for all members."""

_GROWING: Final = "snd_una"
"""This may grow without a delivery: when an ACK covers a part of segments that were collapsed for a retransmission
(``tcp_retrans_try_collapse()``), as only whole segments are delivered (``tcp_clean_rtx_queue()``); or data that was
SACKed, and thereby delivered, before. It never decreases."""

_ESTIMATORS: Final = ("srtt_us", "mdev_us", "mdev_max_us", "rttvar_us", "rtt_seq", "min_rtt")
_COMPARED: Final = (
    "sample_us", "first_rtt_us", "sack_rtt_us", "last_rtt_us", "rs_rtt_us", *_ESTIMATORS, "flag", "rto_jiffies",
    "backoff", "snd_nxt", "write_seq", "packets_out", "retrans_out", "sacked_out", "lost_out", "mss_cache",
    "rcv_tsecr", "saw_tstamp", "family", "hz", "state", "ca_state",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Probe:
    """One of the two probes: its name, what it sees, its events."""

    probe: str
    view: View
    events: np.ndarray

    @property
    def shows_samples(self) -> bool:
        return self.view.coverage is not Coverage.SMOOTHED_ONLY


def check_second(evidence: Evidence) -> tuple[Finding, ...]:
    """Return the findings on the recording's two probes, in no order; none where there was one."""
    recording = evidence.recording
    if not recording.second_facts:
        return ()
    one, other = _probes(recording, evidence.events)
    lost = recording.lost + int(recording.second_facts.get("lost", 0))
    if one.shows_samples and other.shows_samples:
        return _samples(one, other, lost)
    if one.shows_samples or other.shows_samples:
        return (_states(*((one, other) if one.shows_samples else (other, one)), lost),)
    return ()


def second_agrees(evidence: Evidence, name: str, suspect: Booleans) -> bool:
    """Return whether the second probe reports the member ``name`` as the first does, in the events ``suspect``.

    True where the second probe saw at least one of the suspect calls, and reports the same value in every one that it
    saw: two programs that read by different paths do not misread alike. False where there was no second probe, where
    it does not see the member, and where it saw none of these calls.
    """
    recording = evidence.recording
    if not recording.second_facts:
        return False
    one, other = _probes(recording, evidence.events)
    if not (one.view.sees(name) and other.view.sees(name)):
        return False
    if one.shows_samples and other.shows_samples:
        mine, theirs = _same_calls(one, other)
    elif one.shows_samples:
        mine, theirs = _states_left(one, other)
    elif other.shows_samples:
        theirs, mine = _states_left(other, one)
    else:
        return False
    found = suspect[mine]
    return bool(found.any()) and not _unequal(name, one, mine[found], other, theirs[found]).any()


def _probes(recording: Recording, events: np.ndarray) -> tuple[_Probe, _Probe]:
    facts = recording.second_facts
    return (
        _Probe(recording.probe, recording.view, events),
        _Probe(str(facts["probe"]), View.of(facts["view"]), recording.second),
    )


def _outcome(bad: int, compared: int, lost: int) -> Outcome:
    if bad:
        return Outcome.INCONCLUSIVE if lost else Outcome.FAILED
    return Outcome.PASSED if compared else Outcome.INCONCLUSIVE


def _samples(one: _Probe, other: _Probe, lost: int) -> tuple[Finding, Finding]:
    mine, theirs = _same_calls(one, other)
    unpaired = {one.probe: _taken_beside(one, mine), other.probe: _taken_beside(other, theirs)}
    for seen_by, missed_by in ((one, other), (other, one)):
        if not missed_by.view.every_sample:
            begins = _begins_round_trip(seen_by)[unpaired[seen_by.probe]]
            unpaired[seen_by.probe] = unpaired[seen_by.probe][begins]
    alone = sum(len(places) for places in unpaired.values())
    seen = f"{len(mine)} samples reported by both"
    names = f"{one.probe} and {other.probe}"
    message = f"{len(mine)} samples compared: {names}"
    if alone:
        counts = " and ".join(f"{len(rows)} reported by {probe} alone" for probe, rows in unpaired.items() if len(rows))
        message = f"besides {len(mine)} samples that {names} both report, {counts}"
        message += f", and {lost} events were lost" if lost else f": the first is {_first(unpaired, one, other)}"
    same = SAME_SAMPLES.finding(
        _outcome(alone, len(mine), lost),
        message,
        "an event of each probe for each sample, as far as both see it (socket, time, snd_una, delivered)",
        seen,
        len(mine) + alone,
    )
    return same, _values(SAME_VALUES, one, mine, other, theirs, _COMPARED, lost)


def _same_calls(one: _Probe, other: _Probe) -> tuple[Places, Places]:
    """Return the rows of both probes' events of the same calls, of samples that were taken."""
    taken_one, taken_other = (np.flatnonzero(each.events["taken"]) for each in (one, other))
    found = _places(_key(one.events, _SAMPLE, taken_one), _key(other.events, _SAMPLE, taken_other))
    return taken_one[found != NONE], taken_other[found[found != NONE]]


def _taken_beside(probe: _Probe, paired: Places) -> Places:
    """Return the probe's events of samples beside those that are paired."""
    alone = probe.events["taken"] != 0
    alone[paired] = False
    return np.flatnonzero(alone)


def _first(unpaired: dict[str, Places], one: _Probe, other: _Probe) -> str:
    probe, places = next((probe, places) for probe, places in unpaired.items() if len(places))
    event = (one if probe == one.probe else other).events[places[0]]
    return f"{probe}'s event {int(places[0])}, {int(event['sample_us'])} us at snd_una {int(event['snd_una'])}"


def _begins_round_trip(probe: _Probe) -> Booleans:
    """Return the events that a probe with one sample per round trip sees too: a first sample, or one past ``rtt_seq``.

    Source: ``tcp_rtt_estimator()``. Events without a known state before are left out.
    """
    steps = Steps.of(probe.events, every_sample=probe.view.every_sample)
    before = np.maximum(steps.previous, 0)
    ended = is_after(probe.events["snd_una"].astype(np.int64), probe.events["rtt_seq"][before].astype(np.int64))
    ended |= probe.events["srtt_us"][before] == 0
    begins: Booleans = steps.taken & (steps.opening | ((steps.previous >= 0) & ended))
    return begins


def _states(maker: _Probe, finder: _Probe, lost: int) -> Finding:
    mine, theirs = _states_left(maker, finder)
    return _values(SAME_STATE, maker, mine, finder, theirs, (*_ESTIMATORS, "snd_una"), lost)


def _states_left(maker: _Probe, finder: _Probe) -> tuple[Places, Places]:
    """Pair each state that the finder reports with the maker's last event before it, if nothing was delivered between.

    Returns rows of the maker's events, and of the finder's.
    """
    made, found = maker.events, finder.events
    both = np.concatenate([_key(each, _SOCKET, np.arange(len(each))) for each in (made, found)])
    _, socket = np.unique(both, return_inverse=True)
    times = np.concatenate((made["timestamp_ns"], found["timestamp_ns"]))
    is_found = np.arange(len(times)) >= len(made)
    order = np.lexsort((is_found, times, socket))
    last = np.maximum.accumulate(np.where(is_found[order], -1, np.arange(len(order))))
    rows = np.flatnonzero(is_found[order] & (last >= 0))
    theirs, mine = order[rows] - len(made), order[last[rows]]
    same = (socket[order[rows]] == socket[mine]) & (found["delivered"][theirs] == made["delivered"][mine])
    return mine[same], theirs[same]


def _values(
    check: Check, one: _Probe, mine: Places, other: _Probe, theirs: Places, fields: tuple[str, ...], lost: int
) -> Finding:
    """Compare member by member; lost events explain a difference only between states."""
    seen = [name for name in fields if one.view.sees(name) and other.view.sees(name)]
    differs = {name: np.zeros(len(mine), dtype=np.bool_) for name in seen}
    for at in range(0, len(mine), _AT_ONCE):
        some = slice(at, at + _AT_ONCE)
        for name, rows in differs.items():
            rows[some] = _unequal(name, one, mine[some], other, theirs[some])
    wrong = {name: rows for name, rows in differs.items() if rows.any()}
    total = int(np.logical_or.reduce(list(wrong.values())).sum()) if wrong else 0
    names = f"{one.probe} and {other.probe}"
    message = f"{len(mine)} events with {len(seen)} members compared: {names}"
    if not len(mine):
        message = f"{names} have no event in common"
    if total:
        name, rows = next(iter(wrong.items()))
        at = int(np.flatnonzero(rows)[0])
        values = f"{one.events[name][mine[at]]} by {one.probe} and {other.events[name][theirs[at]]} by {other.probe}"
        counts = ", ".join(f"{name} in {int(rows.sum())}" for name, rows in wrong.items())
        message = f"in {total} of {len(mine)} events {names} differ ({counts}); the first is {name}: {values}"
    return check.finding(
        _outcome(total, len(mine), lost if check is SAME_STATE else 0),
        message,
        f"the same {', '.join(seen[:6])} and {max(len(seen) - 6, 0)} more",
        f"{total} of {len(mine)} differ",
        len(mine),
    )


def _unequal(name: str, one: _Probe, mine: Places, other: _Probe, theirs: Places) -> Booleans:
    """Return which of these pairs of events differ in the member ``name``."""
    unequal = one.events[name][mine] != other.events[name][theirs]
    if name == "last_rtt_us":  # sockops reads it only for segments that come in order
        unequal &= ~(_unreported(one, name, mine) | _unreported(other, name, theirs))
    if name == _GROWING:
        unequal &= ~is_after(other.events[name][theirs].astype(np.int64), one.events[name][mine].astype(np.int64))
    rows: Booleans = unequal if unequal.ndim == 1 else unequal.any(axis=1)
    return rows


def _unreported(probe: _Probe, name: str, rows: Places) -> Booleans:
    unreported: Booleans = (probe.events["hook"][rows] == Hook.SOCKOPS) & (probe.events[name][rows] < 0)
    return unreported


def _key(events: np.ndarray, names: tuple[str, ...], chosen: Places) -> np.ndarray:
    """Return the members ``names`` of the ``chosen`` events as one value each that compares bytewise."""
    packed = np.zeros(len(chosen), dtype=[(name, EVENT[name]) for name in names])
    for at in range(0, len(chosen), _AT_ONCE):
        rows = chosen[at : at + _AT_ONCE]
        for name in names:
            packed[name][at : at + _AT_ONCE] = events[name][rows]
    return packed.view(np.dtype((np.void, packed.dtype.itemsize))).reshape(-1)


def _places(one: np.ndarray, other: np.ndarray) -> Places:
    """Return for each key of ``one`` the last place of the same in ``other``; `NONE` without one."""
    found = np.full(len(one), NONE, dtype=np.intp)
    if not len(one) or not len(other):
        return found
    mine, theirs = (identities(keys, np.arange(len(keys)), apart=()) for keys in (one, other))
    if np.array_equal(mine, theirs) and np.array_equal(one, other):
        # Both report the same ones in the same order: no search, if each of them is there once.
        ordered = np.sort(mine, kind="stable")
        if (ordered[1:] != ordered[:-1]).all():
            return np.arange(len(one))
    order = np.argsort(theirs, kind="stable")
    place = np.searchsorted(theirs[order], mine, side="right") - 1
    hit = np.flatnonzero(place >= 0)
    hit = hit[one[hit] == other[order[place[hit]]]]
    found[hit] = order[place[hit]]
    return found
