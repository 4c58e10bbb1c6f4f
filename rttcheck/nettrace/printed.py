"""Parse the output of one run of nettrace or `rttcheck trace`: tables, event lines and totals."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rttcheck.nettrace.event_line import EventLine
from rttcheck.nettrace.message import COLOUR_CODE, AnalyzerError
from rttcheck.record.histogram import HEADER, Histogram, HistogramError

BEGIN = "begin trace..."
END = "end trace..."

_TOTAL = re.compile(r"total event: (\d+), (\d+) context skipped")
_LOST = re.compile(r"lost event: (\d+)")
_NOTICE = re.compile(r"(?:WARN|ERROR): .*")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedTrace:
    """One run's output. Tables are cumulative: the last one counts."""

    notices: tuple[str, ...] = ()
    tables: tuple[Histogram, ...] = ()
    lines: tuple[EventLine, ...] = ()
    ended: bool = False
    """Whether the tool printed its end; pending events may still follow."""
    total: int | None = None
    skipped: int | None = None
    """nettrace's contexts that were never completed."""
    lost: int | None = None
    """Events lost; nettrace does not print them: it ends at the first loss."""

    @classmethod
    def parse(cls, text: str) -> PrintedTrace:
        """Read a run's output, coloured or not.

        Raises AnalyzerError or HistogramError for a line that does not belong in it; the message has its number.
        """
        notices: list[str] = []
        tables: list[Histogram] = []
        events: list[EventLine] = []
        ended = False
        total = skipped = lost = None
        lines = COLOUR_CODE.sub("", text).splitlines()
        number = 0
        while number < len(lines):
            line = lines[number]
            number += 1
            if line.startswith(HEADER):
                end = number
                while end < len(lines) and lines[end].startswith(" "):
                    end += 1
                tables.append(_table(lines[number - 1 : end], number))
                number = end
            elif line.startswith("["):
                events.append(EventLine.parse(line))
            elif line == END:
                ended = True
            elif (found := _TOTAL.fullmatch(line)) is not None:
                total, skipped = int(found[1]), int(found[2])
            elif (found := _LOST.fullmatch(line)) is not None:
                lost = int(found[1])
            elif _NOTICE.fullmatch(line) is not None:
                notices.append(line)
            elif line not in (BEGIN, ""):
                raise AnalyzerError(
                    f"line {number} was expected to be a table, an event or a total of a trace, found '{line[:120]}'"
                )
        return cls(
            notices=tuple(notices),
            tables=tuple(tables),
            lines=tuple(events),
            ended=ended,
            total=total,
            skipped=skipped,
            lost=lost,
        )


def _table(lines: list[str], first: int) -> Histogram:
    try:
        return Histogram.parse("\n".join(lines))
    except HistogramError as error:
        raise HistogramError(f"the table that begins in line {first} cannot be read: {error}") from error
