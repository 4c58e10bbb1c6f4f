"""Compare the runs of two kernels, scenario by scenario: checks, distributions and counts.

A comparison shows differences only: a fault of both kernels is the same on both sides. Therefore each run is also
judged by itself, and a scenario with failed runs is *failed* and never *same*.

A check's outcome is not random (the judge's false alarms are 1 in a million): a check that passes in all runs of one
kernel and fails in all of the other has changed; runs in which it was inconclusive are ignored. A count has changed
where the runs of both kernels separate completely, in enough runs to be significant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from rttcheck.compare.difference import (
    FALSE_ALARM,
    LEAST_RUNS,
    ComparisonAnswer,
    Difference,
    certain,
    difference,
    runs_for,
)
from rttcheck.compare.measured import ADDED, MEDIAN, TAIL, TOTAL, DistributionName, MeasuredRun
from rttcheck.compare.path import STAGES
from rttcheck.judge.findings import Outcome

GRAIN_US: Final = 1.0
"""The kernel counts round trips in microseconds."""

REAL_MARGIN_US: Final = 50.0
"""In real time the machine's noise moves medians by tens of microseconds from run to run."""

LONE_MARGIN_US: Final = 10.0
"""For handshakes, in virtual time. Each creates a socket, which sometimes allocates a page: runs of the same kernel
differ by 3, 6 or 9 us because of it."""

_OF_SAMPLES: Final = ("data", "handshake")


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """The smallest relevant differences, microseconds."""

    data_us: float
    lone_us: float

    @classmethod
    def of(cls, clock: str, data_us: float | None = None) -> Margins:
        """Return the margins for a clock; ``data_us`` replaces the usual one."""
        usual, lone = (GRAIN_US, LONE_MARGIN_US) if clock == "virtual" else (REAL_MARGIN_US, REAL_MARGIN_US)
        data = usual if data_us is None else data_us
        return cls(data_us=data, lone_us=max(lone, data))

    def of_name(self, name: DistributionName) -> float:
        """Return a distribution's margin: one microsecond more where few samples average out the stamps' rounding."""
        if name.kind == "handshake":
            return self.lone_us
        few = name.kind == "socket" or name.figure == TAIL
        return self.data_us + GRAIN_US if few else self.data_us


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One check of the judge, compared."""

    check: str
    """The check's id, as `Finding.key` has it."""
    title: str
    answer: ComparisonAnswer
    first: str
    second: str
    """Number of runs for each outcome."""
    reason: str = ""
    """Its message where it failed, or why the comparison is undecided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """One count, compared."""

    count: str
    answer: ComparisonAnswer
    first: tuple[int, ...]
    second: tuple[int, ...]
    reason: str = ""
    more_runs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The verdicts on one side's runs of a scenario, each judged by itself."""

    outcomes: tuple[Outcome, ...]
    reason: str = ""
    """Reason of the first failed run, else of the first inconclusive one."""

    @classmethod
    def of(cls, runs: Sequence[MeasuredRun]) -> Judged:
        """Return the verdicts of ``runs``."""
        first = next(
            (run for one in (Outcome.FAILED, Outcome.INCONCLUSIVE) for run in runs if run.verdict is one), None
        )
        return cls(outcomes=tuple(run.verdict for run in runs), reason=first.reason if first is not None else "")

    @property
    def failed(self) -> bool:
        """Whether any run failed."""
        return Outcome.FAILED in self.outcomes

    @property
    def passed(self) -> bool:
        """Whether all runs passed."""
        return all(one is Outcome.PASSED for one in self.outcomes)

    def count(self, outcome: Outcome) -> int:
        """Return the number of runs with that outcome."""
        return self.outcomes.count(outcome)

    def render(self) -> str:
        """Return the number of runs for each outcome as text."""
        return _tally(self.outcomes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One scenario, compared."""

    scenario: str
    runs: tuple[int, int]
    judged: tuple[Judged, Judged]
    random: bool = False
    blocked: str = ""
    """Why it cannot be compared; empty if it can."""
    checks: tuple[Checked, ...] = ()
    distributions: Mapping[DistributionName, Difference] = field(default_factory=dict)
    counts: tuple[Counted, ...] = ()

    @property
    def answer(self) -> ComparisonAnswer:
        """Changed where anything is; else failed where any run failed; else `differences`."""
        if self.differences is not ComparisonAnswer.CHANGED and any(side.failed for side in self.judged):
            return ComparisonAnswer.FAILED
        return self.differences

    @property
    def differences(self) -> ComparisonAnswer:
        """Changed where anything is, else unknown where anything is undecided, else same; ignores verdicts."""
        answers = {check.answer for check in self.checks} | {count.answer for count in self.counts}
        answers |= {distribution.answer for distribution in self.distributions.values()}
        if self.blocked or not answers:
            return ComparisonAnswer.UNKNOWN
        return next(
            answer
            for answer in (ComparisonAnswer.CHANGED, ComparisonAnswer.UNKNOWN, ComparisonAnswer.SAME)
            if answer in answers
        )

    @property
    def more_runs(self) -> bool:
        """Whether more runs might decide what is undecided."""
        return any(one.more_runs for one in self.distributions.values()) or any(one.more_runs for one in self.counts)

    def origin(self, name: DistributionName) -> dict[str, float]:
        """Return the stages with a tenth or more of a difference, microseconds each, largest first."""
        whole = self.distributions[name].by_us
        found: dict[str, float] = {}
        for stage in STAGES if name.part == TOTAL else (STAGES[0], STAGES[-1]):
            part = self.distributions.get(DistributionName(name.side, name.kind, stage, name.figure))
            if part is not None and abs(part.by_us) >= abs(whole) / 10:
                found[stage] = part.by_us
        return dict(sorted(found.items(), key=lambda entry: -abs(entry[1])))

    def heads(self) -> tuple[DistributionName, ...]:
        """Return the changed distributions of whole samples (sums of their stages), the median instead of its tail."""
        found: list[DistributionName] = []
        for name, part in self.distributions.items():
            if (
                part.answer is not ComparisonAnswer.CHANGED
                or name.part not in (TOTAL, ADDED)
                or name.kind not in _OF_SAMPLES
            ):
                continue
            over = (
                DistributionName(name.side, name.kind, TOTAL, name.figure),
                DistributionName(name.side, name.kind, name.part, MEDIAN),
            )
            if not any(other in found for other in over):
                found.append(name)
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two kernels, compared."""

    scenarios: tuple[Compared, ...]
    margins: Margins
    compared: int
    """Number of distributions and counts compared."""
    chance: float
    """Probability of a false change for each of them; for all of them together it is `FALSE_ALARM`."""

    @property
    def answer(self) -> ComparisonAnswer:
        """Changed where any scenario is, else failed where one is, else unknown where one is undecided, else same."""
        answers = {scenario.answer for scenario in self.scenarios}
        order = (ComparisonAnswer.CHANGED, ComparisonAnswer.FAILED, ComparisonAnswer.UNKNOWN, ComparisonAnswer.SAME)
        return next((one for one in order if one in answers), ComparisonAnswer.UNKNOWN)


def compare(
    runs: Mapping[str, tuple[Sequence[MeasuredRun], Sequence[MeasuredRun]]],
    *,
    margin_us: float | None = None,
    looks: int = 1,
) -> Comparison:
    """Compare both sides' runs of each scenario, by its name.

    ``margin_us`` is the smallest relevant difference, instead of the clock's own. ``looks`` is the total number of
    comparisons of the same runs as they grow; they share both error rates.
    """
    clocks = {run.clock for sides in runs.values() for side in sides for run in side}
    margins = Margins.of("virtual" if clocks == {"virtual"} else "real", margin_us)
    blocked = {name: _blocked(first, second) for name, (first, second) in runs.items()}
    open_ = {name: sides for name, sides in runs.items() if not blocked[name]}
    names = {name: _common(*sides) for name, sides in open_.items()}
    judged = {name: (Judged.of(first), Judged.of(second)) for name, (first, second) in runs.items()}
    counts = {
        name: sorted(set().union(*(run.counts for side in sides for run in side))) for name, sides in open_.items()
    }
    compared = sum(len(names[name]) + len(counts[name]) for name in open_)
    chance = FALSE_ALARM / max(compared, 1) / looks
    return Comparison(
        scenarios=tuple(
            Compared(scenario=name, runs=(len(first), len(second)), judged=judged[name], blocked=blocked[name])
            if blocked[name]
            else Compared(
                scenario=name,
                runs=(len(first), len(second)),
                judged=judged[name],
                random=first[0].random,
                checks=_checks(first, second),
                distributions={one: _difference(one, first, second, margins, chance, looks) for one in names[name]},
                counts=tuple(filter(None, (_counted(count, first, second, chance) for count in counts[name]))),
            )
            for name, (first, second) in runs.items()
        ),
        margins=margins,
        compared=compared,
        chance=chance,
    )


def _blocked(first: Sequence[MeasuredRun], second: Sequence[MeasuredRun]) -> str:
    least = min(len(first), len(second))
    if least < LEAST_RUNS:
        return f"too few runs: {len(first)} and {len(second)}; each side needs {LEAST_RUNS}"
    values: dict[str, set[str]] = {}
    for run in (*first, *second):
        for name, value in run.settings.items():
            values.setdefault(name, set()).add(value)
    if len(values["clock"]) > 1:
        return "the clocks differ: virtual time lacks the noise of real time"
    other = {name: found for name, found in values.items() if len(found) > 1}
    if other:
        differing = "; ".join(f"{name}: {' or '.join(sorted(found))}" for name, found in sorted(other.items())[:3])
        return f"settings differ ({differing})"
    return ""


def _common(first: Sequence[MeasuredRun], second: Sequence[MeasuredRun]) -> list[DistributionName]:
    """Return the distributions of all runs, and medians that only some runs have."""
    known: dict[DistributionName, list[int]] = {}
    for side, runs in enumerate((first, second)):
        for run in runs:
            for name in run.figures:
                known.setdefault(name, [0, 0])[side] += 1
    whole = [len(first), len(second)]
    return [name for name, count in known.items() if count == whole or name.figure != TAIL]


def _difference(
    name: DistributionName,
    first: Sequence[MeasuredRun],
    second: Sequence[MeasuredRun],
    margins: Margins,
    chance: float,
    looks: int,
) -> Difference:
    sides = [[run.figures[name] for run in side if name in run.figures] for side in (first, second)]
    values = [[figure.value_us for figure in side] for side in sides]
    margin = margins.of_name(name)
    if min(map(len, sides)) < LEAST_RUNS:
        means = [float(np.mean(side)) if side else math.nan for side in values]
        return Difference(
            answer=ComparisonAnswer.UNKNOWN, first_us=means[0], second_us=means[1], low_us=-math.inf, high_us=math.inf,
            margin_us=margin, runs=(len(sides[0]), len(sides[1])), more_runs=all(map(len, sides)),
            reason=f"too few samples: {len(sides[0])} and {len(sides[1])} runs have any; {LEAST_RUNS} are needed",
        )  # fmt: skip
    off = np.array([figure.off_us for side in sides for figure in side])
    known = off[~np.isnan(off)]
    return difference(
        *values,
        off_us=float(np.sqrt((known**2).mean())) if len(known) else math.nan,
        margin_us=margin,
        chance=chance,
        looks=looks,
    )


def _counted(count: str, first: Sequence[MeasuredRun], second: Sequence[MeasuredRun], chance: float) -> Counted | None:
    """Compare a count; return None where it varies randomly on both sides."""
    ours, theirs = (tuple(run.counts.get(count, 0) for run in side) for side in (first, second))

    def counted(answer: ComparisonAnswer, reason: str = "", *, more: bool = False) -> Counted:
        return Counted(count=count, answer=answer, first=ours, second=theirs, reason=reason, more_runs=more)

    if len({*ours, *theirs}) == 1:
        return counted(ComparisonAnswer.SAME)
    if max(ours) < min(theirs) or max(theirs) < min(ours):
        if certain(ours, theirs) <= chance:
            return counted(ComparisonAnswer.CHANGED)
        need = runs_for(chance)
        return counted(
            ComparisonAnswer.UNKNOWN,
            f"the runs separate completely; {need} per side would make it significant",
            more=True,
        )
    if min(len(set(ours)), len(set(theirs))) > 1:
        return None
    return counted(ComparisonAnswer.UNKNOWN, "it varies from run to run on one side only", more=True)


def _checks(first: Sequence[MeasuredRun], second: Sequence[MeasuredRun]) -> tuple[Checked, ...]:
    names = dict.fromkeys(check for run in (*first, *second) for check in run.outcomes)
    return tuple(_checked(check, first, second) for check in names)


def _checked(check: str, first: Sequence[MeasuredRun], second: Sequence[MeasuredRun]) -> Checked:
    sides = (first, second)
    outcomes = [[run.outcomes[check] for run in side if check in run.outcomes] for side in sides]
    failed = [side.count(Outcome.FAILED) for side in outcomes]
    decided = [sum(one is not Outcome.INCONCLUSIVE for one in side) for side in outcomes]

    def answer(answer: ComparisonAnswer, reason: str = "") -> Checked:
        title = next(run.titles[check] for run in (*first, *second) if check in run.titles)
        return Checked(
            check=check,
            title=title,
            answer=answer,
            first=_tally(outcomes[0]),
            second=_tally(outcomes[1]),
            reason=reason,
        )

    for side, number in enumerate(decided):
        if number < LEAST_RUNS:
            whose = ("first", "second")[side]
            message = _message(check, sides[side], Outcome.INCONCLUSIVE)
            return answer(
                ComparisonAnswer.UNKNOWN,
                f"it has an outcome in {number} runs of the {whose} kernel; {LEAST_RUNS} are needed"
                + (f": {message}" if message else ""),
            )
    if failed in ([0, 0], decided):
        return answer(ComparisonAnswer.SAME)
    message = next(filter(None, (_message(check, side, Outcome.FAILED) for side in reversed(sides))), "")
    if failed in ([0, decided[1]], [decided[0], 0]):
        return answer(ComparisonAnswer.CHANGED, message)
    return answer(ComparisonAnswer.UNKNOWN, f"it fails in some runs only ({failed[0]} and {failed[1]}): {message}")


def _message(check: str, runs: Sequence[MeasuredRun], outcome: Outcome) -> str:
    return next((run.reasons[check] for run in runs if run.outcomes.get(check) is outcome), "")


def _tally(outcomes: Sequence[Outcome]) -> str:
    return ", ".join(f"{outcomes.count(one)} {one}" for one in Outcome if one in outcomes) or "not run"
