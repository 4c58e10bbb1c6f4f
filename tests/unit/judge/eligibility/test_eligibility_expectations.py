"""What each ACK expects, and which event is of it, on exchanges made by hand."""

from __future__ import annotations

import pytest

from rttcheck.judge.eligibility.expectations import expectations_of
from rttcheck.judge.eligibility.part import NEW_DATA, Part
from rttcheck.judge.pairing.sockets import UNKNOWN_SOCKET
from rttcheck.record import packet
from rttcheck.record.event import FLAG_SYN_ACKED, Owned
from tests.support.planted_ack import (
    ECHOED,
    FLOWS,
    HANDSHAKE,
    NONE,
    OPENED,
    SACKED,
    SYN_ACK,
    PlantedSocket,
    as_expected,
    opened,
    sorted_expectations,
)


def test_a_handshake_and_an_exchange_make_expected_a_sample_each_on_both_sides() -> None:
    for passive, answer in ((False, 1), (True, 2)):
        planted = PlantedSocket(passive=passive)
        planted.opens()
        planted.sent(100, 1, 10)
        came = planted.came(200, 11)
        event = planted.reports(200, 11, first=100)
        assert planted.expectations() == [as_expected(answer, 0, OPENED), as_expected(came, event, NEW_DATA)]


def test_a_sample_that_is_dropped_is_expected_and_not_reported() -> None:
    planted = opened()
    planted.sent(100, 1, 10)
    lacking = planted.came(200, 11)
    planted.sent(300, 11, 10)
    came = planted.came(400, 21)
    event = planted.reports(400, 21, first=100)
    assert planted.expectations() == [HANDSHAKE, (lacking, NONE, NEW_DATA, 0, 0), as_expected(came, event, NEW_DATA)]


def test_a_call_that_took_nothing_does_not_stand_for_the_sample_that_is_expected() -> None:
    planted = opened()
    planted.sent(100, 1, 10)
    came = planted.came(200, 11)
    event = planted.reports(200, 11)
    assert planted.expectations() == [HANDSHAKE, (came, event, NEW_DATA, 0, 0)]


@pytest.mark.parametrize("passive", [False, True])
def test_a_handshake_without_its_sample_makes_one_expected(passive: bool) -> None:
    planted = PlantedSocket(passive=passive)
    planted.opens()
    planted.made.clear()
    assert planted.expectations() == [(2 if passive else 1, NONE, OPENED, 0, 0)]


def test_an_ack_that_acknowledges_nothing_new_makes_nothing_expected() -> None:
    planted = opened()
    planted.sent(100, 1, 10)
    planted.sent(110, 11, 10)
    came = planted.came(200, 11)
    event = planted.reports(200, 11, first=100)
    again = planted.came(250, 11)
    invented = planted.reports(250, 11, first=140)
    assert planted.expectations() == [HANDSHAKE, as_expected(came, event, NEW_DATA), (again, invented, 0, NEW_DATA, 0)]


def test_a_duplicate_acks_call_without_values_is_no_row_at_all() -> None:
    planted = opened()
    planted.sent(100, 1, 10)
    planted.sent(110, 11, 10)
    came = planted.came(200, 11)
    event = planted.reports(200, 11, first=100)
    planted.came(250, 11)
    planted.reports(250, 11)
    last = planted.came(300, 21)
    after = planted.reports(300, 21, first=190)
    assert planted.expectations() == [HANDSHAKE, as_expected(came, event, NEW_DATA), as_expected(last, after, NEW_DATA)]


def test_an_event_that_no_ack_came_in_for_is_reported_and_not_expected() -> None:
    planted = opened()
    planted.sent(100, 1, 10)
    came = planted.came(200, 11)
    event = planted.reports(200, 11, first=100)
    doubled = planted.reports(205, 11, first=105)
    assert planted.expectations() == [(NONE, doubled, 0, NEW_DATA, 0), HANDSHAKE, as_expected(came, event, NEW_DATA)]


def test_an_event_with_a_number_that_no_ack_had_is_not_expected() -> None:
    planted = opened()
    planted.sent(100, 1, 10)
    planted.sent(110, 11, 10)
    wild = planted.reports(199, 16, first=99)
    came = planted.came(200, 21)
    event = planted.reports(200, 21, first=100)
    assert planted.expectations() == [(NONE, wild, 0, NEW_DATA, 0), HANDSHAKE, as_expected(came, event, NEW_DATA)]


def test_an_event_from_before_its_ack_is_of_another() -> None:
    planted = opened()
    planted.sent(100, 1, 10)
    early = planted.reports(150, 11, first=50)
    came = planted.came(200, 11)
    assert planted.expectations() == [(NONE, early, 0, NEW_DATA, 0), HANDSHAKE, (came, NONE, NEW_DATA, 0, 0)]


def test_an_event_of_a_socket_without_captured_packets_is_not_expected() -> None:
    planted = opened()
    events = planted.events
    events["sport"] = 40_001
    rows = expectations_of(events, planted.wire, FLOWS)
    assert sorted_expectations(rows) == [(NONE, 0, 0, OPENED, 0), (1, NONE, OPENED, 0, 0)]
    assert rows["socket"].tolist() == [UNKNOWN_SOCKET, 0] or rows["socket"].tolist() == [0, UNKNOWN_SOCKET]


def test_karn_one_segment_retransmitted_withholds_the_sample_of_all_that_the_ack_covers() -> None:
    planted = opened()
    planted.sent(100, 1, 10)
    planted.sent(110, 11, 10)
    planted.sent(30_000, 11, 10)
    came = planted.came(40_000, 21)
    event = planted.reports(40_000, 21, coarse=10_000)
    assert planted.expectations() == [HANDSHAKE, as_expected(came, event, ECHOED, Part.FIRST)]


def test_karn_without_timestamps_nothing_is_expected_for_a_segment_retransmitted() -> None:
    planted = opened(stamped=False)
    planted.sent(100, 1, 10)
    planted.sent(30_000, 1, 10)
    came = planted.came(40_000, 11)
    event = planted.reports(40_000, 11, first=39_900)
    planted.sent(50_000, 11, 10)
    after = planted.came(60_000, 21)
    sound = planted.reports(60_000, 21, first=10_000)
    assert planted.expectations() == [
        HANDSHAKE,
        (came, event, 0, NEW_DATA, Part.FIRST),
        as_expected(after, sound, NEW_DATA),
    ]


def test_what_is_retransmitted_after_its_ack_came_in_makes_expected_its_sample_all_the_same() -> None:
    planted = opened()
    planted.sent(100, 1, 10)
    planted.sent(110, 11, 10)
    came = planted.came(200, 11)
    event = planted.reports(200, 11, first=100)
    planted.sent(210, 1, 10)
    assert planted.expectations() == [HANDSHAKE, as_expected(came, event, NEW_DATA)]


def test_what_is_retransmitted_while_its_ack_waits_in_the_backlog_falls_under_karn() -> None:
    planted = opened()
    planted.sent(100, 1, 10)
    came = planted.came(200, 11)
    planted.sent(210, 1, 10)
    event = planted.reports(230, 11, coarse=1_000, owned=Owned.YES)
    assert planted.expectations() == [HANDSHAKE, as_expected(came, event, ECHOED, Part.FIRST)]


def test_small_segments_that_are_retransmitted_as_one_are_acknowledged_as_one() -> None:
    planted = opened()
    planted.sent(100, 1, 10)
    planted.sent(110, 11, 10)
    planted.sent(30_000, 1, 20)
    planted.came(40_000, 11)
    planted.reports(40_000, 11)
    came = planted.came(41_000, 21)
    event = planted.reports(41_000, 21, coarse=11_000)
    assert planted.expectations() == [HANDSHAKE, as_expected(came, event, ECHOED, Part.FIRST)]


def test_what_is_newly_sacked_makes_expected_a_sample_once() -> None:
    planted = opened()
    for at_us, offset in ((100, 1), (110, 11), (120, 21), (130, 31)):
        planted.sent(at_us, offset, 10)
    sacks = planted.came(200, 1, (11, 21))
    sacked = planted.reports(200, 1, sack=90)
    again = planted.came(210, 1, (31, 41), (11, 21))
    further = planted.reports(210, 1, sack=80)
    planted.came(220, 1, (31, 41), (11, 21))
    planted.reports(220, 1)
    rest = planted.came(230, 41)
    filled = planted.reports(230, 41, first=130, last=110)
    assert planted.expectations() == [
        HANDSHAKE,
        as_expected(sacks, sacked, SACKED),
        as_expected(again, further, SACKED),
        as_expected(rest, filled, NEW_DATA),
    ]


def test_an_ack_may_make_expected_both_what_it_acknowledges_and_what_it_sacks() -> None:
    planted = opened()
    for at_us, offset in ((100, 1), (110, 11), (120, 21)):
        planted.sent(at_us, offset, 10)
    came = planted.came(200, 11, (21, 31))
    event = planted.reports(200, 11, first=100, sack=80, last=80)
    assert planted.expectations() == [HANDSHAKE, as_expected(came, event, NEW_DATA | Part.SACK)]


def test_karn_what_was_retransmitted_and_then_sacked_makes_nothing_expected() -> None:
    planted = opened()
    for at_us, offset in ((100, 1), (110, 11), (30_000, 11)):
        planted.sent(at_us, offset, 10)
    came = planted.came(40_000, 1, (11, 21))
    event = planted.reports(40_000, 1, sack=39_890)
    assert planted.expectations() == [HANDSHAKE, (came, event, 0, SACKED, Part.SACK)]


def test_a_duplicate_sack_makes_nothing_expected() -> None:
    planted = opened()
    planted.sent(100, 1, 10)
    planted.sent(110, 11, 10)
    came = planted.came(200, 11)
    event = planted.reports(200, 11, first=100)
    planted.came(210, 11, (1, 11))
    planted.reports(210, 11)
    assert planted.expectations() == [HANDSHAKE, as_expected(came, event, NEW_DATA)]


def test_the_timestamp_is_not_expected_where_a_segment_sent_once_is_acknowledged() -> None:
    planted = opened()
    planted.sent(100, 1, 10)
    came = planted.came(200, 11)
    event = planted.reports(200, 11, coarse=1_000)
    assert planted.expectations() == [HANDSHAKE, (came, event, NEW_DATA, ECHOED, 0)]


def test_a_part_of_a_segment_makes_nothing_expected_and_a_part_of_several_in_one_packet_does() -> None:
    for length, expects in ((1_000, False), (10_000, True)):
        planted = opened()
        planted.sent(100, 1, length)
        came = planted.came(200, 2_001 if expects else 501)
        event = planted.reports(200, 2_001 if expects else 501, first=100 if expects else -1)
        assert planted.expectations() == [HANDSHAKE, *([as_expected(came, event, NEW_DATA)] if expects else [])]


def test_the_timestamp_option_makes_segments_shorter() -> None:
    """Five bytes of a packet with one segment and five bytes are acknowledged: the rest fits into one segment."""
    for stamped, longest in ((True, 1_448), (False, 1_460)):
        planted = opened(stamped=stamped)
        planted.sent(100, 1, longest + 5)
        came = planted.came(200, 6)
        assert planted.expectations() == [HANDSHAKE, (came, NONE, NEW_DATA, 0, 0)]
        planted.packets[came]["ack"] -= 1
        assert planted.expectations() == [HANDSHAKE]


def test_a_time_for_a_part_of_a_segment_is_not_expected() -> None:
    planted = opened()
    planted.sent(100, 1, 1_000)
    came = planted.came(200, 501)
    event = planted.reports(200, 501, first=100)
    assert planted.expectations() == [HANDSHAKE, (came, event, 0, NEW_DATA, 0)]


def test_what_is_sacked_and_has_no_event_makes_one_expected() -> None:
    planted = opened()
    planted.sent(100, 1, 10)
    planted.sent(110, 11, 10)
    sacks = planted.came(200, 1, (11, 21))
    came = planted.came(300, 21)
    event = planted.reports(300, 21, first=200)
    assert planted.expectations() == [HANDSHAKE, (sacks, NONE, SACKED, 0, 0), as_expected(came, event, NEW_DATA)]


def test_a_fin_takes_one_number_and_makes_expected_a_sample() -> None:
    planted = opened()
    planted.sent(100, 1, 0, flags=packet.ACK | packet.FIN)
    came = planted.came(200, 2, flags=packet.ACK | packet.FIN)
    event = planted.reports(200, 2, first=100)
    assert planted.expectations() == [HANDSHAKE, as_expected(came, event, NEW_DATA)]


def test_after_a_reset_and_where_a_reset_is_the_answer_nothing_is_expected() -> None:
    for answered in (False, True):
        planted = opened()
        planted.sent(100, 1, 10)
        if not answered:
            planted.came(150, 0, flags=packet.RST)
        planted.came(200, 11)
        if answered:
            planted.sent(203, 11, 0, flags=packet.RST)
        assert planted.expectations() == [HANDSHAKE]


def test_a_reset_of_something_else_excuses_no_missing_sample() -> None:
    planted = opened()
    planted.sent(100, 1, 10)
    lacking = planted.came(200, 11)
    planted.sent(300, 11, 0, flags=packet.RST | packet.ACK)
    planted.packets[-1]["seq"] += 5
    assert planted.expectations() == [HANDSHAKE, (lacking, NONE, NEW_DATA, 0, 0)]


def test_a_syn_sent_twice_makes_expected_the_timestamp() -> None:
    planted = PlantedSocket()
    planted.sent(10, 0, 0, flags=packet.SYN)
    planted.sent(1_000_010, 0, 0, flags=packet.SYN)
    came = planted.came(1_000_060, 1, flags=SYN_ACK)
    event = planted.reports(1_000_060, 1, coarse=1_000, flag=FLAG_SYN_ACKED)
    assert planted.expectations() == [as_expected(came, event, ECHOED | Part.HANDSHAKE, Part.FIRST)]


def test_a_syn_ack_sent_twice_makes_expected_the_timestamp_after_a_first_call_in_vain() -> None:
    planted = PlantedSocket(passive=True)
    planted.came(0, flags=packet.SYN)
    planted.sent(10, 0, 0, flags=SYN_ACK)
    planted.sent(1_000_010, 0, 0, flags=SYN_ACK)
    came = planted.came(1_000_060, 1)
    planted.reports(1_000_060, 1, flag=FLAG_SYN_ACKED)
    event = planted.reports(1_000_061, 1, coarse=1_000, flag=FLAG_SYN_ACKED)
    assert planted.expectations() == [as_expected(came, event, ECHOED | Part.HANDSHAKE, Part.FIRST)]
    faulty = PlantedSocket(passive=True)
    faulty.packets = planted.packets
    false = faulty.reports(1_000_060, 1, first=1_000_050, flag=FLAG_SYN_ACKED)
    assert faulty.expectations() == [(came, false, ECHOED | Part.HANDSHAKE, OPENED, Part.FIRST)]


def test_a_syn_ack_sent_twice_without_timestamps_makes_nothing_expected() -> None:
    planted = PlantedSocket(passive=True, stamped=False)
    planted.came(0, flags=packet.SYN)
    planted.sent(10, 0, 0, flags=SYN_ACK)
    planted.sent(1_000_010, 0, 0, flags=SYN_ACK)
    planted.came(1_000_060, 1)
    for later in (0, 1):
        planted.reports(1_000_060 + later, 1, flag=FLAG_SYN_ACKED)
    assert planted.expectations() == []


def test_a_syn_ack_that_comes_in_again_is_not_processed() -> None:
    planted = opened()
    planted.sent(100, 1, 10)
    planted.came(150, 1, seq=0, flags=SYN_ACK)
    came = planted.came(200, 11)
    event = planted.reports(200, 11, first=100)
    assert planted.expectations() == [HANDSHAKE, as_expected(came, event, NEW_DATA)]


def test_an_address_that_is_used_again_is_another_life() -> None:
    planted = opened()
    planted.sent(100, 1, 10)
    planted.came(200, 11)
    planted.reports(200, 11, first=100)
    planted.start_ns += 1_000_000_000
    planted.initial, planted.peer, planted.received, planted.peer_sent = 3_000_000_000, 5, 0, 0
    planted.opens()
    planted.sent(100, 1, 10)
    lacking = planted.came(200, 11)
    assert planted.expectations() == [
        HANDSHAKE, as_expected(3, 1, NEW_DATA), as_expected(lacking - 2, 2, OPENED), (lacking, NONE, NEW_DATA, 0, 0),
    ]  # fmt: skip


def test_a_connection_from_before_the_capture_makes_expected_what_the_packets_show() -> None:
    planted = opened()
    planted.sent(100, 1, 10)
    planted.came(200, 11)
    planted.reports(200, 11, first=100)
    planted.sent(300, 11, 10)
    planted.came(400, 21)
    events, wire = planted.events[1:], planted.wire[2:]
    events["flag"] |= FLAG_SYN_ACKED
    assert sorted_expectations(expectations_of(events, wire, FLOWS)) == [
        as_expected(1, 0, NEW_DATA),
        (3, NONE, NEW_DATA, 0, 0),
    ]


def test_a_connection_from_before_the_capture_that_is_replayed() -> None:
    planted = opened()
    planted.sent(100, 1, 10)
    planted.came(200, 11)
    planted.reports(200, 11, first=100, flag=FLAG_SYN_ACKED)
    planted.sent(300, 1, 10)
    assert sorted_expectations(expectations_of(planted.events[1:], planted.wire[2:], FLOWS)) == [
        as_expected(1, 0, NEW_DATA)
    ]


def test_no_packet_and_no_event_make_nothing_expected() -> None:
    planted = opened()
    assert len(expectations_of(planted.events[:0], planted.wire[:0], FLOWS)) == 0
    assert sorted_expectations(expectations_of(planted.events, planted.wire[:0], FLOWS)) == [(NONE, 0, 0, OPENED, 0)]
    assert sorted_expectations(expectations_of(planted.events[:0], planted.wire, FLOWS)) == [(1, NONE, OPENED, 0, 0)]
