"""Results of several kernels as a matrix of scenarios and kernels, for terminal and Markdown.

Made from rows (`rttcheck.judging.result.Row` with ``asked``, the kernel as given by the user).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rttcheck.report.terminal import Row

LETTERS = {"passed": " ", "failed": "F", "inconclusive": "?", "lost": "L", "error": "E", "skipped": "s"}
"""The letter of an outcome before its median; none for passed."""

_LONGEST_LABEL = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A failure or other problem, reported once for all kernels and scenarios that have it.

    ``where`` is each kernel's scenarios; ``example`` is the row whose reason is printed. Lost guests have no ``check``.
    """

    outcome: str
    guilty: str
    check: str
    where: tuple[tuple[str, tuple[str, ...]], ...]
    example: Row

    @property
    def title(self) -> str:
        """The guilty layer and the check's title, if any."""
        title = str(self.example.get("title") or self.check)
        return ": ".join(word for word in (self.guilty, title) if word)

    def places(self, names: dict[str, str], scenarios: Sequence[str]) -> str:
        """Return ``6.1, 6.12: loss, step; 7.3: loss``; ``names`` are `labels`, ``scenarios`` all scenarios."""
        alike: dict[tuple[str, ...], list[str]] = {}
        for kernel, met in self.where:
            alike.setdefault(met, []).append(names[kernel])
        return "; ".join(
            f"{', '.join(kernels)}: {'all scenarios' if len(met) == len(scenarios) > 1 else ', '.join(met)}"
            for met, kernels in alike.items()
        )


@dataclass(frozen=True, slots=True)
class Matrix:
    """``kernels`` and ``scenarios`` in order of appearance; ``cells`` maps (kernel, scenario) to a row."""

    kernels: tuple[str, ...]
    scenarios: tuple[str, ...]
    cells: dict[tuple[str, str], Row]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Matrix:
        """Arrange ``rows``; a scenario that a kernel ran twice appears twice.

        A row without a scenario is a kernel that was lost before its first test: it fills all of the kernel's cells.
        """
        kernels: dict[str, None] = {}
        scenarios: dict[str, None] = {}
        cells: dict[tuple[str, str], Row] = {}
        gone: dict[str, Row] = {}
        for row in rows:
            kernel, scenario = asked(row), str(row.get("scenario", ""))
            kernels[kernel] = None
            if not scenario:
                gone[kernel] = row
                continue
            number = 1
            name = scenario
            while (kernel, name) in cells:
                number += 1
                name = f"{scenario} #{number}"
            scenarios[name] = None
            cells[kernel, name] = row
        if gone and not scenarios:
            scenarios["all"] = None
        for kernel, row in gone.items():
            for name in scenarios:
                cells.setdefault((kernel, name), row)
        return cls(tuple(kernels), tuple(scenarios), cells)

    def rows(self, kernel: str) -> tuple[Row, ...]:
        """Return the rows of ``kernel``."""
        return tuple(row for (other, _), row in self.cells.items() if other == kernel)

    def legend(self, kernel: str) -> str:
        """Return release, clock, engine and probe of a kernel's rows."""
        row = next((row for row in self.rows(kernel) if row.get("kernel")), {})
        words = [str(row.get(key, "")) for key in ("kernel", "clock", "engine", "probe")]
        release, clock, engine, probe = words
        return ", ".join(word for word in (release, f"{clock} clock" if clock else "", engine, probe) if word)

    def problems(self) -> tuple[Problem, ...]:
        """Return everything that did not pass, in the order of scenarios, grouped by check."""
        met: dict[tuple[str, str, str], dict[str, list[str]]] = {}
        examples: dict[tuple[str, str, str], Row] = {}
        for scenario in self.scenarios:
            for kernel in self.kernels:
                row = self.cells.get((kernel, scenario))
                if row is None or row.get("outcome") == "passed":
                    continue
                outcome, guilty = str(row.get("outcome", "")), str(row.get("guilty", ""))
                # Errors and lost guests have no check: they are grouped by their reason.
                key = (outcome, guilty, str(row.get("check") or f"\n{row.get('reason', '')}"))
                examples.setdefault(key, row)
                met.setdefault(key, {}).setdefault(kernel, []).append(scenario)
        return tuple(
            Problem(
                outcome=key[0],
                guilty=key[1],
                check="" if key[2].startswith("\n") else key[2],
                where=tuple((kernel, tuple(met[key][kernel])) for kernel in self.kernels if kernel in met[key]),
                example=row,
            )
            for key, row in examples.items()
        )


def asked(row: Row) -> str:
    """Return the kernel of ``row`` as given by the user, else its release."""
    return str(row.get("asked") or row.get("kernel", ""))


def labels(kernels: Sequence[str]) -> dict[str, str]:
    """Return short unique names for headings: ``6.12`` for ``debian:6.12``, the file name for a path."""
    short = {kernel: kernel.removeprefix("debian:").rpartition("/")[2] or kernel for kernel in kernels}
    twice = [name for name in short.values() if list(short.values()).count(name) > 1]
    found: dict[str, str] = {}
    for kernel, name in short.items():
        label = kernel if name in twice else name
        if len(label) > _LONGEST_LABEL:
            label = f"…{label[1 - _LONGEST_LABEL :]}"
        number = 1
        while label in found.values():
            number += 1
            label = f"{label.partition('#')[0]}#{number}"
        found[kernel] = label
    return found


def median(row: Row | None) -> str:
    """Return the median of a row's data samples in microseconds, or a dash."""
    value = row.get("p50_us", -1) if row is not None else -1
    return str(value) if isinstance(value, (int, float)) and value >= 0 else "-"
