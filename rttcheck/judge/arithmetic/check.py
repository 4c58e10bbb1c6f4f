"""Do the kernel's estimators follow from the samples that they were fed: every step of every socket, bit for bit.

It owns the comparison of each event's state with the step that its sample makes from the state before, and the search
for the cause of a difference. The state before is the one that the socket's previous event shows, so that each step is
proven alone, and all steps together prove the chain from the first sample to the last. It does not know the link.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.arithmetic import estimator, windowed_minimum
from rttcheck.judge.arithmetic.estimator import FIELDS, Sample, State
from rttcheck.judge.arithmetic.rto import Bounds, jiffies_of_us, timeout_jiffies
from rttcheck.judge.arithmetic.steps import Steps
from rttcheck.judge.arithmetic.windowed_minimum import NOTHING_US, WINDOW_S, WINDOW_SYSCTL, Candidates, Feed, Rule
from rttcheck.judge.check import Check, Needs
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.observer.misread import cleared
from rttcheck.judge.samples import address_text

Booleans = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]

_EXAMINED = 4_096
"""So many differences are searched for their cause."""

_ANOTHER_UNIT = 500


SRTT: Final = Check(
    id="arithmetic.srtt",
    layer=Layer.ARITHMETIC,
    title="srtt, mdev and rttvar follow from the samples",
    asserts=(
        "Each sample moves srtt, mdev, mdev_max and rttvar as tcp_rtt_estimator() does; a call without a "
        "sample moves nothing."
    ),
    against="the state before the call and the kernel's formula, redone in integers",
    tolerance="none",
    needs=Needs(all_of=("sample_us", "srtt_us")),
)
RTO: Final = Check(
    id="arithmetic.rto",
    layer=Layer.ARITHMETIC,
    title="RTO follows from srtt and rttvar",
    asserts="icsk_rto is (srtt_us >> 3) + rttvar_us rounded up to jiffies, within its bounds, and the backoff is 0.",
    against="srtt and rttvar of the same event (tcp_set_rto())",
    tolerance="none",
    needs=Needs(all_of=("rto_jiffies", "backoff", "taken")),
)
MIN_RTT: Final = Check(
    id="arithmetic.min-rtt",
    layer=Layer.ARITHMETIC,
    title="min_rtt follows from the samples",
    asserts="min_rtt and its two other candidates are the windowed minimum of the samples, with their times.",
    against="the state before the call and tcp_update_rtt_min(), redone in integers",
    tolerance="one tick of the event's clock",
    needs=Needs(all_of=("sample_us",)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cause:
    """What a difference comes down to, as far as it is known."""

    text: str = ""
    unit: bool = False
    """The samples are shown in another unit: nothing is wrong with the kernel."""


def check_arithmetic(evidence: Evidence) -> tuple[Finding, ...]:
    """Estimator, timeout and minimum against the samples, in this order."""
    steps = Steps.of(evidence.events, every_sample=evidence.recording.view.every_sample)
    state = State.of(evidence.events)
    bounds = Bounds.of(evidence.recording.sysctls, evidence.events["hz"].astype(np.int64))
    smoothed = _estimator(evidence, steps, state, bounds)
    return (
        smoothed,
        _timeout(evidence, steps, state, bounds),
        _minimum(evidence, steps, another_unit=smoothed.layer is Layer.OBSERVER),
    )


def _estimator(evidence: Evidence, steps: Steps, state: State, bounds: Bounds) -> Finding:
    """Source: ``tcp_ack_update_rtt()``: a call that takes no sample leaves everything as it was."""
    events, previous = evidence.events, steps.previous
    before = state.before(steps)
    sample = Sample.of(events)
    formula = estimator.formula_of(evidence.recording.kernel)
    due = estimator.after_sample(before, sample, bounds.least_us, formula)
    followed = previous >= 0
    wrong = steps.taken & steps.known & state.differs(due)
    # While there is no srtt, tcp_init_metrics() may set all else between two calls.
    moved = ~steps.taken & followed & np.where(before.srtt_us == 0, state.srtt_us != 0, state.differs(before))
    bad = np.flatnonzero(wrong | moved)

    def said(at: int) -> str:
        seen = state.row(at)
        if moved[at]:
            held, event = before.row(at), "a call that took no sample"
        else:
            held, event = due.row(at), f"a sample of {int(sample.us[at])} us"
        return f"{event}: " + ", ".join(
            f"{name} is {seen[name]} and not {held[name]}" for name in FIELDS if seen[name] != held[name]
        )

    def cause() -> _Cause:
        rows = np.flatnonzero(wrong)[:_EXAMINED]
        if not len(rows):
            return _Cause(text="a call that takes no sample must change nothing")
        if _another_unit(sample.us[rows], state.srtt_us[rows] >> 3):
            if all(cleared(evidence, name, wrong) for name in ("sample_us", "srtt_us")):
                return _Cause(text="srtt is kept in another unit than the samples, as both probes show")
            return _Cause(text="the samples are shown in another unit than the kernel's microseconds", unit=True)
        start, fed, least, seen = before.at(rows), sample.at(rows), bounds.least_us[rows], state.at(rows)
        last = Sample(us=events["rs_rtt_us"][rows].astype(np.int64), snd_una=fed.snd_una, snd_nxt=fed.snd_nxt)
        return _likeliest(
            [
                ("the estimator ignored the sample", ~seen.differs(start) & (previous[rows] >= 0)),
                *(
                    (text, ~seen.differs(estimator.after_sample(start, fed, least, other)))
                    for text, other in estimator.faults(formula)
                ),
                (
                    "the estimator was fed the last-acked sample and not the first-acked one",
                    ~seen.differs(estimator.after_sample(start, last, least, formula)),
                ),
            ]
        )

    return _finding(
        evidence,
        check=SRTT,
        expected="the state before each call, and tcp_rtt_estimator() in integers: no tolerance",
        checked=int((steps.taken & steps.known).sum()) + int((~steps.taken & followed).sum()),
        unknown=_unknown(evidence, steps),
        bad=bad,
        said=said,
        cause=cause,
        note=f"{int((~steps.taken).sum())} calls without a sample changed nothing" if (~steps.taken).any() else "",
    )


def _timeout(evidence: Evidence, steps: Steps, state: State, bounds: Bounds) -> Finding:
    """Needs no state before: the timeout follows from the estimators of the same event, whatever was lost.

    After calls without a sample it is not looked at, as timeouts double it in between. ``icsk_backoff`` is reset.
    """
    events = evidence.events
    hz = events["hz"].astype(np.int64)
    held = events["rto_jiffies"].astype(np.int64)
    due = timeout_jiffies(state.srtt_us, state.rttvar_us, hz, bounds.most_jiffies)
    backed_off = events["backoff"] != 0
    bad = np.flatnonzero(steps.taken & ((held != due) | backed_off))

    def said(at: int) -> str:
        text = f"srtt_us {int(state.srtt_us[at])} and rttvar_us {int(state.rttvar_us[at])} make "
        text += f"{int(due[at])} jiffies at {int(hz[at])} a second, and icsk_rto is {int(held[at])}"
        return text + (f", icsk_backoff is {int(events['backoff'][at])} and not 0" if backed_off[at] else "")

    def cause() -> _Cause:
        rows = bad[:_EXAMINED]
        seen, total = held[rows], (state.srtt_us[rows] >> 3) + state.rttvar_us[rows]
        earlier = np.maximum(steps.previous[rows], 0)
        return _likeliest(
            [
                ("the backoff was not reset", seen == due[rows]),
                ("the timeout is cut to jiffies and not rounded up", seen == total * hz[rows] // 1_000_000),
                ("the timeout has no upper bound", (seen == jiffies_of_us(total, hz[rows])) & (seen > due[rows])),
                ("the timeout is one jiffy too long", seen == due[rows] + 1),
                ("the timeout is one jiffy too short", seen == due[rows] - 1),
                (
                    "the timeout is that of the sample before",
                    (seen == due[earlier]) & (seen != due[rows]) & (steps.previous[rows] >= 0),
                ),
                ("the timeout is a multiple of what it was: a backoff was kept", seen == due[rows] * 2),
            ]
        )

    return _finding(
        evidence,
        check=RTO,
        expected=(
            "(srtt_us >> 3) + rttvar_us rounded up to jiffies, at most "
            f"{int(bounds.most_jiffies.max(initial=0))} of them, no backoff (tcp_set_rto())"
        ),
        checked=int(steps.taken.sum()),
        unknown=0,
        bad=bad,
        said=said,
        cause=cause,
        excusable=False,
    )


def _minimum(evidence: Evidence, steps: Steps, *, another_unit: bool) -> Finding:
    """The three candidates, their times included. ``another_unit``: the samples are known to be no microseconds.

    The event's jiffies may be one tick off those of the call, so that each step is tried with three of them; a step of
    which one is right is right. In real time a thread may have been kept off its CPU between the call and the probe:
    there the time that the kernel wrote down is tried too, if it is no more than a second before the event's.
    """
    events = evidence.events
    held = Candidates.of(events)
    before = held.at(np.maximum(steps.previous, 0))
    before.us[steps.opening] = NOTHING_US
    feed = Feed.of(events)
    window = _window_s(evidence) * feed.hz & 0xFFFF_FFFF
    now = events["jiffies"].astype(np.int64)
    due = windowed_minimum.after_sample(before, feed, now, window)
    wrong = steps.taken & steps.known & held.differs(due)
    rows = np.flatnonzero(wrong)
    unlike = len(rows)
    if unlike:
        wrong[rows] = ~_at_some_tick(rows, events, held, before, feed, window, real=not evidence.virtual)
    if not evidence.recording.view.sees("flag"):
        # Whether the ACK may have been delayed is not told: either way is right.
        rows = np.flatnonzero(wrong)
        other = replace(feed, maybe_delayed=~feed.maybe_delayed)
        wrong[rows] = ~_at_some_tick(rows, events, held, before, other, window, real=not evidence.virtual)
    moved = ~steps.taken & (steps.previous >= 0) & held.differs(before)
    ticked = unlike - int(wrong.sum())
    bad = np.flatnonzero(wrong | moved)

    def said(at: int) -> str:
        kind = "a call that took no sample" if moved[at] else f"a sample of {int(feed.us[at])} us"
        kind += " that may be delayed" if feed.maybe_delayed[at] and not moved[at] else ""
        wanted = before if moved[at] else due
        text = f"{kind}: min_rtt is {int(held.us[at, 0])} us and not {int(wanted.us[at, 0])}"
        if held.us[at, 0] == wanted.us[at, 0]:
            text = f"{kind}: the candidates are {_candidates(held, at)} and not {_candidates(wanted, at)}"
        return text + f" (window {int(window[at])} jiffies, at {int(now[at])})"

    def cause() -> _Cause:
        rows = np.flatnonzero(wrong)[:_EXAMINED]
        if not len(rows):
            return _Cause(text="a call that takes no sample must change nothing")
        if another_unit or (held.us[rows, 0].all() and _another_unit(due.us[rows, 0], held.us[rows, 0])):
            return _Cause(text="min_rtt is in another unit than the samples", unit=True)

        def made_by(rule: Rule, feed_us: Integers) -> Booleans:
            told = feed.at(rows)
            other = Feed(us=feed_us, maybe_delayed=told.maybe_delayed, hz=told.hz)
            found = np.zeros(len(rows), dtype=np.bool_)
            for tick in (0, -1, 1):
                at = (now[rows] + tick) & 0xFFFF_FFFF
                found |= ~held.at(rows).differs(
                    windowed_minimum.after_sample(before.at(rows), other, at, window[rows], rule)
                )
            return found

        told = feed.us[rows]
        first = events["sample_us"][rows].astype(np.int64)
        return _likeliest(
            [
                (
                    "the minimum ignored the sample",
                    ~held.at(rows).differs(before.at(rows)) & (told <= before.us[rows, 0]),
                ),
                *((text, made_by(rule, told)) for text, rule in windowed_minimum.faults()),
                ("the minimum was fed the first-acked sample and not the last-acked one",
                 made_by(windowed_minimum.RULE, first)),
                ("the kernel cut the samples to whole milliseconds",
                 made_by(windowed_minimum.RULE, told - told % 1_000)),
                ("min_rtt is above a sample", held.us[rows, 0] > np.maximum(told, 1)),
            ]
        )  # fmt: skip

    return _finding(
        evidence,
        check=MIN_RTT,
        expected=(
            f"the three candidates of the windowed minimum over {_window_s(evidence)} s, with their times "
            "(tcp_update_rtt_min(), minmax_running_min()): no tolerance but the tick of the event's clock"
        ),
        checked=int((steps.taken & steps.known).sum()) + int((~steps.taken & (steps.previous >= 0)).sum()),
        unknown=_unknown(evidence, steps),
        bad=bad,
        said=said,
        cause=cause,
        note=f"{ticked} of them with the tick next to the event's" if ticked else "",
    )


def _unknown(evidence: Evidence, steps: Steps) -> int:
    """Steps from a state that ought to be known. After samples that the probe does not see none is."""
    return int((~steps.known & steps.taken).sum()) if evidence.recording.view.every_sample else 0


def _at_some_tick(
    rows: Places, events: np.ndarray, held: Candidates, before: Candidates, feed: Feed, window: Integers, *, real: bool
) -> Booleans:
    """Which of ``rows`` are right at a tick that the call may have seen: the event's is "give or take one"."""
    seen, start, fed, span = held.at(rows), before.at(rows), feed.at(rows), window[rows]
    now = events["jiffies"][rows].astype(np.int64)
    right = np.zeros(len(rows), dtype=np.bool_)
    times = [now, (now - 1) & 0xFFFF_FFFF, (now + 1) & 0xFFFF_FFFF]
    if real:
        written = seen.t.max(axis=1)
        times.append(np.where(((now - written) & 0xFFFF_FFFF) <= fed.hz, written, now))
    for time in times:
        right |= ~seen.differs(windowed_minimum.after_sample(start, fed, time, span))
    return right


def _window_s(evidence: Evidence) -> int:
    text = evidence.recording.sysctls.get(WINDOW_SYSCTL, "")
    return int(text) if text.isdecimal() else WINDOW_S


def _candidates(held: Candidates, at: int) -> str:
    return ", ".join(f"{us} us at {t}" for us, t in zip(held.us[at].tolist(), held.t[at].tolist(), strict=True))


def _another_unit(shown_us: Integers, held_us: Integers) -> bool:
    """Whether two accounts of the same times are so far apart, all of them, that one of them is no microseconds."""
    factor = np.maximum(shown_us, 1) / np.maximum(held_us, 1)
    return bool(((factor <= 1 / _ANOTHER_UNIT) | (factor >= _ANOTHER_UNIT)).all())


def _likeliest(causes: list[tuple[str, Booleans]]) -> _Cause:
    """The cause that makes the most of the differences, the first among equals; none when none makes any."""
    text, explains = max(causes, key=lambda cause: int(cause[1].sum()))
    made, of = int(explains.sum()), len(explains)
    if not made:
        return _Cause()
    share = "" if of == 1 else "all of them are as if " if made == of else f"{made} of {of} are as if "
    return _Cause(text=share + text)


def _finding(
    evidence: Evidence,
    *,
    check: Check,
    expected: str,
    checked: int,
    unknown: int,
    bad: Places,
    said: Callable[[int], str],
    cause: Callable[[], _Cause],
    note: str = "",
    excusable: bool = True,
) -> Finding:
    """Each lost event hides at most one step, so that more differences than lost events are a failure all the same."""
    layer, lost = Layer.ARITHMETIC, evidence.lost if excusable else 0
    known = f"{checked} steps, the same bit for bit" + (f"; {note}" if note else "")
    if len(bad) > lost:
        found = cause()
        layer = Layer.OBSERVER if found.unit else layer
        outcome = Outcome.FAILED
        first = int(bad[0])
        message = f"in {len(bad)} of {checked} steps; the first is {_where(evidence, first)}, {said(first)}"
        message += f": {found.text}" if found.text else ""
    elif len(bad):
        outcome = Outcome.INCONCLUSIVE
        message = f"{len(bad)} of {checked} steps differ, and {lost} events were lost that may lie between"
    elif unknown or not checked:
        outcome = Outcome.INCONCLUSIVE
        message = f"{unknown} sockets were first seen after their handshake, with a state that nothing is known of"
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


def _where(evidence: Evidence, at: int) -> str:
    event = evidence.events[at]
    own, peer = (
        f"{address_text(event[address].tobytes())} port {int(event[port])}"
        for address, port in (("saddr", "sport"), ("daddr", "dport"))
    )
    return f"event {at} ({own}, to {peer})"
