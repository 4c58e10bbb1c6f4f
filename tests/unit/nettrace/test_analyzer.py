"""From an event to what is said of it: filter, entry, exit, line, record."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from rttcheck.nettrace.analyzer import (
    ANALYZERS,
    AnalyzerError,
    EventLine,
    Filter,
    RttMessage,
    Status,
    TraceMode,
    analyze,
    as_record,
    describe,
    render,
    values_us,
)
from rttcheck.nettrace.event_line import ERROR
from rttcheck.nettrace.trace_point import TCP_ACK_UPDATE_RTT, Expect, Level, ReturnRule, TracePoint
from rttcheck.record.event import FLAG_SYN_ACKED, CaState, PendingTimer, TcpState
from tests.support.observed_events import CLIENT, FROM_SACK, FROM_TIMESTAMP, NOTHING_TAKEN, SERVER, event, events

LINE = (
    "[76.209326] [tcp_ack_update_rtt  ] TCP: 10.9.0.1:42952 -> 10.9.0.2:7000 ESTABLISHED CA_Open out:(p0 r0) "
    "unack:1093363647 mem:(w0 r0) timer:(loss_probe, 0.204s) *rtt:20.781ms, rtt_min:20.656ms*"
)


def no_name(netns: int, ifindex: int) -> str:
    return f"{netns}:{ifindex}"


def line_of(**fields: Any) -> str:
    return render(analyze(event(**fields), TCP_ACK_UPDATE_RTT))


def with_rules(*rules: ReturnRule) -> TracePoint:
    return replace(TCP_ACK_UPDATE_RTT, rules=rules)


def test_an_event_is_printed_as_nettrace_prints_it() -> None:
    assert line_of() == LINE


def test_the_detailed_line_adds_where_and_in_whose_time_the_ack_was_processed() -> None:
    text = render(analyze(event(ifindex=7), TCP_ACK_UPDATE_RTT), interface_name=lambda _, ifindex: f"eth{ifindex}")
    assert text.startswith(
        "[76.209326] [23456789][tcp_ack_update_rtt  ][cpu:1  ][eth7 ][python3-504][ns:4026531840] TCP: 10.9.0.1:42952"
    )
    assert EventLine.parse(text).render() == text


def test_every_line_that_is_printed_can_be_read_back() -> None:
    for fields in (
        {},
        FROM_SACK,
        FROM_TIMESTAMP,
        {"source": ("fd00::1", 1), "destination": ("fd00::2", 65535)},
        {"hz": 0},
        {"timer": PendingTimer.NONE},
        {"timer": 4},
        {"state": 77, "ca_state": 31},
        {"taken": 0},
    ):
        entry = analyze(event(**fields), TCP_ACK_UPDATE_RTT)
        for name in (None, no_name):
            line = describe(entry, interface_name=name)
            assert EventLine.parse(line.render()) == line


def test_the_first_acked_sample_is_rtt_and_the_last_acked_one_is_rtt_min() -> None:
    message = analyze(event(first_rtt_us=30_001, last_rtt_us=29_999), TCP_ACK_UPDATE_RTT).message
    assert message == RttMessage(30_001, 29_999)


def test_a_timer_is_in_seconds_of_the_kernels_own_tick() -> None:
    assert "timer:(loss_probe, 0.204s)" in line_of(hz=250, timer_jiffies=51)
    assert "timer:(loss_probe, 0.051s)" in line_of(hz=1000, timer_jiffies=51)
    assert "timer:(retrans, 0.980s)" in line_of(timer=PendingTimer.RETRANS, hz=250, timer_jiffies=245)
    assert "timer:(loss_probe, 51 jiffies)" in line_of(hz=0, timer_jiffies=51)
    assert "timer:(retrans, 0.000s)" in line_of(timer=PendingTimer.RETRANS, timer_jiffies=-3)
    assert "timer" not in line_of(timer=PendingTimer.NONE)


def test_queues_are_counted_in_segments_not_in_bytes() -> None:
    assert "mem:(w3 r1)" in line_of(write_queue=3, read_queue=1, wmem_queued=4608, rmem_alloc=768)


def test_states_have_nettraces_names() -> None:
    text = line_of(state=TcpState.SYN_RECV, ca_state=CaState.RECOVERY, packets_out=4, retrans_out=2)
    assert "SYN_RECV CA_Recovery out:(p4 r2)" in text


def test_an_ipv6_address_is_printed() -> None:
    assert "TCP: [fd00::1]:5 -> [fd00::2]:80 " in line_of(source=("fd00::1", 5), destination=("fd00::2", 80))


def test_a_process_cannot_send_escape_codes_to_the_terminal() -> None:
    text = render(analyze(event(comm=b"\x1b[2Jx\xff"), TCP_ACK_UPDATE_RTT), interface_name=no_name)
    assert "[?[2Jx\ufffd-504]" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("mode", TraceMode)
def test_the_analyzer_is_valid_in_every_mode_and_marks_what_it_did(mode: TraceMode) -> None:
    entry = analyze(event(), TCP_ACK_UPDATE_RTT, mode)
    assert entry.status == Status.MESSAGE | Status.RETURNED
    assert entry.message == RttMessage(20_781, 20_656)
    assert entry.returned == 1
    assert entry.rule is None


def test_an_analyzer_leaves_alone_what_is_not_in_its_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ANALYZERS, "rtt", replace(ANALYZERS["rtt"], modes=frozenset({TraceMode.DETAIL})))
    assert analyze(event(), TCP_ACK_UPDATE_RTT, TraceMode.STATISTICS).status is Status.NONE
    assert analyze(event(), TCP_ACK_UPDATE_RTT, TraceMode.DETAIL).status is not Status.NONE


def test_rules_are_run_on_the_return_value_and_the_first_that_holds_is_said() -> None:
    point = with_rules(
        ReturnRule(expect=Expect.EQUAL, value=7, level=Level.INFO, message="seven"),
        ReturnRule(expect=Expect.NOT_EQUAL, value=7, level=Level.ERROR, message="not seven"),
        ReturnRule(expect=Expect.ANY, level=Level.WARNING, message="anything"),
    )
    entry = analyze(event(), point)
    assert entry.status == Status.MESSAGE | Status.RETURNED | Status.RULE
    assert render(entry) == f"{LINE} *not seven*"
    assert render(entry, colour=True).endswith(f"{ERROR} *not seven*\x1b[0m")


def test_a_sample_that_the_kernel_did_not_take_is_said_to_be_an_error() -> None:
    entry = analyze(event(taken=0), TCP_ACK_UPDATE_RTT)
    assert entry.rule is not None
    assert entry.rule.level is Level.ERROR
    assert entry.rule.advice
    assert render(entry).endswith("*a sample was offered and the kernel did not take it*")


def test_colours_are_nettraces() -> None:
    text = render(analyze(event(), TCP_ACK_UPDATE_RTT), colour=True)
    assert text == LINE.replace(" *rtt", "\x1b[0;33m *rtt") + "\x1b[0m"


def test_filters_drop_what_lies_below_and_keep_what_is_equal() -> None:
    array = events(
        {"first_rtt_us": 19_999, "last_rtt_us": 19_999},
        {"first_rtt_us": 20_000, "last_rtt_us": 19_999},
        {"first_rtt_us": 20_000, "last_rtt_us": 20_000},
    )
    assert Filter(first_us=20_000).passes(array).tolist() == [False, True, True]
    assert Filter(last_us=20_000).passes(array).tolist() == [False, False, True]
    assert Filter(first_us=20_000, last_us=20_000).passes(array).tolist() == [False, False, True]
    assert Filter().passes(array).tolist() == [True, True, True]
    assert not Filter().active
    assert Filter(last_us=1).active


def test_what_nettrace_does_not_see_is_shown_only_when_asked_for() -> None:
    array = events({}, FROM_SACK, FROM_TIMESTAMP, NOTHING_TAKEN)
    assert Filter().passes(array).tolist() == [True, False, False, False]
    assert Filter().passes(array, every_sample=True).tolist() == [True, True, True, False]
    assert Filter(first_us=40_001).passes(array, every_sample=True).tolist() == [False, True, False, False]


def test_a_sample_from_sack_or_timestamps_says_so_and_shows_what_the_estimator_was_fed() -> None:
    first, last = values_us(events({}, FROM_SACK, FROM_TIMESTAMP, NOTHING_TAKEN))
    assert first.tolist() == [20_781, 41_000, 40_000, -1]
    assert last.tolist() == [20_656, 40_500, 40_000, -1]
    assert line_of(**FROM_SACK).endswith(" *rtt:41.000ms, rtt_min:40.500ms* *from SACK*")
    assert line_of(**FROM_TIMESTAMP).endswith(" *rtt:40.000ms, rtt_min:40.000ms* *from timestamp*")


def test_an_event_without_a_sample_has_no_message() -> None:
    with pytest.raises(AnalyzerError, match="'no sample'"):
        analyze(event(**NOTHING_TAKEN), TCP_ACK_UPDATE_RTT)


def test_a_record_holds_plain_values_in_microseconds() -> None:
    record = as_record(analyze(event(flag=FLAG_SYN_ACKED, ifindex=3), TCP_ACK_UPDATE_RTT), interface_name=no_name)
    assert json.loads(json.dumps(record)) == record
    assert record["type"] == "event"
    assert (record["first_rtt_us"], record["last_rtt_us"], record["sample_us"]) == (20_781, 20_656, 20_781)
    assert (record["srtt_us"], record["min_rtt_us"]) == (20_700, 20_013)
    assert (record["kind"], record["sample_source"]) == ("handshake", "first")
    assert (record["source"], record["destination"]) == (list(CLIENT), list(SERVER))
    assert record["interface"] == "4026531840:3"
