"""A verdict: outcome, findings with the cause first, guilty layer, and the report text.

Judging is in other modules, which this one does not import: a guest that is given a verdict imports no checks.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from textwrap import wrap
from typing import Any

from rttcheck.judge.findings import NOT_RUN, Finding, Layer, Outcome
from rttcheck.judge.picture import Picture

_COLORS = {Outcome.PASSED: 32, Outcome.FAILED: 31, Outcome.INCONCLUSIVE: 33}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The judgement of one recording. ``findings`` are ranked: the first is the reason, its layer the guilty one."""

    outcome: Outcome
    findings: tuple[Finding, ...]
    name: str
    machine: str
    """Kernel, clock, engine, probe and lost events in one line."""
    expected: str
    seen: str
    notes: tuple[str, ...]
    """What is not asserted and why, and other remarks."""
    picture: Picture
    figures: tuple[tuple[str, int], ...]
    """Names and values: microseconds where the name ends in ``_us``, else counts."""
    blindness: str = ""
    """What the probe sees, as text; empty where it sees everything."""
    path: str | None = None
    reproduce: str | None = None

    @property
    def blind(self) -> tuple[Finding, ...]:
        """Checks that were not run because the recording lacks what they need."""
        return tuple(finding for finding in self.findings if finding.blind)

    @property
    def reason(self) -> Finding | None:
        """The finding that decided the outcome; None for a passed verdict."""
        if self.outcome is Outcome.PASSED:
            return None
        ran = self.findings[0]
        return ran if ran.outcome is not Outcome.PASSED else next(iter(self.blind), ran)

    @property
    def guilty(self) -> Layer | None:
        """The layer of `reason`; None for a passed verdict."""
        return self.reason.layer if self.reason is not None else None

    def render(self, width: int = 100, *, color: bool = False, ascii_only: bool = False) -> str:
        """Return the report of at most ``width`` columns: reason, expected, seen, and how to reproduce it."""
        title = self.outcome.value.upper()
        if color:
            title = f"\x1b[1;{_COLORS[self.outcome]}m{title}\x1b[0m"
        lines = [f"{title} {self.name}" + (f": look at the {self.guilty} layer" if self.guilty else "")]
        reasons = [finding for finding in self.findings if finding.outcome is not Outcome.PASSED and not finding.blind]
        if not reasons and self.outcome is not Outcome.PASSED:
            reasons = list(self.blind[:1])
        if reasons:
            lines += _entry(width, "why", f"{reasons[0].heading}: {reasons[0].message}")
            if reasons[0].expected != self.expected:
                lines += _entry(width, "wanted", reasons[0].expected)
        lines += _entry(width, "expected", self.expected)
        lines += _entry(width, "seen", self.seen)
        if self.picture.bars:
            picture = self.picture.render(width - 2, color=color, ascii_only=ascii_only)
            lines += ["", *(f"  {line}".rstrip() for line in picture.splitlines()), ""]
        for finding in reasons[1:]:
            lines += _entry(width, "also", f"{finding.outcome} ({finding.layer}) {finding.heading}: {finding.message}")
        passed = sum(finding.outcome is Outcome.PASSED for finding in self.findings)
        ran = len(self.findings) - len(self.blind)
        lines += _entry(
            width, "checks", f"{passed} of {ran} passed" + (f", {len(self.blind)} not run" * bool(self.blind))
        )
        named = [finding.heading for finding in self.blind if finding.unseen_by_probe]
        if named:
            lines += _entry(width, "not run", f"{self.blindness}, which is not enough for: {'; '.join(named)}")
        others: dict[str, list[str]] = {}
        for finding in self.blind:
            if not finding.unseen_by_probe:
                others.setdefault(finding.message.removeprefix(NOT_RUN), []).append(finding.heading)
        for reason, checks in others.items():
            lines += _entry(width, "not run", f"{'; '.join(checks)}: {reason}")
        for note in self.notes:
            lines += _entry(width, "note", note)
        lines += _entry(width, "machine", self.machine)
        # Not wrapped: a path or command that is split over two lines cannot be copied.
        lines += [f"  recording  {self.path}"] if self.path else []
        lines += [f"  reproduce  {self.reproduce}"] if self.reproduce else []
        return "\n".join(lines)

    def summary(self) -> dict[str, str | int | float]:
        """Return the figures for one table row; names ending in ``_us`` are microseconds."""
        return {"expected": self.expected, "seen": self.seen, "checks": len(self.findings), **dict(self.figures)}

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON-compatible data."""
        return {
            "name": self.name,
            "outcome": self.outcome.value,
            "guilty": self.guilty.value if self.guilty else None,
            "machine": self.machine,
            "expected": self.expected,
            "seen": self.seen,
            "notes": list(self.notes),
            "figures": dict(self.figures),
            "not_run": [finding.key for finding in self.blind],
            "findings": [
                {
                    "key": finding.key,
                    **{name: getattr(value, "value", value) for name, value in asdict(finding).items()},
                }
                for finding in self.findings
            ],
            "picture": [asdict(bar) for bar in self.picture.bars],
            "recording": self.path,
            "reproduce": self.reproduce,
        }


def _entry(width: int, name: str, text: str) -> list[str]:
    lines = wrap(text, max(20, width - 13), break_on_hyphens=False) or [""]
    return [f"  {name:<9}  {lines[0]}", *(f"{'':13}{line}" for line in lines[1:])]
