"""Histograms that other tools print: tcprtt of libbpf-tools and bpftrace's ``hist`` and ``lhist``.

tcprtt counts the smoothed round-trip time at each received segment, bpftrace whatever its script counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rttcheck.nettrace.message import AnalyzerError
from rttcheck.record.histogram import BUCKETS, Histogram, Unit, bounds

_TCPRTT_TITLE = re.compile(r"(.+) = (\S+) \[AVG (\d+)\]")
_TCPRTT_HEAD = re.compile(r" +(usecs|msecs) +: count +distribution")
_TCPRTT_ROW = re.compile(r" +(\d+) -> (\d+) +: (\d+) +\|[* +]*\|")
_TCPRTT_UNITS = {"usecs": Unit.US, "msecs": Unit.MS}

_BPFTRACE_TITLE = re.compile(r"@(\w*): *")
_BPFTRACE_ROW = re.compile(r"([\[(])(\.\.\.|-?\d+[KMGT]?)(?:, (\.\.\.|-?\d+[KMGT]?)([)\]]))?(\])? +(\d+) \|[@ ]*\|")
_BPFTRACE_POWERS = {"K": 10, "M": 20, "G": 30, "T": 40}


@dataclass(frozen=True, slots=True)
class Row:
    """Number of values from ``lowest`` to ``highest``, inclusive; None for an open end."""

    lowest: int | None
    highest: int | None
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolTable:
    """One histogram of another tool. ``unit`` is None where the tool does not print it; ``average`` is in that unit."""

    name: str
    unit: Unit | None
    average: int | None = None
    rows: tuple[Row, ...]

    @property
    def total(self) -> int:
        """Number of values, including those below 0."""
        return sum(row.count for row in self.rows)

    def as_histogram(self, unit: Unit) -> Histogram:
        """Return the counts in the log2 buckets of rttcheck, without values below 0 ("no sample").

        ``unit`` must be the table's own if it has one. Raises AnalyzerError when it is not, or when a row spans
        two buckets.
        """
        if self.unit is not None and unit is not self.unit:
            raise AnalyzerError(f"the table '{self.name}' is in {self.unit.value} and was asked for in {unit.value}")
        counts = [0] * BUCKETS
        for row in self.rows:
            if row.highest is not None and row.highest < 0:
                continue
            index = next((index for index in range(BUCKETS) if _inside(row, index)), None)
            if index is None:
                raise AnalyzerError(
                    f"the row from {row.lowest} to {row.highest} of the table '{self.name}' fits into no log2 bucket"
                )
            counts[index] += row.count
        return Histogram(unit, tuple(counts))


def _inside(row: Row, index: int) -> bool:
    lowest, highest = bounds(index)
    if row.lowest is None or row.lowest < lowest:
        return False
    return highest is None or (row.highest is not None and row.highest <= highest)


def parse_tcprtt(text: str) -> tuple[ToolTable, ...]:
    """The tables that tcprtt printed, one an address. Raises AnalyzerError for any other line."""
    tables: list[ToolTable] = []
    title: re.Match[str] | None = None
    unit: Unit | None = None
    rows: list[Row] = []

    def finish() -> None:
        if title is not None:
            name = f"{title[1]} = {title[2]}"
            tables.append(ToolTable(name=name, unit=unit, average=int(title[3]), rows=tuple(rows)))

    for number, line in enumerate(text.splitlines(), start=1):
        if (found := _TCPRTT_TITLE.fullmatch(line)) is not None:
            finish()
            title, unit, rows = found, None, []
        elif (found := _TCPRTT_HEAD.fullmatch(line)) is not None and title is not None:
            unit = _TCPRTT_UNITS[found[1]]
        elif (found := _TCPRTT_ROW.fullmatch(line)) is not None and unit is not None:
            rows.append(Row(int(found[1]), int(found[2]), int(found[3])))
        elif line and not line.startswith(("Tracing TCP RTT", "Detaching...")):
            raise AnalyzerError(f"line {number} was expected to be a line of tcprtt's, found '{line[:120]}'")
    finish()
    return tuple(tables)


def parse_bpftrace(text: str) -> tuple[ToolTable, ...]:
    """The histograms that bpftrace printed at its end, by the name of the map, without a unit.

    Raises AnalyzerError for a line that is none of its own.
    """
    tables: dict[str, list[Row]] = {}
    current: list[Row] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if (found := _BPFTRACE_TITLE.fullmatch(line)) is not None:
            current = tables.setdefault(found[1], [])
        elif (found := _BPFTRACE_ROW.fullmatch(line)) is not None and current is not None:
            current.append(_bpftrace_row(found))
        elif line and not line.startswith("Attaching "):
            raise AnalyzerError(f"line {number} was expected to be a line of bpftrace's, found '{line[:120]}'")
    return tuple(ToolTable(name=name, unit=None, rows=tuple(rows)) for name, rows in tables.items())


def _bpftrace_row(found: re.Match[str]) -> Row:
    lowest, count = _bpftrace_number(found[2]), int(found[6])
    if found[3] is None:
        return Row(lowest, lowest, count)
    end = _bpftrace_number(found[3])
    return Row(lowest, None if end is None else end - 1, count)


def _bpftrace_number(text: str) -> int | None:
    if text == "...":
        return None
    power = _BPFTRACE_POWERS.get(text[-1])
    return int(text) if power is None else int(text[:-1]) << power
