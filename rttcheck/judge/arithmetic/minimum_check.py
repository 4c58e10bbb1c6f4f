"""Check that min_rtt follows from the samples: its three candidates, with their times, after every call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from rttcheck.judge.arithmetic import windowed_minimum
from rttcheck.judge.arithmetic.step_finding import (
    EXAMINED,
    NO_SAMPLE,
    Booleans,
    Cause,
    Integers,
    Places,
    in_another_unit,
    likeliest,
    step_finding,
    unknown_steps,
)
from rttcheck.judge.arithmetic.steps import Steps
from rttcheck.judge.arithmetic.windowed_minimum import RULE, WINDOW_S, WINDOW_SYSCTL, Candidates, Feed, Rule
from rttcheck.judge.check import Check, Needs
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Finding, Layer

MIN_RTT: Final = Check(
    id="arithmetic.min-rtt",
    layer=Layer.ARITHMETIC,
    title="min_rtt follows from the samples",
    asserts="min_rtt and its two other candidates are the windowed minimum of the samples, with their times.",
    against="the state before the call and tcp_update_rtt_min(), recomputed in integers",
    tolerance="one tick of the event's clock",
    needs=Needs(all_of=("sample_us",)),
)


def check_minimum(evidence: Evidence, steps: Steps, *, another_unit: bool) -> Finding:
    """Compare the candidates after each call with those recomputed from the state before and the sample.

    ``another_unit``: the samples are known not to be in microseconds.
    """
    minimum = _Minimum.of(evidence, steps)
    differs = steps.taken & steps.known & minimum.held.differs(minimum.expected)
    wrong = differs.copy()
    minimum.drop_right(wrong, minimum.feed)
    if not evidence.recording.view.sees("flag"):
        # The probe does not report whether the ACK may have been delayed: accept either case.
        minimum.drop_right(wrong, replace(minimum.feed, maybe_delayed=~minimum.feed.maybe_delayed))
    moved = ~steps.taken & (steps.previous >= 0) & minimum.held.differs(minimum.before)
    ticked = int(differs.sum()) - int(wrong.sum())
    return step_finding(
        evidence,
        check=MIN_RTT,
        expected=(
            f"the three candidates of the windowed minimum over {_window_s(evidence)} s, with their times "
            "(tcp_update_rtt_min(), minmax_running_min()): exact but for the tick of the event's clock"
        ),
        checked=int((steps.taken & steps.known).sum()) + int((~steps.taken & (steps.previous >= 0)).sum()),
        unknown=unknown_steps(evidence, steps),
        bad=np.flatnonzero(wrong | moved),
        describe=lambda at: minimum.describe(at, moved=bool(moved[at])),
        cause=lambda: minimum.cause(np.flatnonzero(wrong)[:EXAMINED], another_unit=another_unit),
        note=f"{ticked} of them at the tick next to the event's" if ticked else "",
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Minimum:
    """The windowed minimum of a run, one row an event. Times are jiffies."""

    events: np.ndarray
    held: Candidates
    """After each call, as the event reports them."""
    before: Candidates
    feed: Feed
    window: Integers
    now: Integers
    expected: Candidates
    """After each call, recomputed with the event's own tick."""
    real: bool
    """Whether time is real: a thread may be preempted between the call and the probe."""

    @classmethod
    def of(cls, evidence: Evidence, steps: Steps) -> _Minimum:
        events = evidence.events
        held = Candidates.of(events)
        before, feed = held.before(steps), Feed.of(events)
        window = _window_s(evidence) * feed.hz & 0xFFFF_FFFF
        now = events["jiffies"].astype(np.int64)
        return cls(
            events=events,
            held=held,
            before=before,
            feed=feed,
            window=window,
            now=now,
            expected=windowed_minimum.after_sample(before, feed, now, window),
            real=not evidence.virtual,
        )

    def drop_right(self, wrong: Booleans, feed: Feed) -> None:
        """Clear ``wrong`` in the rows that are right for ``feed`` at a tick that the call may have seen."""
        rows = np.flatnonzero(wrong)
        if len(rows):
            wrong[rows] = ~self._right_at_some_tick(rows, feed)

    def describe(self, at: int, *, moved: bool) -> str:
        """Describe the difference in one event; ``moved``: in a call without a sample."""
        held, window, now = self.held, int(self.window[at]), int(self.now[at])
        call = "a call that took no sample" if moved else f"a sample of {int(self.feed.us[at])} us"
        call += " that may be delayed" if self.feed.maybe_delayed[at] and not moved else ""
        expected = self.before if moved else self.expected
        text = f"{call}: min_rtt is {int(held.us[at, 0])} us, expected {int(expected.us[at, 0])}"
        if held.us[at, 0] == expected.us[at, 0]:
            text = f"{call}: the candidates are {_candidates(held, at)}, expected {_candidates(expected, at)}"
        return f"{text} (window {window} jiffies, at {now})"

    def cause(self, rows: Places, *, another_unit: bool) -> Cause:
        """Return the likeliest cause of the differences in ``rows``, which are of calls with a sample."""
        if not len(rows):
            return NO_SAMPLE
        held = self.held.at(rows)
        if another_unit or (held.us[:, 0].all() and in_another_unit(self.expected.us[rows, 0], held.us[:, 0])):
            return Cause(text="min_rtt is in another unit than the samples", unit=True)
        fed = self.feed.us[rows]
        first = self.events["sample_us"][rows].astype(np.int64)
        ignored = ~held.differs(self.before.at(rows)) & (fed <= self.before.us[rows, 0])
        return likeliest(
            [
                ("the minimum ignored the sample", ignored),
                *((text, self._made_by(rows, rule, fed)) for text, rule in windowed_minimum.faults()),
                (
                    "the minimum was fed the first-acked sample and not the last-acked one",
                    self._made_by(rows, RULE, first),
                ),
                ("the kernel cut the samples to whole milliseconds", self._made_by(rows, RULE, fed - fed % 1_000)),
                ("min_rtt is above a sample", held.us[:, 0] > np.maximum(fed, 1)),
            ]
        )

    def _made_by(self, rows: Places, rule: Rule, feed_us: Integers) -> Booleans:
        """Return which ``rows`` are as ``rule`` makes them of ``feed_us``, at the event's tick or one next to it."""
        held, before, feed = self.held.at(rows), self.before.at(rows), self.feed.at(rows)
        feed = Feed(us=feed_us, maybe_delayed=feed.maybe_delayed, hz=feed.hz)
        found = np.zeros(len(rows), dtype=np.bool_)
        for tick in (0, -1, 1):
            now = (self.now[rows] + tick) & 0xFFFF_FFFF
            found |= ~held.differs(windowed_minimum.after_sample(before, feed, now, self.window[rows], rule))
        return found

    def _right_at_some_tick(self, rows: Places, feed: Feed) -> Booleans:
        """Return which ``rows`` are right at a tick that the call may have seen.

        The event's jiffies may be one tick off those of the call: three ticks are tried. In real time a thread may be
        preempted between the call and the probe: there the time that the kernel wrote down is tried too, if it is at
        most a second before the event's.
        """
        held, before, fed, window = self.held.at(rows), self.before.at(rows), feed.at(rows), self.window[rows]
        now = self.now[rows]
        times = [now, (now - 1) & 0xFFFF_FFFF, (now + 1) & 0xFFFF_FFFF]
        if self.real:
            written = held.t.max(axis=1)
            times.append(np.where(((now - written) & 0xFFFF_FFFF) <= fed.hz, written, now))
        right = np.zeros(len(rows), dtype=np.bool_)
        for time in times:
            right |= ~held.differs(windowed_minimum.after_sample(before, fed, time, window))
        return right


def _window_s(evidence: Evidence) -> int:
    text = evidence.recording.sysctls.get(WINDOW_SYSCTL, "")
    return int(text) if text.isdecimal() else WINDOW_S


def _candidates(held: Candidates, at: int) -> str:
    return ", ".join(f"{us} us at {t}" for us, t in zip(held.us[at].tolist(), held.t[at].tolist(), strict=True))
