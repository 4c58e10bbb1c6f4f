"""Results of several kernels beside each other: which kernels and scenarios there are, and what came of each pair.

Owns the arrangement, for terminal and Markdown alike. It knows rows (`rttcheck.harness.Row`, with ``asked``, what the
user calls the kernel) and no recording.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rttcheck.report.terminal import Row

LETTERS = {"passed": " ", "failed": "F", "inconclusive": "?", "lost": "L", "error": "E"}
"""How an outcome is written before a figure; passed needs no word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that did not pass: the scenario, the kernels where it did not, and the layer and reason told there."""

    scenario: str
    outcome: str
    kernels: tuple[str, ...]
    guilty: str
    reason: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """``kernels`` and ``scenarios`` in the order in which they came, ``cells`` the row of each pair that has one."""

    kernels: tuple[str, ...]
    scenarios: tuple[str, ...]
    cells: dict[tuple[str, str], Row]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Matrix:
        """Arrange ``rows``; a scenario that one kernel ran twice is told twice."""
        kernels: dict[str, None] = {}
        scenarios: dict[str, None] = {}
        cells: dict[tuple[str, str], Row] = {}
        for row in rows:
            kernel, scenario = asked(row), str(row.get("scenario", ""))
            number = 1
            name = scenario
            while (kernel, name) in cells:
                number += 1
                name = f"{scenario} #{number}"
            kernels[kernel] = None
            scenarios[name] = None
            cells[kernel, name] = row
        return cls(tuple(kernels), tuple(scenarios), cells)

    def outcomes(self, kernel: str) -> tuple[str, ...]:
        """What came of each scenario on ``kernel``; nothing of those that it was not asked."""
        return tuple(str(row.get("outcome", "")) for (other, _), row in self.cells.items() if other == kernel)

    def legend(self, kernel: str) -> str:
        """Where a kernel's figures come from: release, clock, engine and probe."""
        row = next((row for (other, _), row in self.cells.items() if other == kernel and row.get("kernel")), {})
        words = [str(row.get(key, "")) for key in ("kernel", "clock", "engine", "probe")]
        release, clock, engine, probe = words
        return ", ".join(word for word in (release, f"{clock} clock" if clock else "", engine, probe) if word)

    def problems(self) -> tuple[Problem, ...]:
        """What did not pass, in the order of scenarios; kernels of which the same is said are told together."""
        found: dict[tuple[str, str, str, str], list[str]] = {}
        for scenario in self.scenarios:
            for kernel in self.kernels:
                row = self.cells.get((kernel, scenario))
                if row is None or row.get("outcome") == "passed":
                    continue
                key = (scenario, str(row.get("outcome", "")), str(row.get("guilty", "")), str(row.get("reason", "")))
                # Two kernels seldom say the same figures: the check's name is before the first colon.
                for known in found:
                    if known[:3] == key[:3] and known[3].partition(":")[0] == key[3].partition(":")[0]:
                        key = known
                        break
                found.setdefault(key, []).append(kernel)
        return tuple(
            Problem(scenario=scenario, outcome=outcome, kernels=tuple(kernels), guilty=guilty, reason=reason)
            for (scenario, outcome, guilty, reason), kernels in found.items()
        )


def asked(row: Row) -> str:
    """What the user calls the kernel of ``row``; its release where nobody called it anything."""
    return str(row.get("asked") or row.get("kernel", ""))


def labels(kernels: Sequence[str]) -> dict[str, str]:
    """Short names for headings: ``6.12`` for ``debian:6.12`` where no two get the same, a file's name for a path."""
    short = {kernel: kernel.removeprefix("debian:").rpartition("/")[2] or kernel for kernel in kernels}
    twice = [name for name in short.values() if list(short.values()).count(name) > 1]
    return {kernel: kernel if name in twice else name for kernel, name in short.items()}


def median(row: Row | None) -> str:
    """The median of a row's data samples in microseconds, or a dash."""
    value = row.get("p50_us", -1) if row is not None else -1
    return str(value) if isinstance(value, (int, float)) and value >= 0 else "-"
