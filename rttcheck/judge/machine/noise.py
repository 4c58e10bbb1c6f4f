"""How late the machine was by its own account while a run went on, and whether that explains values that are late.

It owns the accounts: timers on the cores that the traffic ran on, the relay's releases, the two halves of the control
run. What is late, and by how much, it is told; what passes needs no explanation, and what is early has none.

A value waits for a processor a few times on its way (``needs``: a segment is sent, forwarded and received, and so is
its ACK). If it is late by ``e`` for the machine's sake, one of these waits lasted ``e / needs`` or more. How often a
wait lasts so long is told by the timers: those of one core come at even distances, whatever else goes on, so that the
share of them that ran so late is the chance of one wait. ``needs`` times that share is at least the chance of a late
value, and how many values may be as late by chance follows from the binomial law. It is asked of each level at which
more than half of the values are late, as less than that is never a failure; so that rare peaks explain rare values,
however high they are, and a shift of all values is explained only where the machine was as late nearly all the time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.judge.machine.chance import at_least
from rttcheck.judge.machine.slack import FALSE_ALARM, Slack
from rttcheck.record.recording import Recording
from rttcheck_netns.relay.line import Fate

Integers = npt.NDArray[np.int64]

_US = 1_000

_LEVELS: Final = 32
"""At so many levels the excess is looked at: its least, its half, and evenly between."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Late:
    """The late ones of ``total`` values: when each may have waited, and by how much it is too late."""

    begin_ns: Integers
    end_ns: Integers
    excess_ns: Integers
    total: int
    needs: int = 1
    """How often a value waits for a processor."""

    @property
    def count(self) -> int:
        """How many are late."""
        return len(self.excess_ns)

    @classmethod
    def together(cls, *parts: Late) -> Late:
        """All of several; a total is of all values that were looked at."""
        return cls(
            begin_ns=np.concatenate([part.begin_ns for part in parts]),
            end_ns=np.concatenate([part.end_ns for part in parts]),
            excess_ns=np.concatenate([part.excess_ns for part in parts]),
            total=sum(part.total for part in parts),
            needs=max(part.needs for part in parts),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Account:
    """Whose it is, in words that begin a sentence; when each wait was due, and how much later it ended."""

    name: str
    due_ns: Integers
    late_ns: Integers

    def share(self, late_ns: float, begin_ns: int, end_ns: int) -> float:
        """How many of the waits between two times lasted so long; 0 where there was none."""
        there = (self.due_ns <= end_ns) & (self.due_ns + self.late_ns >= begin_ns)
        return int((self.late_ns[there] >= late_ns).sum()) / max(int(there.sum()), 1)

    def render(self) -> str:
        """``timers on core 1 ran 12 us late (half of them), 99 % up to 80 us, at most 6722 us``."""
        half, most, highest = (float(value) / _US for value in np.percentile(self.late_ns, (50, 99, 100)))
        return f"{self.name} {half:.0f} us late (half of them), 99 % up to {most:.0f} us, at most {highest:.0f} us"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Noise:
    """All accounts of a run in real time; none in a recording that has none."""

    cores: tuple[Account, ...] = ()
    relay: Account | None = None
    around: tuple[Account, ...] = ()
    """The cores' timers during the control runs, just before the run and just after it."""
    link_core: str = ""
    """Whose account tells of waits in the link: that of the relay's core, or of the traffic's, where netem's timers are
    (``HRTIMER_MODE_ABS_PINNED``). Empty where threads may run anywhere."""
    drift_ns: int = 0
    """How far the control runs before and after are apart, where that is no chance."""

    @classmethod
    def of(cls, recording: Recording, slack: Slack) -> Noise:
        """What a recording says of its machine."""
        return cls(
            cores=_by_core(recording.noise),
            around=_by_core(recording.timers),
            link_core=_link_core(recording),
            relay=_released(recording.relay),
            drift_ns=slack.drift_us * _US,
        )

    @property
    def in_link(self) -> Noise:
        """What tells of waits in the link: its core's accounts, if it has one; not what the relay says of itself."""
        return Noise(
            cores=tuple(core for core in self.cores if self.link_core in ("", core.name)),
            around=tuple(core for core in self.around if self.link_core in ("", core.name)),
            drift_ns=0,
        )

    @property
    def accounts(self) -> tuple[Account, ...]:
        """The cores', and the relay's, if there is one."""
        return self.cores if self.relay is None else (*self.cores, self.relay)

    @property
    def early(self) -> int:
        """Packets that the relay let go before they were due."""
        return 0 if self.relay is None else int((self.relay.late_ns < 0).sum())

    def render(self) -> str:
        """All accounts in words; empty when there is none."""
        return "; ".join(account.render() for account in self.accounts)

    def render_cores(self) -> str:
        """The cores' accounts in words; empty when there is none."""
        return "; ".join(account.render() for account in self.cores)

    def explains(self, late: Late, *, relayed: bool) -> str:
        """Why so many may be so late; empty where the machine was not. ``relayed``: the relay's account counts too."""
        levels = np.sort(late.excess_ns)[::-1]
        counts = np.arange(1, len(levels) + 1)
        beyond = 2 * counts > late.total
        if not beyond.any():
            return ""
        places = np.flatnonzero(beyond)
        # All levels differ little from one to the next.
        places = places[np.unique(np.linspace(0, len(places) - 1, _LEVELS).astype(np.intp))]
        levels, counts = levels[places], counts[places]
        if self.drift_ns and int(levels[0]) <= self.drift_ns:
            return f"the control runs before and after are {self.drift_ns / _US:.0f} us apart"
        span = int(late.begin_ns.min()), int(late.end_ns.max())
        for account in self.accounts if relayed else self.cores:
            shares = [min(1.0, late.needs * account.share(level / late.needs, *span)) for level in levels.tolist()]
            chances = [at_least(int(count), late.total, share) for count, share in zip(counts, shares, strict=True)]
            if min(chances) >= FALSE_ALARM / len(levels):
                return account.render()
        return ""


def _name(cpu: int) -> str:
    return f"timers on core {cpu} ran"


def _link_core(recording: Recording) -> str:
    scheduling = recording.machine.get("scheduling", {})
    kept = re.search(r"\bon CPU (\d+)", str(scheduling.get("relay" if recording.engine == "relay" else "traffic", "")))
    return _name(int(kept.group(1))) if kept else ""


def _by_core(ticks: np.ndarray) -> tuple[Account, ...]:
    return tuple(
        Account(
            name=_name(cpu),
            due_ns=ticks["due_ns"][ticks["cpu"] == cpu],
            late_ns=ticks["late_ns"][ticks["cpu"] == cpu].astype(np.int64),
        )
        for cpu in np.unique(ticks["cpu"]).tolist()
    )


def _released(packets: np.ndarray) -> Account | None:
    """The relay's own account of what it held and let go."""
    held = (packets["released_ns"] > 0) & np.isin(packets["fate"], (Fate.PASSED, Fate.REORDERED))
    if not held.any():
        return None
    due_ns = packets["due_ns"][held]
    return Account(name="the relay let packets go", due_ns=due_ns, late_ns=packets["released_ns"][held] - due_ns)
