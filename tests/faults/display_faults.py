"""Tools that print other than what they saw: the events are right, and what is shown of them is not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from rttcheck.judge.findings import Finding, ranked
from rttcheck.judge.samples import visible_to_nettrace
from rttcheck.nettrace.analyzer import Filter, analyze, render
from rttcheck.nettrace.display import UNFILTERED, check_display
from rttcheck.nettrace.message import RttMessage
from rttcheck.nettrace.printed import BEGIN, END
from rttcheck.nettrace.trace_point import TCP_ACK_UPDATE_RTT
from rttcheck.record.histogram import Histogram, Unit
from rttcheck.record.recording import Recording

Show = Callable[[np.ndarray], str]
"""Events of a run in, all that the tool prints of them out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DisplayFault:
    """One fault of a tool, in what it prints of the events of the true recording ``scenario``."""

    name: str
    what: str
    scenario: str
    show: Show
    limits: Filter = UNFILTERED
    says: str

    def judge(self, recording: Recording) -> tuple[Finding, ...]:
        """Judge what the tool shows of ``recording``, ranked."""
        return ranked(check_display(self.show(recording.events), recording.events, self.limits))


def lines(events: np.ndarray, limits: Filter = UNFILTERED) -> str:
    """What a true tool prints in detail mode."""
    return _ended([render(analyze(event, TCP_ACK_UPDATE_RTT)) for event in _rows(events[limits.passes(events)])])


def table(events: np.ndarray, unit: Unit = Unit.MS) -> str:
    """What a true tool prints in statistics mode."""
    counted = Histogram.of(events["first_rtt_us"][visible_to_nettrace(events)], unit)
    return _ended(counted.render().splitlines(), total=counted.total)


def _rows(events: np.ndarray) -> list[np.ndarray]:
    return [events[row : row + 1] for row in range(len(events))]


def _ended(text: list[str], *, total: int | None = None) -> str:
    shown = len(text) if total is None else total
    return "\n".join([BEGIN, *text, END, f"total event: {shown}, 0 context skipped", "lost event: 0", ""])


_MESSAGE: Final = re.compile(r" \*rtt:\S+, rtt_min:\S+\*")
_LIMITS: Final = Filter(first_us=38_000)


def _said(change: Callable[[int, int], tuple[int, int]]) -> Show:
    """A line says ``change(rtt, rtt_min)``."""

    def other(found: re.Match[str]) -> str:
        message = RttMessage.parse(found[0])
        return RttMessage(*change(message.first_us, message.last_us)).render()

    return lambda events: _MESSAGE.sub(other, lines(events[visible_to_nettrace(events)]))


def _smoothed(events: np.ndarray) -> str:
    smoothed = events[visible_to_nettrace(events)].copy()
    smoothed["first_rtt_us"] = smoothed["srtt_us"] >> 3
    return lines(smoothed)


def _every_call_counted(events: np.ndarray) -> str:
    return re.sub(r"total event: \d+", f"total event: {len(events)}", lines(events))


def _inverted(events: np.ndarray) -> str:
    visible = events[visible_to_nettrace(events)]
    return lines(visible[~_LIMITS.passes(visible)])


def _without_one_in_ten(events: np.ndarray) -> str:
    visible = events[visible_to_nettrace(events)]
    return lines(visible[np.arange(len(visible)) % 10 != 9])


def _shares_of_the_rest(events: np.ndarray) -> str:
    """Each share is that of all samples but its own bucket's first."""
    text = table(events)
    counts = [int(count) for count in re.findall(r"(?:us|ms): (\d+)", text)]
    shares = iter([f"{count // sum(counts)}.{count * 10_000 // (sum(counts) - 1) % 10_000:04d}" for count in counts])
    return re.sub(r"\d\.\d{4}$", lambda _: next(shares), text, flags=re.MULTILINE)


def _named_milliseconds(events: np.ndarray) -> str:
    return table(events, Unit.US).replace("us: ", "ms: ")


def _edges_off_by_one(events: np.ndarray) -> str:
    """log2(value) + 1: each sample is counted one bucket too high."""
    higher = events.copy()
    higher["first_rtt_us"][visible_to_nettrace(events)] *= 2
    return table(higher)


def _without_overflow(events: np.ndarray) -> str:
    return "".join(line for line in table(events, Unit.US).splitlines(keepends=True) if ">= 65536" not in line)


FAULTS: Final = (
    DisplayFault(name="unit x1000 in the message", what="the message prints nanoseconds as microseconds",
                 scenario="ping-pong", show=_said(lambda first, last: (first * 1_000, last * 1_000)),
                 says="a thousand times as much"),
    DisplayFault(name="swapped in the message", what="rtt_min is printed as rtt, and the reverse", scenario="jitter",
                 show=_said(lambda first, last: (last, first)), says="swapped"),
    DisplayFault(name="arguments shifted in the message", what="what is read as rtt are the flags",
                 scenario="ping-pong", show=_said(lambda first, _: (0x10004, first)), says="rtt 65540 us"),
    DisplayFault(name="smoothed for raw", what="rtt is srtt, as its description says and its program does not",
                 scenario="jitter", show=_smoothed, says="have no line"),
    DisplayFault(name="filter inverted", what="what is below the filter's limit is shown, and nothing else",
                 scenario="jitter", limits=_LIMITS, show=_inverted, says="the filter is inverted"),
    DisplayFault(name="filter ignored", what="everything is shown, whatever the filter's limit", scenario="jitter",
                 limits=_LIMITS, show=lines, says="passes events below"),
    DisplayFault(name="lines lost silently", what="one event in ten has no line, and the totals agree with the lines",
                 scenario="ping-pong", show=_without_one_in_ten, says="they are lost"),
    DisplayFault(name="total wrong", what="the total counts calls without a first-acked sample too", scenario="loss",
                 show=_every_call_counted, says="has shown"),
    DisplayFault(name="percent wrong", what="shares are of the total less one", scenario="ping-pong",
                 show=_shares_of_the_rest, says="its counts would print"),
    DisplayFault(name="table's unit wrong", what="microseconds are counted and ms is printed, as nettrace 1.2.11 does",
                 scenario="ping-pong", show=_named_milliseconds, says="it counts us under the name of ms"),
    DisplayFault(name="table one bucket off", what="every sample is counted in the bucket above its own",
                 scenario="edge", show=_edges_off_by_one, says="and not"),
    DisplayFault(name="table without its overflow", what="the bucket beyond the last is not printed", scenario="edge",
                 show=_without_overflow, says="its counts would print"),
)  # fmt: skip
