"""Check that a tool (nettrace or `rttcheck trace`) printed the events of the probe: tables, lines and totals.

The parsers check that a text is consistent in itself, including percentages and bucket ranges.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np

from rttcheck.judge.check import NOTHING, Check
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.samples import visible_to_nettrace
from rttcheck.nettrace.analyzer import Dialect, Filter, RttMessage, values_us
from rttcheck.nettrace.event_line import EventLine
from rttcheck.nettrace.message import AnalyzerError
from rttcheck.nettrace.printed import PrintedTrace
from rttcheck.record.histogram import Histogram, HistogramError, Unit, bucket_label

TEXT: Final = Check(
    id="observer.tool-text",
    layer=Layer.OBSERVER,
    title="the output is consistent in itself",
    asserts="Every line of the tool's output can be parsed, and percentages match counts.",
    against="the output itself",
    tolerance="none",
    needs=NOTHING,
)
TABLE: Final = Check(
    id="observer.tool-table",
    layer=Layer.OBSERVER,
    title="the table shows the events",
    asserts="The tool's last histogram is that of the events, in its unit.",
    against="the probe's events",
    tolerance="none",
    needs=NOTHING,
)
LINES: Final = Check(
    id="observer.tool-lines",
    layer=Layer.OBSERVER,
    title="the lines show the events",
    asserts="Each event that passes the tool's filters has its line, and each line its event.",
    against="the probe's events",
    tolerance="none",
    needs=NOTHING,
)
TOTALS: Final = Check(
    id="observer.tool-totals",
    layer=Layer.OBSERVER,
    title="the totals match the output",
    asserts="The printed total is the number of events shown.",
    against="the output itself",
    tolerance="none",
    needs=NOTHING,
)


TOOL_CHECKS: Final = (TEXT, TABLE, LINES, TOTALS)

UNFILTERED: Final = Filter()

_Shown = tuple[int, int, int, int, int]
"""The identity of a line: own port, peer's port, ``snd_una``, first-acked and last-acked time."""


def check_display(text: str, events: np.ndarray, limits: Filter = UNFILTERED) -> tuple[Finding, ...]:
    """Check the output of one run of a tool against ``events`` (dtype ``EVENT``), all of the same time.

    ``limits`` are the tool's filters. Lines are not compared by time, since the tool has its own clock.
    """
    check = TEXT
    try:
        capture = PrintedTrace.parse(text)
    except (AnalyzerError, HistogramError) as error:
        return (_finding(check, Outcome.FAILED, str(error), "tables whose percentages match their counts", 0),)
    found = [_finding(check, Outcome.PASSED, "every line matches its numbers", "every line can be parsed", 1)]
    due = events[limits.passes(events)]
    if capture.tables:
        found.append(_table(capture.tables[-1], due))
    else:
        found.append(_lines(capture.lines, events, due))
    found.append(_totals(capture))
    return tuple(found)


def _finding(check: Check, outcome: Outcome, message: str, expected: str, samples: int) -> Finding:
    return check.finding(outcome, message, expected, message, samples)


def _table(table: Histogram, due: np.ndarray) -> Finding:
    """Compare the last table, which is cumulative, with the events' own."""
    check = TABLE
    values = due["first_rtt_us"][visible_to_nettrace(due)]
    wanted = Histogram.of(values, table.unit)
    expected = f"{wanted.total} samples as in the events"
    if table == wanted:
        return _finding(check, Outcome.PASSED, f"{table.total} samples, the same in every bucket", expected, len(due))
    message = "; ".join(
        f"{shown} and not {count} in {bucket_label(index, table.unit).strip()}"
        for index, (shown, count) in enumerate(zip(table.counts, wanted.counts, strict=True))
        if shown != count
    )
    other = Unit.US if table.unit is Unit.MS else Unit.MS
    if table.counts == Histogram.of(values, other).counts:
        message += f": it counts {other.value} under the name of {table.unit.value}"
    return _finding(check, Outcome.FAILED, message, expected, len(due))


def _lines(lines: tuple[EventLine, ...], events: np.ndarray, due: np.ndarray) -> Finding:
    """Check that every event that passes the limits has a line, and that there is no other line."""
    check = LINES
    whole = any(line.message is not None and line.message.dialect is Dialect.WHOLE for line in lines)
    dialect = Dialect.WHOLE if whole else Dialect.DECIMAL
    shown = Counter(_of_line(line) for line in lines if line.message is not None)
    wanted = _of_events(due, dialect)
    missing, others = wanted - shown, shown - wanted
    expected = f"a line for each of {len(due)} events"
    if not missing and not others:
        return _finding(check, Outcome.PASSED, f"{len(lines)} lines, one for each event", expected, len(due))
    message = (
        f"{missing.total()} of {len(due)} events have no line, and {others.total()} of {len(lines)} lines no event"
    )
    for _, _, una, first_us, last_us in list(others)[:1]:
        message += f", the first has rtt {first_us} us, rtt_min {last_us} us at {una}"
    cause = _cause(missing, others, _of_events(events[visible_to_nettrace(events)], dialect))
    return _finding(check, Outcome.FAILED, message + (f": {cause}" if cause else ""), expected, len(due))


def _of_line(line: EventLine) -> _Shown:
    assert line.message is not None
    message = line.message
    return line.source.port, line.destination.port, line.snd_una, message.first_us, message.last_us


def _of_events(events: np.ndarray, dialect: Dialect) -> Counter[_Shown]:
    first, last = values_us(events)
    keys = events[["sport", "dport", "snd_una"]].tolist()
    found: Counter[_Shown] = Counter()
    for first_us, last_us, (sport, dport, una) in zip(first.tolist(), last.tolist(), keys, strict=True):
        # nettrace shows an event that has a first-acked time and no last-acked one; a message cannot hold it.
        message = RttMessage(first_us, max(last_us, 0), dialect)
        found[sport, dport, una, message.first_us, message.last_us] += 1
    return found


def _cause(missing: Counter[_Shown], others: Counter[_Shown], visible: Counter[_Shown]) -> str:
    """Return the single cause of all differences, or an empty string."""
    if others and not others - visible:
        return "the filter is inverted" if missing else "the filter passes events below its limits"
    if not others:
        return "they are lost without a message"
    if others == Counter({(own, peer, una, last, first): n for (own, peer, una, first, last), n in missing.items()}):
        return "rtt and rtt_min are swapped"
    for factor, words in ((1_000, "a thousand times as much"), (0.001, "a thousandth")):
        scaled: Counter[_Shown] = Counter()
        for (own, peer, una, first_us, last_us), count in missing.items():
            scaled[own, peer, una, int(first_us * factor), int(last_us * factor)] += count
        if others == scaled:
            return f"{words}: a unit is wrong"
    return ""


def _totals(capture: PrintedTrace) -> Finding:
    """Check that the tool's total is the number of events shown."""
    check = TOTALS
    shown = capture.tables[-1].total if capture.tables else len(capture.lines)
    expected = f"total event: {shown}"
    if not capture.ended:
        return _finding(check, Outcome.INCONCLUSIVE, "the tool did not end regularly", expected, shown)
    if capture.lost:
        return _finding(check, Outcome.INCONCLUSIVE, f"the tool lost {capture.lost} events", expected, shown)
    if capture.total != shown:
        message = f"its total is {capture.total}, and it has shown {shown}"
        return _finding(check, Outcome.FAILED, message, expected, shown)
    return _finding(check, Outcome.PASSED, f"{shown} shown, none lost", expected, shown)
