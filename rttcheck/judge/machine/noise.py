"""The machine's noise during a run in real time, and whether it explains late values.

Noise is measured by timers on the traffic's cores, the relay's releases, and the two halves of the control run.

A value waits for a processor several times (``waits``: a segment is sent, forwarded and received, and so is its ACK).
If the machine makes it late by ``e``, one of these waits lasted ``e / waits`` or more. The timers of one core fire at
even distances whatever else runs, so the share of them that ran that late is the probability of such a wait; ``waits``
times that share is an upper bound for the probability of a late value, and the binomial distribution gives how many
values may be that late by chance. This is computed for each level at which more than half of the values are late, as
fewer are never a failure. So rare noise peaks, however high, explain rare late values, and a shift of all values only
where the machine was that late nearly all the time.
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
"""The number of levels of the excess that are tested: the least, the median, and evenly between."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Late:
    """The late ones of ``total`` values: the time in which each may have waited, and by how much it is too late."""

    begin_ns: Integers
    end_ns: Integers
    excess_ns: Integers
    total: int
    waits: int = 1
    """How often a value waits for a processor."""

    @property
    def count(self) -> int:
        """The number of late values."""
        return len(self.excess_ns)

    @classmethod
    def together(cls, *parts: Late) -> Late:
        """Return the late values of all ``parts``; totals are added."""
        return cls(
            begin_ns=np.concatenate([part.begin_ns for part in parts]),
            end_ns=np.concatenate([part.end_ns for part in parts]),
            excess_ns=np.concatenate([part.excess_ns for part in parts]),
            total=sum(part.total for part in parts),
            waits=max(part.waits for part in parts),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LatenessRecord:
    """Waits of one kind: the beginning of a sentence about them, when each was due, and how much later it ended."""

    name: str
    due_ns: Integers
    late_ns: Integers

    def share(self, late_ns: float, begin_ns: int, end_ns: int) -> float:
        """Return the share of the waits between two times that lasted at least ``late_ns``; 0 where there was none."""
        there = (self.due_ns <= end_ns) & (self.due_ns + self.late_ns >= begin_ns)
        return int((self.late_ns[there] >= late_ns).sum()) / max(int(there.sum()), 1)

    def render(self) -> str:
        """Return ``timers on core 1 ran 12 us late in the median, 99 % up to 80 us, at most 6722 us``."""
        half, most, highest = (float(value) / _US for value in np.percentile(self.late_ns, (50, 99, 100)))
        return f"{self.name} {half:.0f} us late in the median, 99 % up to {most:.0f} us, at most {highest:.0f} us"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MachineNoise:
    """All lateness records of a run in real time; empty for a recording without any."""

    cores: tuple[LatenessRecord, ...] = ()
    relay: LatenessRecord | None = None
    around: tuple[LatenessRecord, ...] = ()
    """The cores' timers during the control runs, just before the run and just after it."""
    link_core: str = ""
    """The name of the record that measures waits in the link: of the relay's core, or of the traffic's core, where
    netem's timers are (``HRTIMER_MODE_ABS_PINNED``). Empty where threads may run anywhere."""
    drift_ns: int = 0
    """The significant difference of the control runs before and after; else 0."""

    @classmethod
    def of(cls, recording: Recording, slack: Slack) -> MachineNoise:
        """Return the noise that a recording holds."""
        return cls(
            cores=_by_core(recording.noise),
            around=_by_core(recording.timers),
            link_core=_link_core(recording),
            relay=_released(recording.relay),
            drift_ns=slack.drift_us * _US,
        )

    @property
    def in_link(self) -> MachineNoise:
        """The noise of waits in the link: the records of its core, if it has one; without the relay's own record."""
        return MachineNoise(
            cores=tuple(core for core in self.cores if self.link_core in ("", core.name)),
            around=tuple(core for core in self.around if self.link_core in ("", core.name)),
            drift_ns=0,
        )

    @property
    def records(self) -> tuple[LatenessRecord, ...]:
        """The records of the cores, and of the relay if there is one."""
        return self.cores if self.relay is None else (*self.cores, self.relay)

    @property
    def early(self) -> int:
        """The number of packets that the relay released before they were due."""
        return 0 if self.relay is None else int((self.relay.late_ns < 0).sum())

    def render(self) -> str:
        """Return all records as text; empty without any."""
        return "; ".join(record.render() for record in self.records)

    def render_cores(self) -> str:
        """Return the cores' records as text; empty without any."""
        return "; ".join(record.render() for record in self.cores)

    def explains(self, late: Late, *, relayed: bool) -> str:
        """Return the noise that explains the late values, as text, else empty; ``relayed``: the relay counts too."""
        levels = np.sort(late.excess_ns)[::-1]
        counts = np.arange(1, len(levels) + 1)
        beyond = 2 * counts > late.total
        if not beyond.any():
            return ""
        places = np.flatnonzero(beyond)
        # Neighbouring levels differ little.
        places = places[np.unique(np.linspace(0, len(places) - 1, _LEVELS).astype(np.intp))]
        levels, counts = levels[places], counts[places]
        if self.drift_ns and int(levels[0]) <= self.drift_ns:
            return f"the control runs before and after are {self.drift_ns / _US:.0f} us apart"
        span = int(late.begin_ns.min()), int(late.end_ns.max())
        for record in self.records if relayed else self.cores:
            shares = [min(1.0, late.waits * record.share(level / late.waits, *span)) for level in levels.tolist()]
            chances = [at_least(int(count), late.total, share) for count, share in zip(counts, shares, strict=True)]
            if min(chances) >= FALSE_ALARM / len(levels):
                return record.render()
        return ""


def _name(cpu: int) -> str:
    return f"timers on core {cpu} ran"


def _link_core(recording: Recording) -> str:
    scheduling = recording.machine.get("scheduling", {})
    kept = re.search(r"\bon CPU (\d+)", str(scheduling.get("relay" if recording.engine == "relay" else "traffic", "")))
    return _name(int(kept.group(1))) if kept else ""


def _by_core(ticks: np.ndarray) -> tuple[LatenessRecord, ...]:
    return tuple(
        LatenessRecord(
            name=_name(cpu),
            due_ns=ticks["due_ns"][ticks["cpu"] == cpu],
            late_ns=ticks["late_ns"][ticks["cpu"] == cpu].astype(np.int64),
        )
        for cpu in np.unique(ticks["cpu"]).tolist()
    )


def _released(packets: np.ndarray) -> LatenessRecord | None:
    """Return the lateness of the packets that the relay held and released; None without any."""
    held = (packets["released_ns"] > 0) & np.isin(packets["fate"], (Fate.PASSED, Fate.REORDERED))
    if not held.any():
        return None
    due_ns = packets["due_ns"][held]
    return LatenessRecord(
        name="the relay released packets", due_ns=due_ns, late_ns=packets["released_ns"][held] - due_ns
    )
