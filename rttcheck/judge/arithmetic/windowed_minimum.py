"""The kernel's windowed minimum recomputed on whole arrays: three candidates, replaced by sub-windows.

``minmax_running_min()``, and the rules by which a sample reaches it; rules that a faulty kernel might use instead are
values of `Rule` too. Times are jiffies, modulo 2**32.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rttcheck.judge.arithmetic.rto import us_of_jiffies
from rttcheck.judge.arithmetic.steps import Steps, blocks
from rttcheck.record.event import FLAG_ACK_MAYBE_DELAYED, Hook

Integers = npt.NDArray[np.int64]

WINDOW_SYSCTL = "net.ipv4.tcp_min_rtt_wlen"
WINDOW_S = 300
"""The sysctl's default."""

NOTHING_US = 0xFFFF_FFFF
"""The filter's value before the first sample."""

_U32 = 0xFFFF_FFFF
_PLACES = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """Best, second and third choice of the minimum (``struct minmax``): columns 0 to 2, one row per event."""

    t: Integers
    """When each was taken, in jiffies."""
    us: Integers

    @classmethod
    def of(cls, events: np.ndarray) -> Candidates:
        """Return the candidates after each event."""
        return cls(t=events["min_rtt"]["t"].astype(np.int64), us=events["min_rtt"]["v"].astype(np.int64))

    def at(self, where: npt.NDArray[np.intp] | slice) -> Candidates:
        """Return the rows ``where``."""
        return Candidates(t=self.t[where], us=self.us[where])

    def before(self, steps: Steps) -> Candidates:
        """Return the candidates before each event: those of the socket's previous event, none before its first."""
        found = self.at(np.maximum(steps.previous, 0))
        found.us[steps.opening] = NOTHING_US
        return found

    def differs(self, other: Candidates) -> npt.NDArray[np.bool_]:
        """Return in which rows any time or value differs."""
        different: npt.NDArray[np.bool_] = ((self.t != other.t) | (self.us != other.us)).any(axis=1)
        return different


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How samples enter and leave the minimum; kernels and faults differ in these values only."""

    ends: bool = True
    """Values older than the window are dropped."""
    drops_delayed: bool = True
    """A sample whose ACK may have been delayed is dropped when it is above the minimum."""
    drops_higher: bool = False
    """Every sample above the minimum is dropped."""
    zero_is_a_jiffy: bool = True
    """A sample of 0 us is kept as one jiffy."""


RULE = Rule()
"""The rule of 5.10 to 7.3."""


def faults() -> tuple[tuple[str, Rule], ...]:
    """Return wrong rules with a description of each fault."""
    return (
        ("the window never ends: the minimum does not expire", replace(RULE, ends=False)),
        ("every sample above the minimum is dropped: it never expires", replace(RULE, drops_higher=True)),
        ("samples whose ACK may have been delayed are not dropped", replace(RULE, drops_delayed=False)),
        ("a sample of 0 us is not kept as one jiffy", replace(RULE, zero_is_a_jiffy=False)),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Feed:
    """The input of the minimum, one row per event."""

    us: Integers
    """The last-acked sample: ``rs->rtt_us`` on return."""
    maybe_delayed: npt.NDArray[np.bool_]
    hz: Integers

    @classmethod
    def of(cls, events: np.ndarray) -> Feed:
        """Return the input that each event reports; a ``sockops`` event's one sample is of a single segment."""
        return cls(
            us=np.where(events["hook"] == Hook.SOCKOPS, events["sample_us"], events["rs_rtt_us"]) & _U32,
            maybe_delayed=(events["flag"] & FLAG_ACK_MAYBE_DELAYED) != 0,
            hz=events["hz"].astype(np.int64),
        )

    def at(self, where: npt.NDArray[np.intp] | slice) -> Feed:
        """Return the rows ``where``."""
        return Feed(us=self.us[where], maybe_delayed=self.maybe_delayed[where], hz=self.hz[where])


def after_sample(before: Candidates, feed: Feed, now: Integers, window: Integers, rule: Rule = RULE) -> Candidates:
    """Return the candidates after one sample per row, taken at ``now``; ``window`` is its length. Both in jiffies.

    Source: ``tcp_update_rtt_min()`` of net/ipv4/tcp_input.c; ``minmax_running_min()``, ``minmax_subwin_update()`` of
    lib/win_minmax.c; 5.10 to 7.3.
    """
    parts = [_after_sample(before.at(rows), feed.at(rows), now[rows], window[rows], rule) for rows in blocks(len(now))]
    return Candidates(t=np.concatenate([part.t for part in parts]), us=np.concatenate([part.us for part in parts]))


def _after_sample(before: Candidates, feed: Feed, now: Integers, window: Integers, rule: Rule) -> Candidates:
    span = window if rule.ends else np.full_like(window, NOTHING_US)
    value = np.where(feed.us == 0, us_of_jiffies(1, feed.hz), feed.us) if rule.zero_is_a_jiffy else feed.us
    times = [before.t[:, place].copy() for place in range(_PLACES)]
    values = [before.us[:, place].copy() for place in range(_PLACES)]

    def take(where: npt.NDArray[np.bool_], *places: int) -> None:
        for place in places:
            times[place] = np.where(where, now, times[place])
            values[place] = np.where(where, value, values[place])

    def move_up(where: npt.NDArray[np.bool_]) -> None:
        for place in range(_PLACES - 1):
            times[place] = np.where(where, times[place + 1], times[place])
            values[place] = np.where(where, values[place + 1], values[place])
        take(where, _PLACES - 1)

    fresh = (value <= values[0]) | (((now - times[2]) & _U32) > span)
    second = ~fresh & (value <= values[1])
    third = ~fresh & ~second & (value <= values[2])
    take(second, 1, 2)
    take(third, 2)
    age = (now - times[0]) & _U32
    outlived = ~fresh & (age > span)
    quarter = ~fresh & ~outlived & (times[1] == times[0]) & (age > span // 4)
    half = ~fresh & ~outlived & ~quarter & (times[2] == times[1]) & (age > span // 2)
    take(quarter, 1, 2)
    take(half, 2)
    move_up(outlived)
    move_up(outlived & (((now - times[0]) & _U32) > span))
    take(fresh, 0, 1, 2)
    dropped = np.zeros(len(now), dtype=np.bool_)
    if rule.drops_delayed:
        dropped |= feed.maybe_delayed & (feed.us > before.us[:, 0])
    if rule.drops_higher:
        dropped |= feed.us > before.us[:, 0]
    keep = dropped[:, None]
    return Candidates(
        t=np.where(keep, before.t, np.stack(times, axis=1)), us=np.where(keep, before.us, np.stack(values, axis=1))
    )
