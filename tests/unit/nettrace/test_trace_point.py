"""The table of trace points, its rules and its backups."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rttcheck.nettrace.analyzer import ANALYZERS
from rttcheck.nettrace.trace_point import (
    MONITOR_OFF,
    MONITOR_ON_RETURN,
    TCP_ACK_UPDATE_RTT,
    TRACE_POINTS,
    Expect,
    Level,
    PointStatus,
    ReturnRule,
    TracePoint,
    mark_backups,
)


def point(name: str, *, backup_of: str = "", default: bool = True) -> TracePoint:
    return replace(TCP_ACK_UPDATE_RTT, name=name, program=name, backup_of=backup_of, default=default)


def test_the_table_has_the_one_function_that_takes_samples() -> None:
    (only,) = TRACE_POINTS
    assert only.name == "tcp_ack_update_rtt"
    assert (only.sk, only.group, only.analyzer) == (1, "tcp-state", "rtt")
    assert (only.custom, only.default, only.backup_of, only.monitor) == (True, True, "", MONITOR_OFF)


def test_every_point_names_an_analyzer_that_exists() -> None:
    assert all(entry.analyzer in ANALYZERS for entry in TRACE_POINTS)


def test_a_monitored_point_makes_events_on_return_and_is_otherwise_the_same() -> None:
    monitored = TCP_ACK_UPDATE_RTT.monitored()
    assert monitored.monitor == MONITOR_ON_RETURN == 2
    assert replace(monitored, monitor=MONITOR_OFF) == TCP_ACK_UPDATE_RTT


@given(returned=st.integers(-5, 5), value=st.integers(-5, 5), width=st.integers(0, 5))
def test_a_rule_holds_for_exactly_the_values_that_its_comparison_names(returned: int, value: int, width: int) -> None:
    def holds(expect: Expect) -> bool:
        return ReturnRule(expect=expect, level=Level.INFO, message="", value=value, upper=value + width).holds(returned)

    assert holds(Expect.ANY)
    assert holds(Expect.EQUAL) is (returned == value)
    assert holds(Expect.NOT_EQUAL) is (returned != value)
    assert holds(Expect.BELOW) is (returned < value)
    assert holds(Expect.ABOVE) is (returned > value)
    assert holds(Expect.BETWEEN) is (value < returned < value + width)


def test_the_function_returning_false_for_a_sample_it_was_offered_is_an_error() -> None:
    rule = TCP_ACK_UPDATE_RTT.first_rule(0)
    assert rule is not None
    assert rule.level is Level.ERROR
    assert TCP_ACK_UPDATE_RTT.first_rule(1) is None


def test_of_points_that_stand_in_for_one_another_the_first_valid_one_stays() -> None:
    statuses = [
        PointStatus(point("a"), invalid="not found"),
        PointStatus(point("a2", backup_of="a")),
        PointStatus(point("a3", backup_of="a")),
        PointStatus(point("b")),
    ]
    marked = mark_backups(statuses)
    assert [status.usable for status in marked] == [False, True, False, True]
    assert marked[0].invalid == "not found"
    assert "backup" in marked[2].invalid


@pytest.mark.parametrize("invalid", ["", "not found"])
def test_a_point_that_is_off_takes_nobodys_place(invalid: str) -> None:
    marked = mark_backups([PointStatus(point("a", default=False), invalid), PointStatus(point("a2", backup_of="a"))])
    assert [status.usable for status in marked] == [False, True]
