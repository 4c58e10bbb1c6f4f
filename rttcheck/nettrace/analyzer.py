"""The ``rtt`` analyzer: turn an event of the probe into a line, by filter, entry (message), exit (rules) and text.

Message and line have their own modules and are re-exported here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Flag, auto
from typing import Any

import numpy as np
import numpy.typing as npt

from rttcheck.judge.address import address_text
from rttcheck.judge.samples import Kind, SampleSource, classify, sources, visible_to_nettrace
from rttcheck.nettrace.event_line import EMPHASIS, ERROR, WARNING, Circumstances, Endpoint, EventLine, Timer
from rttcheck.nettrace.message import AnalyzerError, Dialect, RttMessage
from rttcheck.nettrace.trace_point import Level, ReturnRule, TraceMode, TracePoint
from rttcheck.record.event import PendingTimer, TcpState

__all__ = [
    "ANALYZERS",
    "Analyzer",
    "AnalyzerError",
    "Dialect",
    "Entry",
    "EventLine",
    "Filter",
    "InterfaceName",
    "RttMessage",
    "Status",
    "TraceMode",
    "analyze",
    "as_record",
    "describe",
    "render",
    "values_us",
]

_RULE_COLOURS = {Level.INFO: EMPHASIS, Level.WARNING: WARNING, Level.ERROR: ERROR}
_CA_NAMES = {0: "CA_Open", 1: "CA_Disorder", 2: "CA_CWR", 3: "CA_Recovery", 4: "CA_Loss"}
_STATE_NAMES = {int(state): state.name for state in TcpState}
_TIMER_NAMES = {int(timer): timer.name.lower() for timer in PendingTimer if timer is not PendingTimer.NONE}
_SOURCE_WORDS = {SampleSource.SACK: "SACK", SampleSource.TSECR: "timestamp"}

InterfaceName = Callable[[int, int], str]
"""Name of an interface, given its namespace's inode and its index there; empty when it has none that is known."""


class Status(Flag):
    """What has been done with an entry."""

    NONE = 0
    MESSAGE = auto()
    RETURNED = auto()
    RULE = auto()


@dataclass(frozen=True, slots=True)
class Filter:
    """The smallest samples that are shown, microseconds: of the first segment acknowledged and of the last.

    nettrace's ``--filter-srtt`` and ``--filter-minrtt`` are these two, in milliseconds; despite their names they use
    neither ``srtt`` nor the kernel's minimum.
    """

    first_us: int = 0
    last_us: int = 0

    @property
    def active(self) -> bool:
        """Whether anything can be filtered out."""
        return self.first_us > 0 or self.last_us > 0

    def passes(self, events: np.ndarray, *, every_sample: bool = False) -> npt.NDArray[np.bool_]:
        """Return which events are shown: those with a first-acked sample, and neither sample below (``<``) its limit.

        ``every_sample`` adds what nettrace does not see: samples that the kernel took from SACK or from timestamps.
        """
        first, last = values_us(events)
        seen = visible_to_nettrace(events)
        if every_sample:
            seen = seen | (events["taken"] != 0)
        passed: npt.NDArray[np.bool_] = seen & (first >= self.first_us) & (last >= self.last_us)
        return passed


def values_us(events: np.ndarray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return first-acked and last-acked sample of each event in microseconds, as arguments of the function.

    Without a first-acked sample they are the estimator's input and the value passed to congestion control; both are -1
    where no sample was taken.
    """
    visible = visible_to_nettrace(events)
    fed_instead = np.where(events["taken"] != 0, events["rs_rtt_us"], -1)
    first = np.where(visible, events["first_rtt_us"], events["sample_us"])
    return first, np.where(visible, events["last_rtt_us"], fed_instead)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One event during its analysis."""

    event: np.ndarray
    """One row, dtype ``EVENT``, shape (1,)."""
    point: TracePoint
    message: RttMessage | None = None
    rule: ReturnRule | None = None
    returned: int | None = None
    status: Status = Status.NONE


@dataclass(frozen=True, slots=True)
class Analyzer:
    """What is done with an entry when its function is entered and when it returns."""

    name: str
    modes: frozenset[TraceMode]
    enter: Callable[[Entry], Entry]
    leave: Callable[[Entry, int], Entry]


def _rtt_enter(entry: Entry) -> Entry:
    """Add the message to the entry. Raises AnalyzerError for an event without a sample."""
    first, last = values_us(entry.event)
    return replace(entry, message=RttMessage(int(first[0]), int(last[0])), status=entry.status | Status.MESSAGE)


def _run_rules(entry: Entry, returned: int) -> Entry:
    """Add the return value and the first matching rule of the trace point."""
    rule = entry.point.first_rule(returned)
    found = Status.RULE if rule is not None else Status.NONE
    return replace(entry, returned=returned, rule=rule, status=entry.status | Status.RETURNED | found)


ANALYZERS: Mapping[str, Analyzer] = {"rtt": Analyzer("rtt", frozenset(TraceMode), _rtt_enter, _run_rules)}
"""By the name a trace point has for its analyzer."""


def analyze(event: np.ndarray, point: TracePoint, mode: TraceMode = TraceMode.DETAIL) -> Entry:
    """Run the trace point's analyzer on one event (one row of dtype ``EVENT``).

    An analyzer that is not for ``mode`` does not change the entry. Raises AnalyzerError for an event without a
    sample, which no filter lets through.
    """
    entry = Entry(event=event, point=point)
    analyzer = ANALYZERS[point.analyzer]
    if mode not in analyzer.modes:
        return entry
    return analyzer.leave(analyzer.enter(entry), int(event["taken"][0]))


def describe(entry: Entry, *, interface_name: InterfaceName | None = None) -> EventLine:
    """Return the entry as a line; ``interface_name`` adds processor, interface, process and namespace."""
    event = entry.event[0]
    remarks = [f"from {_SOURCE_WORDS[source]}"] if (source := _source(entry)) in _SOURCE_WORDS else []
    if entry.rule is not None:
        remarks.append(entry.rule.message)
    return EventLine(
        timestamp_us=int(event["timestamp_ns"]) // 1000,
        function=entry.point.name,
        source=Endpoint(address_text(event["saddr"].tobytes()), int(event["sport"])),
        destination=Endpoint(address_text(event["daddr"].tobytes()), int(event["dport"])),
        state=_STATE_NAMES.get(int(event["state"]), "UNKNOWN"),
        ca_state=_CA_NAMES.get(int(event["ca_state"]), "CA_unknown"),
        packets_out=int(event["packets_out"]),
        retrans_out=int(event["retrans_out"]),
        snd_una=int(event["snd_una"]),
        write_queue=int(event["write_queue"]),
        read_queue=int(event["read_queue"]),
        timer=_timer(event),
        message=entry.message,
        remark="; ".join(remarks),
        circumstances=None if interface_name is None else _circumstances(event, interface_name),
    )


def render(entry: Entry, *, interface_name: InterfaceName | None = None, colour: bool = False) -> str:
    """Return the entry's line as text, without its newline; in nettrace's colours when ``colour``."""
    line = describe(entry, interface_name=interface_name)
    if not colour:
        return line.render()
    return line.render(
        colour=EMPHASIS, remark_colour=EMPHASIS if entry.rule is None else _RULE_COLOURS[entry.rule.level]
    )


def as_record(entry: Entry, *, interface_name: InterfaceName) -> dict[str, Any]:
    """Return the entry as plain values for JSON: all times in microseconds, names as in the kernel."""
    line, event = describe(entry, interface_name=interface_name), entry.event[0]
    about = line.circumstances
    return {
        "type": "event",
        "timestamp_us": line.timestamp_us,
        "function": line.function,
        "source": [line.source.address, line.source.port],
        "destination": [line.destination.address, line.destination.port],
        "first_rtt_us": int(event["first_rtt_us"]),
        "sack_rtt_us": int(event["sack_rtt_us"]),
        "last_rtt_us": int(event["last_rtt_us"]),
        "sample_us": int(event["sample_us"]),
        "taken": bool(event["taken"]),
        "kind": Kind(classify(entry.event)[0]).name.lower(),
        "sample_source": _source(entry).name.lower(),
        "srtt_us": int(event["srtt_us"]) >> 3,
        "min_rtt_us": int(event["min_rtt"][0]["v"]),
        "state": line.state,
        "ca_state": line.ca_state,
        "packets_out": line.packets_out,
        "retrans_out": line.retrans_out,
        "snd_una": line.snd_una,
        "cpu": int(event["cpu"]),
        "interface": about.interface if about is not None else "",
        "process": about.process if about is not None else "",
        "pid": int(event["pid"]),
        "netns": int(event["netns"]),
        "rule": entry.rule.message if entry.rule is not None else "",
    }


def _source(entry: Entry) -> SampleSource:
    return SampleSource(sources(entry.event)[0])


def _timer(event: np.void) -> Timer | None:
    """Return the time left of the pending timer; 0 when it is overdue."""
    name, hz = _TIMER_NAMES.get(int(event["timer"])), int(event["hz"])
    if name is None:
        return None
    jiffies = max(int(event["timer_jiffies"]), 0)
    return Timer(name, jiffies * 1000 // hz) if hz else Timer(name, jiffies, jiffies=True)


def _circumstances(event: np.void, interface_name: InterfaceName) -> Circumstances:
    netns = int(event["netns"])
    process = bytes(event["comm"]).split(b"\0")[0].decode(errors="replace")
    return Circumstances(
        key=int(event["generation"]) & 0xFFFFFFFF,
        cpu=int(event["cpu"]),
        interface=interface_name(netns, int(event["ifindex"])),
        # A process name may contain escape codes, which must not reach root's terminal.
        process="".join(letter if letter.isprintable() else "?" for letter in process),
        pid=int(event["pid"]),
        netns=netns,
    )
