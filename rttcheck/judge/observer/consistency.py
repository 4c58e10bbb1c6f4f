"""Check that the probe's data is consistent: possible in itself, and with data that does not come from the probe.

These checks find wrong events that are the probe's fault although the kernel seems to be wrong. The probe reads
arguments and state separately; packets and TCP_INFO do not go through it. If an argument differs from the wire time,
and the estimator's step shows that its input was the wire time, the probe misread the argument. If all of the probe's
data fits together, a fault is the kernel's.

The probe is not at fault for values that other evidence confirms (`confirmation`): TCP_INFO comes from the kernel under
test, and a faulty kernel may report one value and hold another.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.arithmetic import estimator
from rttcheck.judge.arithmetic.estimator import Sample, State
from rttcheck.judge.arithmetic.rto import Bounds
from rttcheck.judge.arithmetic.socket_info import in_force, late_segments
from rttcheck.judge.arithmetic.steps import Steps
from rttcheck.judge.arithmetic.windowed_minimum import NOTHING_US
from rttcheck.judge.check import CALLS, Check, Quality
from rttcheck.judge.eligibility.part import Part
from rttcheck.judge.evidence import Booleans, Evidence
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.machine.hop import MOST_NS
from rttcheck.judge.observer.confirmation import confirmation, srtt_confirmation, state_confirmation
from rttcheck.judge.pairing.ends import Places
from rttcheck.judge.pairing.scoreboard import NONE
from rttcheck.judge.pairing.stamps import UNKNOWN
from rttcheck.judge.pairing.wire_times import MICROSECOND_NS, Integers, WireTimes
from rttcheck.judge.samples import Side
from rttcheck.record.event import (
    FLAG_ACK_MAYBE_DELAYED,
    FLAG_DATA_ACKED,
    FLAG_ORIG_SACK_ACKED,
    FLAG_RETRANS_DATA_ACKED,
    FLAG_SYN_ACKED,
)

POSSIBLE: Final = Check(
    id="observer.possible-events",
    layer=Layer.OBSERVER,
    title="events are possible",
    asserts=(
        "Each event is of another call, with arguments that tcp_ack_update_rtt() can get, on a traffic connection."
    ),
    against="the kernel's own callers, 5.10 to 7.3",
    tolerance="none",
    needs=CALLS,
)
USED: Final = Check(
    id="observer.sample-used",
    layer=Layer.OBSERVER,
    title="events hold the sample that the kernel used",
    asserts="The sample of an event is the one that the estimator's step used.",
    against="the change of srtt, where that gives the wire time",
    tolerance="none",
    needs=CALLS,
    quality=Quality.PACKETS_AND_EVENTS,
)
STATE: Final = Check(
    id="observer.possible-state",
    layer=Layer.OBSERVER,
    title="the estimators' state is possible",
    asserts="srtt and min_rtt are between the least and the greatest sample, where those of TCP_INFO are.",
    against="the samples, and TCP_INFO of the same time",
    tolerance="1 us",
    needs=CALLS,
)
"""The only one of these checks that does not concern samples: it finds a misread state of the estimators."""

UNSEEN: Final = Check(
    id="observer.every-event",
    layer=Layer.OBSERVER,
    title="every sample has its event",
    asserts="The estimators do not change between two events of a socket.",
    against="the state before and after, and the packets",
    tolerance="none",
    needs=CALLS,
    quality=Quality.PACKETS_AND_EVENTS,
)

_NO_TIME_US: Final = -(1 << 31)
"""A value below this is no difference of two stamps of a guest: it is an address, or a part of one. Values above it may
be a kernel's error."""

_FLAGS: Final = (
    FLAG_DATA_ACKED | FLAG_RETRANS_DATA_ACKED | FLAG_SYN_ACKED | FLAG_ORIG_SACK_ACKED | FLAG_ACK_MAYBE_DELAYED
)
"""All flags that ``tcp_clean_rtx_queue()`` and ``tcp_synack_rtt_meas()`` set before the call: 5.10 to 7.3."""


def check_consistency(evidence: Evidence) -> tuple[Finding, ...]:
    """Return all findings on the probe's data, in no order; two of them need packets."""
    found, wire_times = [_possible(evidence), _shown_state(evidence)], evidence.wire_times
    if wire_times is not None:
        steps = evidence.steps
        state = State.of(evidence.events)
        found.append(_used(evidence, wire_times, steps, state))
        if evidence.expectations is not None:
            found.append(_unseen(evidence, evidence.expectations, steps, state))
    return tuple(found)


def _finding(check: Check, message: str, expected: str, bad: int, total: int, note: str = "") -> Finding:
    return check.finding(
        Outcome.FAILED if bad else Outcome.PASSED,
        message if bad else f"{total} checked" + (f"; {note}" if note else ""),
        expected=expected,
        seen=f"{bad} of {total}",
        samples=total,
    )


def _possible(evidence: Evidence) -> Finding:
    """Find events of calls that no kernel makes, however faulty its arithmetic."""
    events = evidence.events
    again = _repeated(events)
    taken = events["taken"] != 0
    wrong: list[tuple[str, Booleans]] = [
        ("repeat a call", again),
        ("have flags that the function never gets", (events["flag"] & ~_FLAGS) != 0),
        ("have a number in place of a time",
         np.logical_or.reduce([events[name] < _NO_TIME_US for name in ("first_rtt_us", "sack_rtt_us", "last_rtt_us")])),
        ("took a sample and hold none", taken & (events["sample_us"] < 0)),
        ("are of addresses and ports that are not the traffic's",
         (evidence.connections < 0) & (len(evidence.recording.flows) > 0)),
    ]  # fmt: skip
    texts = [f"{int(bad.sum())} {text}, the first is event {int(bad.argmax())}" for text, bad in wrong if bad.any()]
    impossible = np.logical_or.reduce([bad for _, bad in wrong])
    message = f"of {len(events)} events " + "; ".join(texts)
    return _finding(POSSIBLE, message, "each call once, with arguments that the function can get",
                    int(impossible.sum()), len(events))  # fmt: skip


def _repeated(events: np.ndarray) -> Booleans:
    """Return which events are of a socket and time that an earlier event has."""
    order = np.lexsort((events["timestamp_ns"], events["sk"]))
    sk, time_ns = events["sk"][order], events["timestamp_ns"][order]
    repeated = np.zeros(len(events), dtype=np.bool_)
    repeated[order[1:][(sk[1:] == sk[:-1]) & (time_ns[1:] == time_ns[:-1])]] = True
    return repeated


def _used(evidence: Evidence, wire_times: WireTimes, steps: Steps, state: State) -> Finding:
    """Compare each event's sample with the one that the change of srtt gives; the other fields must confirm it."""
    events, wire, pairs = evidence.events, evidence.sent, wire_times.pairs
    before = state.before(steps)
    used_us = np.where(before.srtt_us == 0, state.srtt_us >> 3, state.srtt_us - before.srtt_us + (before.srtt_us >> 3))
    bounds = Bounds.of(evidence.recording.sysctls, events["hz"].astype(np.int64))
    sample = Sample.of(events)
    expected = estimator.after_sample(
        before,
        Sample(us=used_us, snd_una=sample.snd_una, snd_nxt=sample.snd_nxt),
        bounds.least_us,
        estimator.formula_of(evidence.recording.kernel),
    )
    confirmed = steps.taken & steps.known & ~state.differs(expected)
    assert evidence.observation is not None  # there are wire times
    stamp_ns = evidence.observation.stamp_ns
    now_us = events["tcp_mstamp_us"].astype(np.int64)

    def is_wire_time(value_us: Integers) -> Booleans:
        found = np.zeros(len(events), dtype=np.bool_)
        for segment in (pairs.first, pairs.sack):
            there = np.flatnonzero((pairs.ack != NONE) & (segment != NONE))
            passed_ns = wire["time_ns"][pairs.ack[there]] - wire["time_ns"][segment[there]]
            over_ns = value_us[there] * MICROSECOND_NS - passed_ns
            near = (over_ns > -MICROSECOND_NS) & (over_ns <= 2 * MOST_NS)
            stamped = (stamp_ns[segment[there]] != UNKNOWN) & (now_us[there] > 0)
            exact = value_us[there] == now_us[there] - stamp_ns[segment[there]] // MICROSECOND_NS
            found[there] |= np.where(stamped, exact, near)
        return found

    bad = confirmed & (used_us != sample.us) & is_wire_time(used_us) & ~is_wire_time(sample.us)
    message, why = "", ""
    if bad.any():
        why = confirmation(evidence, "sample_us", bad)
        at = int(bad.argmax())
        factor = float(np.median(sample.us[bad] / np.maximum(used_us[bad], 1)))
        message = (
            f"{int(bad.sum())} of {int(confirmed.sum())} events hold another sample than the kernel used, the first is "
            f"event {at}: it holds {int(sample.us[at])} us, and srtt, mdev and the other fields changed by a sample of "
            f"{int(used_us[at])} us, which is the wire time"
        )
        known = {1_000.0: "a thousand times as much", 0.001: "a thousandth"}
        message += next((f" ({text})" for of, text in known.items() if 0.9 * of < factor < 1.1 * of), "")
    return _finding(USED, message,
                    "the sample that the estimator's step gives, where that is the wire time",
                    0 if why else int(bad.sum()), int(confirmed.sum()),
                    note=f"{message}; but {why}: the kernel held both" if why else "")  # fmt: skip


def _shown_state(evidence: Evidence) -> Finding:
    """Find srtt and min_rtt outside the range of their samples, where those of TCP_INFO are inside.

    TCP_INFO of the same time is used, by ``delivered``. If other evidence confirms the state, the probe is not at
    fault: then the kernel's TCP_INFO and its state differ, and the arithmetic checks find the wrong step.
    """
    events = evidence.events
    wrong: list[str] = []
    kernels: list[str] = []
    compared = 0
    for index, flow in enumerate(evidence.recording.flows):
        for side in (Side.CLIENT, Side.SERVER):
            info = flow.get(f"{side.name.lower()}_info")
            socket = evidence.events_of(index, side)
            own = socket[events["taken"][socket] != 0]
            if not info or not len(own) or not info.get("delivered"):
                continue
            state = in_force(events, socket, int(info["delivered"]) - late_segments(evidence), exactly=True)
            if not len(state):
                continue
            compared += 1
            for name, info_us, fed in (
                ("srtt", info.get("rtt_us"), events["sample_us"][own]),
                ("min_rtt", info.get("min_rtt_us"), events["rs_rtt_us"][own]),
            ):
                low, high = int(fed.min()) - 1, int(fed.max()) + 1
                if info_us is None or not low <= info_us <= high:
                    continue
                if not _outside(_held_us(events, state, name), name, low, high).all():
                    continue
                chosen = np.zeros(len(events), dtype=np.bool_)
                chosen[own] = True
                suspect = chosen.copy()
                suspect[own] = _outside(_held_us(events, own, name), name, low, high)
                text = (
                    f"the {side.name.lower()} of connection {index} has {name} "
                    f"{int(_held_us(events, state[-1:], name)[0])} us, impossible for samples of {low + 1} to "
                    f"{high - 1} us, and TCP_INFO reports {info_us} us"
                )
                if name == "srtt":
                    why = srtt_confirmation(evidence, suspect, chosen, low, high)
                else:
                    why = state_confirmation(evidence, "min_rtt", suspect, chosen)
                if why:
                    kernels.append(f"{text}; but {why}: the kernel held it")
                else:
                    wrong.append(text)
    return _finding(STATE, "; ".join(wrong[:2]), "srtt and min_rtt in the range of the samples, as in TCP_INFO",
                    len(wrong), compared, note="; ".join(kernels[:1]))  # fmt: skip


def _held_us(events: np.ndarray, chosen: Places, name: str) -> Integers:
    held = events["srtt_us"][chosen] >> 3 if name == "srtt" else events["min_rtt"]["v"][chosen, 0]
    return held.astype(np.int64)


def _outside(held: Integers, name: str, low_us: int, high_us: int) -> Booleans:
    outside: Booleans = (held < low_us) | (held > high_us)
    return outside & (held != NOTHING_US) if name == "min_rtt" else outside


def _unseen(evidence: Evidence, expectations: np.ndarray, steps: Steps, state: State) -> Finding:
    """Find missing events: an expected sample has no event, and the state has changed by the socket's next event."""
    events = evidence.events
    missing = expectations[(expectations["event"] == NONE) & (expectations["expected"] & Part.TAKEN != 0)]
    after = np.zeros(len(events), dtype=np.bool_)
    moved = after
    if len(missing):
        moved = _moved(evidence, steps, state)
        socket = evidence.connections * 2 + (evidence.sides == Side.SERVER)
        times: npt.NDArray[np.int64] = events["timestamp_ns"].astype(np.int64)
        after[_next_events(socket, times, missing["socket"], evidence.sent["time_ns"][missing["ack"]])] = True
    # A kernel with another formula is wrong at every step, not only where an event is missing.
    bad = int((moved & after).sum()) if not (moved & ~after).any() else 0
    message = (
        f"{len(missing)} expected samples have no event, and by the next event of their socket srtt and mdev had "
        f"changed in {bad} of {int(after.sum())} cases: the kernel took samples that the probe does not report"
    )
    return _finding(UNSEEN, message,
                    "no change of the estimators between two events", bad, len(events))  # fmt: skip


def _moved(evidence: Evidence, steps: Steps, state: State) -> Booleans:
    """Return which events hold another state than the one before and their sample give."""
    events, before = evidence.events, state.before(steps)
    bounds = Bounds.of(evidence.recording.sysctls, events["hz"].astype(np.int64))
    formula = estimator.formula_of(evidence.recording.kernel)
    expected = estimator.after_sample(before, Sample.of(events), bounds.least_us, formula)
    moved = steps.taken & steps.known & state.differs(expected)
    moved |= ~steps.taken & (steps.previous >= 0) & state.differs(before)
    return moved


def _next_events(socket: Integers, time_ns: Integers, wanted: Integers, after_ns: Integers) -> Places:
    """Return the first event of each ``wanted`` socket, in the order of events, that is later than ``after_ns``."""
    order = np.argsort(socket, kind="stable")
    # Ranks of times and not times: with the socket they fit into one number.
    moments = np.unique(np.concatenate((time_ns, after_ns)))
    span = len(moments) + 1
    key = socket[order] * span + np.searchsorted(moments, time_ns[order])
    np.maximum.accumulate(key, out=key)
    asked = wanted.astype(np.int64) * span + np.searchsorted(moments, after_ns)
    place = np.searchsorted(key, asked, side="right")
    found = place < len(order)
    found[found] = socket[order[place[found]]] == wanted[found]
    return order[place[found]]
