"""The message and the line around it, as nettrace prints them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rttcheck.nettrace.event_line import EMPHASIS, ERROR, Circumstances, Endpoint, EventLine, Timer
from rttcheck.nettrace.message import AnalyzerError, Dialect, RttMessage

SHORT = (
    "[76.209326] [tcp_ack_update_rtt  ] TCP: 10.9.0.1:42952 -> 10.9.0.2:7000 SYN_SENT CA_Open out:(p0 r0) "
    "unack:1093363647 mem:(w0 r0) timer:(retrans, 244.000s) *rtt:20.781ms, rtt_min:20.656ms*"
)
LONG = (
    "[87.483951] [0][tcp_ack_update_rtt  ][cpu:1  ][eth0 ][ksoftirqd/1-27][ns:0] TCP: 10.9.0.1:52386 -> 10.9.0.2:7000 "
    "ESTABLISHED CA_Open out:(p0 r0) unack:1212513527 mem:(w0 r1) timer:(loss_probe, 51.000s) "
    "*rtt:20.785ms, rtt_min:20.785ms*"
)

microseconds = st.integers(min_value=0, max_value=(1 << 32) - 1)


def test_a_message_says_first_acked_then_last_acked_in_both_dialects() -> None:
    assert RttMessage(20_781, 19_656).render() == " *rtt:20.781ms, rtt_min:19.656ms*"
    assert RttMessage(20_781, 19_656, Dialect.WHOLE).render() == " *rtt:20ms, rtt_min:19ms*"


def test_decimals_are_padded_and_whole_milliseconds_cut_off() -> None:
    assert RttMessage(1_002, 999).render() == " *rtt:1.002ms, rtt_min:0.999ms*"
    assert RttMessage(1_999, 999, Dialect.WHOLE).render() == " *rtt:1ms, rtt_min:0ms*"


@given(first=microseconds, last=microseconds, dialect=st.sampled_from(Dialect))
def test_a_message_that_was_printed_is_read_back(first: int, last: int, dialect: Dialect) -> None:
    message = RttMessage(first, last, dialect)
    assert RttMessage.parse(message.render()) == message
    assert message.shows(first, last)
    assert (message.first_us, message.last_us) == (
        (first, last) if dialect is Dialect.DECIMAL else (first // 1000 * 1000, last // 1000 * 1000)
    )


def test_a_whole_message_cannot_tell_events_of_one_millisecond_apart_and_a_decimal_one_can() -> None:
    assert RttMessage(20_781, 20_656, Dialect.WHOLE).shows(20_000, 20_999)
    assert not RttMessage(20_781, 20_656, Dialect.WHOLE).shows(21_000, 20_000)
    assert not RttMessage(20_781, 20_656).shows(20_656, 20_781)


@pytest.mark.parametrize(
    "text",
    [
        " *rtt:20ms, rtt_min:20.656ms*",
        " *rtt:20.65ms, rtt_min:20.65ms*",
        "*rtt:20ms, rtt_min:20ms*",
        " *rtt:20us, rtt_min:20us*",
        " *rtt:-1ms, rtt_min:-1ms*",
        " *rtt:20ms, rtt_min:20ms* ",
    ],
)
def test_what_is_no_message_is_refused(text: str) -> None:
    with pytest.raises(AnalyzerError, match="found '"):
        RttMessage.parse(text)


def test_a_value_that_means_no_sample_has_no_message() -> None:
    with pytest.raises(AnalyzerError, match="'no sample'"):
        RttMessage(-1, 20_000)


@pytest.mark.parametrize("text", [SHORT, LONG])
def test_a_line_is_read_and_printed_the_same(text: str) -> None:
    assert EventLine.parse(text).render() == text
    assert EventLine.parse(text + "\n").render() == text


def test_every_part_of_a_line_is_understood() -> None:
    line = EventLine.parse(LONG)
    assert line == EventLine(
        timestamp_us=87_483_951,
        function="tcp_ack_update_rtt",
        source=Endpoint("10.9.0.1", 52386),
        destination=Endpoint("10.9.0.2", 7000),
        state="ESTABLISHED",
        ca_state="CA_Open",
        packets_out=0,
        retrans_out=0,
        snd_una=1_212_513_527,
        write_queue=0,
        read_queue=1,
        timer=Timer("loss_probe", 51_000),
        message=RttMessage(20_785, 20_785),
        circumstances=Circumstances(key=0, cpu=1, interface="eth0", process="ksoftirqd/1", pid=27, netns=0),
    )


def test_a_line_without_a_timer_has_none() -> None:
    text = SHORT.replace(" timer:(retrans, 244.000s)", "")
    assert EventLine.parse(text).timer is None
    assert EventLine.parse(text).render() == text


def test_a_clones_name_is_longer_than_its_column() -> None:
    text = SHORT.replace("tcp_ack_update_rtt  ", "tcp_ack_update_rtt.isra.51")
    assert EventLine.parse(text).function == "tcp_ack_update_rtt.isra.51"
    assert EventLine.parse(text).render() == text


@pytest.mark.parametrize("process", ["a b", "kworker/0:1-events", "x][y", "-1"])
def test_a_process_may_be_named_anything(process: str) -> None:
    text = LONG.replace("ksoftirqd/1", process)
    read = EventLine.parse(text)
    assert read.circumstances is not None
    assert (read.circumstances.process, read.circumstances.pid) == (process, 27)
    assert read.render() == text


def test_ipv6_is_printed_in_brackets_and_nettraces_missing_address_is_read() -> None:
    text = SHORT.replace("10.9.0.1:42952", "[fd00::1]:42952").replace("10.9.0.2:7000", "[::1]:7000")
    assert EventLine.parse(text).source == Endpoint("fd00::1", 42952)
    assert EventLine.parse(text).render() == text
    nettrace = SHORT.replace("10.9.0.1:", "ipv6:").replace("10.9.0.2:", "ipv6:")
    assert EventLine.parse(nettrace).destination == Endpoint("ipv6", 7000)
    assert EventLine.parse(nettrace).render() == nettrace


def test_a_timer_is_in_seconds_or_says_that_it_counts_jiffies() -> None:
    assert str(Timer("loss_probe", 204)) == "loss_probe, 0.204s"
    assert str(Timer("loss_probe", 51, jiffies=True)) == "loss_probe, 51 jiffies"
    for timer in (Timer("retrans", 61_003), Timer("probe0", 7, jiffies=True)):
        assert Timer.parse(str(timer)) == timer


def test_colours_go_around_message_and_remark() -> None:
    line = EventLine.parse(SHORT + " *the kernel did not take it*")
    assert line.remark == "the kernel did not take it"
    assert line.render(colour=EMPHASIS, remark_colour=ERROR) == SHORT.replace(
        " *rtt:20.781ms, rtt_min:20.656ms*",
        "\x1b[0;33m *rtt:20.781ms, rtt_min:20.656ms*\x1b[0m\x1b[0;31m *the kernel did not take it*\x1b[0m",
    )
    assert EventLine.parse(line.render(colour=EMPHASIS, remark_colour=ERROR)) == line


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("TCP: ", "UDP: "), "an event line was expected"),
        (("unack:", "una:"), "an event line was expected"),
        (("[76.209326]", "[76.20932]"), "an event line was expected"),
        (("10.9.0.1:42952", "10.9.0.1"), "an address and port was expected"),
        (("244.000s", "244s"), "a timer was expected"),
        (("rtt_min:20.656ms", "rtt_min:20ms"), "a message was expected"),
        (("[tcp_ack_update_rtt  ]", "[0][tcp_ack_update_rtt  ]"), "a function was expected"),
    ],
)
def test_what_is_no_event_line_is_refused(change: tuple[str, str], complaint: str) -> None:
    assert SHORT.replace(*change) != SHORT
    with pytest.raises(AnalyzerError, match=complaint):
        EventLine.parse(SHORT.replace(*change))
