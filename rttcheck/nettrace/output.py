"""The output of `rttcheck trace`: nettrace's table, nettrace's lines, or one JSON object per line.

This module orders the output (beginning, events or tables, end, totals, losses); `rttcheck.nettrace.analyzer` and
`rttcheck.record.histogram` format it.
"""

from __future__ import annotations

import json
import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np

from rttcheck.errors import RttcheckError
from rttcheck.judge.samples import visible_to_nettrace
from rttcheck.nettrace.analyzer import Entry, Filter, analyze, as_record, render, values_us
from rttcheck.nettrace.preparation import TracePlan, TraceRequest
from rttcheck.nettrace.printed import BEGIN, END
from rttcheck.nettrace.trace_point import TraceMode
from rttcheck.record.histogram import Histogram, Unit


class OutputLost(RttcheckError):
    """The output cannot be written, most likely a full disk. A closed pipe is a BrokenPipeError instead."""


@dataclass(slots=True)
class InterfaceNames:
    """Names of interfaces by namespace and index.

    An index is valid in its own namespace only: for namespaces other than this process's the name is ``if7``, where
    nettrace shows the name of the same index here.
    """

    here: int = field(default_factory=lambda: Path("/proc/self/ns/net").stat().st_ino)
    _known: dict[int, str] = field(default_factory=dict)

    def __call__(self, netns: int, ifindex: int) -> str:
        if ifindex == 0:
            return ""
        if netns != self.here:
            return f"if{ifindex}"
        if ifindex not in self._known:
            try:
                self._known[ifindex] = socket.if_indextoname(ifindex)
            except OSError:
                return f"if{ifindex}"
        return self._known[ifindex]


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The totals of a run."""

    shown: int
    hidden: int
    """Samples that the kernel took from SACK or timestamps and that were not shown."""
    losses: Mapping[str, int]
    advice: Mapping[str, str]
    """Advice of the matching rules, by their message."""

    @property
    def lost(self) -> int:
        """Number of lost events."""
        return sum(self.losses.values())


class Style(Protocol):
    """An output format; each text is one or more whole lines without the last newline."""

    def beginning(self, plan: TracePlan, backend: str) -> str:
        """Text when the probe, a ``backend``, is active."""

    def event(self, entry: Entry) -> str:
        """Text of one event."""

    def table(self, histogram: Histogram) -> str:
        """Text of the counts so far."""

    def ending(self, totals: Totals) -> str:
        """Text at the end."""


@dataclass(frozen=True, slots=True)
class Text:
    """As nettrace writes it; ``long`` adds processor, interface, process and namespace to an event's line."""

    long: bool = False
    colour: bool = False
    names: InterfaceNames = field(default_factory=InterfaceNames)

    def beginning(self, plan: TracePlan, backend: str) -> str:  # noqa: ARG002 - nettrace does not print its probe
        return BEGIN

    def event(self, entry: Entry) -> str:
        return render(entry, interface_name=self.names if self.long else None, colour=self.colour)

    def table(self, histogram: Histogram) -> str:
        return histogram.render().removesuffix("\n")

    def ending(self, totals: Totals) -> str:
        # There are no contexts in a trace of sockets: the number is part of nettrace's line, and always 0.
        return f"{END}\ntotal event: {totals.shown}, 0 context skipped\nlost event: {totals.lost}"


@dataclass(frozen=True, slots=True)
class Json:
    """One JSON object per line, with ``type``: ``begin``, ``event``, ``histogram``, ``end``."""

    names: InterfaceNames = field(default_factory=InterfaceNames)

    def beginning(self, plan: TracePlan, backend: str) -> str:
        return json.dumps(
            {
                "type": "begin",
                "function": plan.point.name,
                "probe": backend,
                "kernel": platform.release(),
                "mode": plan.request.mode.value,
                "first_below_us": plan.request.first_below_us,
                "last_below_us": plan.request.last_below_us,
                "every_sample": plan.request.every_sample,
            }
        )

    def event(self, entry: Entry) -> str:
        return json.dumps(as_record(entry, interface_name=self.names))

    def table(self, histogram: Histogram) -> str:
        return json.dumps(
            {
                "type": "histogram",
                "unit": histogram.unit.value,
                "total": histogram.total,
                "counts": list(histogram.counts),
            }
        )

    def ending(self, totals: Totals) -> str:
        record: dict[str, Any] = {
            "type": "end",
            "total": totals.shown,
            "not_shown": totals.hidden,
            "lost": totals.lost,
            "losses": dict(totals.losses),
            "advice": dict(totals.advice),
        }
        return json.dumps(record)


@dataclass(slots=True, kw_only=True)
class Output:
    """The observer's sink: filter, count and write events in a style.

    ``limit`` is the largest number of events to show. ``to`` receives the output, ``notes`` warnings and notes.
    """

    request: TraceRequest
    plan: TracePlan
    backend: str
    style: Style
    unit: Unit
    to: TextIO
    notes: TextIO
    limit: int | None = None
    shown: int = 0
    _hidden: int = 0
    _lost: int = 0
    _advice: dict[str, str] = field(default_factory=dict)
    _from_events: Histogram = field(init=False)

    def __post_init__(self) -> None:
        self._from_events = Histogram.of([], self.unit)

    def begin(self) -> None:
        """Write the beginning."""
        self._write(self.style.beginning(self.plan, self.backend))

    def events(self, events: np.ndarray) -> None:
        """Show or count the events that pass the filters."""
        passes = Filter(self.request.first_below_us, self.request.last_below_us).passes(
            events, every_sample=self.request.every_sample
        )
        self._hidden += int(np.count_nonzero((events["taken"] != 0) & ~visible_to_nettrace(events) & ~passes))
        passed = events[passes]
        if self.request.mode is TraceMode.STATISTICS:
            if self.request.every_sample:
                self._from_events += Histogram.of(values_us(passed)[0], self.unit)
            return
        if self.limit is not None:
            passed = passed[: self.limit - self.shown]
        self.shown += len(passed)
        lines = []
        for row in range(len(passed)):
            entry = analyze(passed[row : row + 1], self.plan.point)
            if entry.rule is not None and entry.rule.advice:
                self._advice[entry.rule.message] = entry.rule.advice
            lines.append(self.style.event(entry))
        if lines:
            self._write("\n".join(lines))

    def second(self, histograms: Mapping[str, np.ndarray], losses: Mapping[str, int]) -> None:
        """Show the table, in statistics mode, and warn of events lost since the last time."""
        if self.request.mode is TraceMode.STATISTICS:
            table = self._from_events
            if not self.request.every_sample:
                table = Histogram.of_counts(histograms[self.unit.value], self.unit)
            self.shown = table.total
            self._write(self.style.table(table))
        lost = sum(losses.values())
        if lost > self._lost:
            reasons = ", ".join(f"{name}: {count}" for name, count in losses.items() if count)
            print(
                f"WARN: {lost - self._lost} events were lost ({reasons} so far): watch fewer sockets with --port, "
                "--netns or a filter",
                file=self.notes,
                flush=True,
            )
        self._lost = lost

    def end(self, histograms: Mapping[str, np.ndarray], losses: Mapping[str, int]) -> None:
        """Show the last table, which is cumulative, and the totals."""
        self.second(histograms, losses)
        self._write(
            self.style.ending(Totals(shown=self.shown, hidden=self._hidden, losses=losses, advice=self._advice))
        )
        if self._hidden and not self.request.filtered:
            print(
                f"NOTE: {self._hidden} samples came from SACK or timestamps, which nettrace does not show; "
                "--every-sample shows them",
                file=self.notes,
            )
        for message, advice in self._advice.items():
            print(f"ADVICE: {message}: {advice}", file=self.notes)

    def _write(self, text: str) -> None:
        try:
            self.to.write(f"{text}\n")
            self.to.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputLost(
                f"the trace cannot be written ({error.strerror}): free some space, or write it elsewhere"
            ) from error
