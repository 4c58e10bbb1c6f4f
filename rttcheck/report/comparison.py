"""A comparison of two kernels as text for a terminal, as Markdown and as JSON.

Changes are printed with the stages that they come from, undecided items with the reason; items that are the same are
counted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rttcheck.compare.comparison import Compared, Comparison
from rttcheck.compare.difference import FALSE_ALARM, ComparisonAnswer, Difference
from rttcheck.compare.measured import TOTAL, DistributionName
from rttcheck.judge.findings import Outcome
from rttcheck.report.json_report import FORMAT

SAME_MEANS = (
    "same means that A and B do not differ, not that they are correct: a fault that both share is invisible to a "
    "comparison. The verdicts on the runs of each side, judged by themselves, show whether it is correct."
)
"""What a comparison does not show."""

_MARKS = {
    ComparisonAnswer.SAME: "same",
    ComparisonAnswer.CHANGED: "CHANGED",
    ComparisonAnswer.FAILED: "FAILED",
    ComparisonAnswer.UNKNOWN: "cannot tell",
}
_COLOURS = {
    ComparisonAnswer.SAME: 32,
    ComparisonAnswer.CHANGED: 31,
    ComparisonAnswer.FAILED: 31,
    ComparisonAnswer.UNKNOWN: 33,
}
_INDENT = "    "


def comparison_text(
    comparison: Comparison, sides: Sequence[str], *, notes: Mapping[str, str] | None = None, colour: bool = False
) -> str:
    """Return one line per scenario and below it what has changed or is undecided; ``notes`` are by scenario."""
    widest = max((len(scenario.scenario) for scenario in comparison.scenarios), default=0)
    lines = [f"A: {sides[0]}", f"B: {sides[1]}", ""]
    for scenario in comparison.scenarios:
        mark = f"{_MARKS[scenario.answer]:<11}"
        if colour:
            mark = f"\x1b[{_COLOURS[scenario.answer]}m{mark}\x1b[0m"
        lines.append(f"{mark}  {scenario.scenario:<{widest}}  {_summary(scenario)}".rstrip())
        lines += [f"{_INDENT}{line}" for line in _details(scenario)]
        note = (notes or {}).get(scenario.scenario)
        if note:
            lines.append(f"{_INDENT}{note}")
    return "\n".join([*lines, "", tally(comparison), *_terms(comparison)])


def comparison_markdown(comparison: Comparison, sides: Sequence[str]) -> str:
    """Return the comparison as a Markdown table, for a CI job's summary."""
    lines = [f"### {sides[0]} against {sides[1]}: {comparison.answer}", "", "| scenario | | what |", "|---|---|---|"]
    for scenario in comparison.scenarios:
        what = "<br>".join(line.replace("|", "\\|") for line in [_summary(scenario), *_details(scenario)] if line)
        lines.append(f"| {scenario.scenario} | {_MARKS[scenario.answer]} | {what} |")
    return "\n".join([*lines, "", tally(comparison), "", *_terms(comparison)])


def comparison_document(
    comparison: Comparison, sides: Sequence[str], *, notes: Mapping[str, str], facts: Mapping[str, Any], status: int
) -> str:
    """Return the comparison as JSON; docs/json.md documents every key.

    ``same_means`` says what a comparison does not show. ``judged`` counts the verdicts on the runs of ``a`` and ``b``,
    each run judged by itself; each of ``scenarios`` has its own, with the reason of the first that did not pass.

    Each distribution: ``side``, ``kind``, ``part``, ``figure``, ``answer``, ``a_us``, ``b_us``, ``by_us``,
    ``interval_us``, ``margin_us``, ``runs``, ``reason``, and for a changed round trip ``from_us``, the stages that it
    comes from.
    """
    document = {
        "format": FORMAT,
        "a": sides[0],
        "b": sides[1],
        "answer": comparison.answer.value,
        "exit_status": int(status),
        "compared": comparison.compared,
        "false_alarm": FALSE_ALARM,
        "same_means": SAME_MEANS,
        "judged": {letter: _verdicts(comparison, side) for side, letter in enumerate("ab")},
        **facts,
        "scenarios": [_as_dict(scenario, notes.get(scenario.scenario, "")) for scenario in comparison.scenarios],
    }
    return json.dumps(document, indent=1, ensure_ascii=False)


def tally(comparison: Comparison) -> str:
    """Return the number of scenarios for each answer."""
    answers = [scenario.answer for scenario in comparison.scenarios]
    return (
        ", ".join(f"{answers.count(answer)} {answer}" for answer in ComparisonAnswer if answer in answers)
        or "no scenario"
    )


def _terms(comparison: Comparison) -> list[str]:
    margins = comparison.margins
    return [
        f"{comparison.compared} distributions and counts compared, with a margin of {margins.data_us:g} us "
        f"({margins.lone_us:g} us for handshakes).",
        "same: the difference is below the margin, with 99 % confidence; changed: false in at most one of "
        f"{1 / FALSE_ALARM:,.0f} comparisons.",
        SAME_MEANS,
        "Verdicts on the runs of each side: "
        + "; ".join(f"{letter} {_counts(_verdicts(comparison, side))}" for side, letter in enumerate("AB"))
        + ".",
    ]


def _verdicts(comparison: Comparison, side: int) -> dict[str, int]:
    """Return how many of a side's runs passed, failed and were inconclusive, over all scenarios."""
    return {
        outcome.value: sum(scenario.judged[side].count(outcome) for scenario in comparison.scenarios)
        for outcome in Outcome
    }


def _counts(verdicts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in verdicts.items() if count) or "none"


def _summary(scenario: Compared) -> str:
    if scenario.blocked:
        return scenario.blocked
    parts = [one.answer for one in scenario.distributions.values()]
    text = f"{parts.count(ComparisonAnswer.SAME)} of {len(parts)} distributions the same"
    text += f", {sum(one.answer is ComparisonAnswer.SAME for one in scenario.checks)} of {len(scenario.checks)} checks"
    if scenario.counts:
        text += (
            f", {sum(one.answer is ComparisonAnswer.SAME for one in scenario.counts)} of {len(scenario.counts)} counts"
        )
    if scenario.random:
        text += "; random link: what the kernel adds is compared"
    return f"{text} ({scenario.runs[0]} and {scenario.runs[1]} runs)"


def _details(scenario: Compared) -> Iterator[str]:
    for letter, side in zip("AB", scenario.judged, strict=True):
        if not side.passed:
            mark = "FAILED" if side.failed else "inconclusive"
            yield f"{mark}: runs of {letter}, judged by themselves: {side.render()}: {side.reason}"
    for check in scenario.checks:
        if check.answer is not ComparisonAnswer.SAME:
            yield f"{_MARKS[check.answer]}: check '{check.title}': A {check.first}; B {check.second}: {check.reason}"
    heads = scenario.heads()
    for name in heads:
        yield f"CHANGED: {name}: {_figures(scenario.distributions[name])}{origin_text(scenario, name)}"
    printed = {(name.side, name.kind) for name in heads}
    for name, part in scenario.distributions.items():
        # A stage is printed with its round trip, if it adds to the difference.
        if part.answer is ComparisonAnswer.CHANGED and (name.side, name.kind) not in printed:
            yield f"CHANGED: {name}: {_figures(part)}"
    for count in scenario.counts:
        if count.answer is not ComparisonAnswer.SAME:
            values = f"A {_values(count.first)}; B {_values(count.second)}"
            yield f"{_MARKS[count.answer]}: {count.count}: {values}" + (f": {count.reason}" if count.reason else "")
    unknown = [(name, part) for name, part in scenario.distributions.items() if part.answer is ComparisonAnswer.UNKNOWN]
    for name, part in unknown[:3]:
        yield f"cannot tell: {name}: {_figures(part)}: {part.reason}"
    if len(unknown) > 3:
        yield f"cannot tell: {len(unknown) - 3} more distributions"


def _figures(part: Difference) -> str:
    if math.isinf(part.low_us):
        return "no values"
    return part.render()


def origin_text(scenario: Compared, name: DistributionName) -> str:
    """Return the stages that a difference comes from, largest first: ``, of which sender +2.9``; empty if none."""
    stages = scenario.origin(name)
    if not stages:
        return ""
    whole = "" if name.part == TOTAL else " at the sender's end"
    return f"{whole}, of which " + ", ".join(f"{stage} {by:+.1f}" for stage, by in stages.items())


def _values(values: Sequence[int]) -> str:
    return f"{values[0]} in every run" if len(set(values)) == 1 else f"{min(values)} to {max(values)}"


def _as_dict(scenario: Compared, note: str) -> dict[str, Any]:
    return {
        "scenario": scenario.scenario,
        "answer": scenario.answer.value,
        "runs": list(scenario.runs),
        "random": scenario.random,
        "blocked": scenario.blocked,
        "note": note,
        "judged": {
            letter: {**{one.value: side.count(one) for one in Outcome}, "reason": side.reason}
            for letter, side in zip("ab", scenario.judged, strict=True)
        },
        "checks": [
            {
                "check": one.check,
                "title": one.title,
                "answer": one.answer.value,
                "a": one.first,
                "b": one.second,
                "reason": one.reason,
            }
            for one in scenario.checks
        ],
        "distributions": [_part(scenario, name, part) for name, part in scenario.distributions.items()],
        "counts": [
            {
                "count": one.count,
                "answer": one.answer.value,
                "a": list(one.first),
                "b": list(one.second),
                "reason": one.reason,
            }
            for one in scenario.counts
        ],
    }


def _part(scenario: Compared, name: DistributionName, part: Difference) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return round(value, 3) if math.isfinite(value) else None

    known: dict[str, Any] = {
        "side": name.side,
        "kind": name.kind,
        "part": name.part,
        "figure": name.figure,
        "answer": part.answer.value,
        "a_us": number(part.first_us),
        "b_us": number(part.second_us),
        "by_us": number(part.by_us),
        "interval_us": [number(part.low_us), number(part.high_us)],
        "margin_us": part.margin_us,
        "runs": list(part.runs),
        "reason": part.reason,
    }
    if name in scenario.heads():
        known["from_us"] = {stage: round(by, 3) for stage, by in scenario.origin(name).items()}
    return known
