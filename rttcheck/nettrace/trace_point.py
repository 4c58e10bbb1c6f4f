"""The table of trace points: the kernel functions that the observer traces, with rules for their return values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, IntEnum

MONITOR_OFF = 0
MONITOR_ON_RETURN = 2
"""Emit an event when the function returns, if the filter's condition holds."""


class TraceMode(Enum):
    """What the observer shows."""

    STATISTICS = "statistics"
    """A cumulative table, counted in the kernel."""
    DETAIL = "detail"
    """A line for each event."""


class Level(IntEnum):
    """Severity of a matching rule."""

    INFO = 0
    WARNING = 1
    ERROR = 2


class Expect(Enum):
    """What a rule compares a return value with."""

    ANY = "any"
    EQUAL = "eq"
    NOT_EQUAL = "ne"
    BELOW = "lt"
    ABOVE = "gt"
    BETWEEN = "range"
    """Above ``value`` and below ``upper``, both outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnRule:
    """A rule for a return value: severity, meaning and advice."""

    expect: Expect
    level: Level
    message: str
    advice: str = ""
    value: int = 0
    upper: int = 0

    def holds(self, returned: int) -> bool:
        """Return whether the rule matches the function's return value."""
        match self.expect:
            case Expect.ANY:
                return True
            case Expect.EQUAL:
                return returned == self.value
            case Expect.NOT_EQUAL:
                return returned != self.value
            case Expect.BELOW:
                return returned < self.value
            case Expect.ABOVE:
                return returned > self.value
            case Expect.BETWEEN:
                return self.value < returned < self.upper


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePoint:
    """One kernel function that can be traced."""

    name: str
    """The kernel's symbol."""
    program: str
    """The BPF program that traces it."""
    sk: int
    """Number of the socket's argument, from 1; 0 for none."""
    group: str
    analyzer: str
    custom: bool = True
    """The program is written for this function alone."""
    default: bool = True
    """Enabled by default."""
    backup_of: str = ""
    """The program that this point stands in for when that one cannot be used; empty if none."""
    monitor: int = MONITOR_OFF
    rules: tuple[ReturnRule, ...] = ()

    def monitored(self) -> TracePoint:
        """Return the same point, emitting events only where a filter's condition holds."""
        return replace(self, monitor=MONITOR_ON_RETURN)

    def first_rule(self, returned: int) -> ReturnRule | None:
        """Return the first rule that matches a return value, or None."""
        return next((rule for rule in self.rules if rule.holds(returned)), None)


TCP_ACK_UPDATE_RTT = TracePoint(
    name="tcp_ack_update_rtt",
    program="tcp_ack_update_rtt",
    sk=1,
    group="tcp-state",
    analyzer="rtt",
    rules=(
        ReturnRule(
            expect=Expect.EQUAL,
            value=0,
            level=Level.ERROR,
            message="a sample was offered and the kernel did not take it",
            advice="the tcp_ack_update_rtt of Linux 5.10 to 7.3 takes every first-acked sample: this kernel's differs, "
            "compare its source",
        ),
    ),
)
"""``static bool tcp_ack_update_rtt(sk, flag, seq_rtt_us, sack_rtt_us, ca_rtt_us, rs)``, net/ipv4/tcp_input.c."""

TRACE_POINTS: tuple[TracePoint, ...] = (TCP_ACK_UPDATE_RTT,)


@dataclass(frozen=True, slots=True)
class PointStatus:
    """The status of a trace point after preparation."""

    point: TracePoint
    invalid: str = ""
    """Why the point cannot be used; empty when it can."""

    @property
    def usable(self) -> bool:
        """Enabled and valid."""
        return self.point.default and not self.invalid


def mark_backups(statuses: Sequence[PointStatus]) -> tuple[PointStatus, ...]:
    """Keep the first valid point of each chain of backups, and mark the rest as its backups.

    A chain is a point and all whose ``backup_of`` names its program, in the table's order.
    """
    taken: set[str] = set()
    marked: list[PointStatus] = []
    for status in statuses:
        leader = status.point.backup_of or status.point.program
        if status.usable and leader in taken:
            marked.append(replace(status, invalid="backup of a point that works"))
            continue
        if status.usable:
            taken.add(leader)
        marked.append(status)
    return tuple(marked)
