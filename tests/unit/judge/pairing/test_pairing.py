"""Which packets belong to which event, on packets made by hand."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rttcheck.judge.pairing.pairs import Pairs, pair
from rttcheck.record import packet
from rttcheck.record.event import FLAG_SYN_ACKED
from tests.support.pairing_by_hand import pair_by_hand
from tests.support.planted_wire import FLOWS, OWN, PEER, PlantedWire

NONE = -1


def paired(planted: PlantedWire) -> Pairs:
    return pair(planted.events, planted.wire, FLOWS)


def rows_of(pairs: Pairs, event: int) -> tuple[int, int, int, int]:
    return int(pairs.ack[event]), int(pairs.first[event]), int(pairs.last[event]), int(pairs.sack[event])


def test_the_handshake_and_one_exchange() -> None:
    planted = PlantedWire()
    planted.handshake()
    opened = planted.event(52, 1, first=52, last=52, flag=FLAG_SYN_ACKED)
    sent = planted.sent(100, 1, 10)
    came = planted.came(200, 11)
    event = planted.event(203, 11, first=103, last=103)
    pairs = paired(planted)
    assert rows_of(pairs, opened) == (1, 0, 0, NONE)
    assert rows_of(pairs, event) == (came, sent, sent, NONE)
    assert len(pairs.unreported) == 0
    assert pairs.known.all()


def test_a_stretch_ack_belongs_to_the_first_and_the_last_segment() -> None:
    planted = PlantedWire()
    planted.handshake()
    sent = [planted.sent(100 + 10 * place, 1 + 10 * place, 10) for place in range(4)]
    came = planted.came(200, 31)
    event = planted.event(203, 31, first=103, last=83)
    assert rows_of(paired(planted), event) == (came, sent[0], sent[2], NONE)


def test_a_part_of_a_segment_gives_no_sample_and_a_part_of_several_does() -> None:
    for length, expected in ((1_000, NONE), (10_000, 2)):
        planted = PlantedWire()
        planted.handshake()
        planted.sent(100, 1, length)
        planted.came(200, 501)
        event = planted.event(203, 501)
        assert rows_of(paired(planted), event)[1] == expected


def test_of_two_acks_with_one_number_the_last_before_the_event_is_taken() -> None:
    planted = PlantedWire()
    planted.handshake()
    planted.sent(100, 1, 10)
    came = planted.came(200, 11)
    planted.came(240, 11)
    event = planted.event(203, 11, first=103, last=103)
    assert paired(planted).ack[event] == came


def test_acks_that_wait_for_a_busy_socket_are_found_by_number() -> None:
    planted = PlantedWire()
    planted.handshake()
    sent = [planted.sent(100 + place, 1 + 10 * place, 10) for place in range(3)]
    came = [planted.came(200 + place, 11 + 10 * place) for place in range(3)]
    events = [planted.event(300, 11 + 10 * place, first=200, last=200) for place in range(3)]
    pairs = paired(planted)
    assert [rows_of(pairs, event)[:2] for event in events] == list(zip(came, sent, strict=True))


def test_karn_a_segment_retransmitted_gives_no_sample() -> None:
    planted = PlantedWire()
    planted.handshake()
    sent = planted.sent(100, 1, 10)
    planted.sent(110, 11, 10)
    planted.sent(300, 1, 10)
    planted.came(400, 11)
    again = planted.event(403, 11)
    came = planted.came(420, 21)
    after = planted.event(423, 21, first=313, last=313)
    pairs = paired(planted)
    assert rows_of(pairs, again)[1:] == (NONE, NONE, NONE)
    assert rows_of(pairs, after) == (came, sent + 1, sent + 1, NONE)


def test_a_segment_retransmitted_after_its_ack_came_in_still_gives_its_sample() -> None:
    planted = PlantedWire()
    planted.handshake()
    sent = planted.sent(100, 1, 10)
    came = planted.came(200, 11)
    event = planted.event(203, 11, first=103, last=103)
    planted.sent(210, 1, 10)
    assert rows_of(paired(planted), event) == (came, sent, sent, NONE)


def test_segments_collapsed_by_a_retransmission_are_acknowledged_only_together() -> None:
    planted = PlantedWire()
    planted.handshake()
    sent = [planted.sent(100 + 10 * place, 1 + place, 1) for place in range(5)]
    planted.sent(300, 2, 3)
    part = planted.came(400, 4)
    some = planted.event(403, 4, first=303, last=303)
    rest = planted.came(420, 6)
    again = planted.event(423, 6)
    pairs = paired(planted)
    assert rows_of(pairs, some) == (part, sent[0], sent[0], NONE)
    assert rows_of(pairs, again) == (rest, NONE, NONE, NONE)


def test_segments_collapsed_after_their_ack_are_acknowledged_each() -> None:
    planted = PlantedWire()
    planted.handshake()
    sent = [planted.sent(100 + 10 * place, 1 + place, 1) for place in range(5)]
    came = planted.came(400, 4)
    event = planted.event(403, 4, first=303, last=283)
    planted.sent(405, 2, 3)
    assert rows_of(paired(planted), event) == (came, sent[0], sent[2], NONE)


def test_a_retransmission_in_a_packet_of_several_segments_stays_several() -> None:
    planted = PlantedWire(mss=2)
    planted.handshake()
    for place in range(5):
        planted.sent(100 + 10 * place, 1 + place, 1)
    planted.sent(300, 2, 3)
    planted.came(400, 4)
    event = planted.event(403, 4)
    assert rows_of(paired(planted), event)[1:] == (NONE, NONE, NONE)


def test_small_segments_retransmitted_in_any_way_are_paired_as_by_hand() -> None:
    one_by_one = 0
    for seed in range(300):
        random = Random(seed)
        planted = PlantedWire(mss=random.choice((4, 1_448)))
        planted.handshake()
        sent = acked = 1
        at = 100
        for _ in range(60):
            at += random.randrange(1, 40)
            what = random.random()
            if what < 0.5:
                length = random.randrange(1, 4)
                planted.sent(at, sent, length)
                sent += length
            elif what < 0.7 and acked < sent:
                start = random.randrange(acked, sent)
                planted.sent(at, start, random.randrange(1, min(8, sent - start) + 1))
            elif acked < sent:
                acked = random.randrange(acked, sent) + 1
                planted.came(at, acked)
                planted.event(at + 3, acked)
        if not planted.made:
            continue
        pairs, wanted = paired(planted), pair_by_hand(planted.events, planted.wire, FLOWS)
        for name in ("ack", "first", "last", "sack"):
            assert getattr(pairs, name).tolist() == wanted[name], (seed, name)
        one_by_one += int((pairs.first != NONE).sum())
    assert one_by_one > 500


def test_a_sacked_segment_is_paired_once_and_never_when_it_is_acknowledged() -> None:
    planted = PlantedWire()
    planted.handshake()
    sent = [planted.sent(100 + 10 * place, 1 + 10 * place, 10) for place in range(5)]
    sacks = planted.came(200, 1, (21, 41))
    sacked = planted.event(203, 1, sack=83, last=73)
    more = planted.came(210, 1, (41, 51), (21, 41))
    second = planted.event(213, 1, sack=73, last=73)
    all_ = planted.came(220, 51)
    rest = planted.event(223, 51, first=123, last=113)
    pairs = paired(planted)
    assert rows_of(pairs, sacked) == (sacks, NONE, sent[3], sent[2])
    assert rows_of(pairs, second) == (more, NONE, sent[4], sent[4])
    assert rows_of(pairs, rest) == (all_, sent[0], sent[1], NONE)


def test_a_duplicate_sack_gives_nothing() -> None:
    planted = PlantedWire()
    planted.handshake()
    planted.sent(100, 1, 10)
    planted.came(200, 11)
    planted.event(203, 11, first=103, last=103)
    planted.sent(205, 11, 10)
    planted.came(300, 11, (1, 11))
    event = planted.event(303, 11)
    assert rows_of(paired(planted), event)[1:] == (NONE, NONE, NONE)


def test_a_sample_from_timestamps_knows_the_first_segment_that_carried_them() -> None:
    planted = PlantedWire()
    planted.handshake()
    planted.sent(100, 1, 10, tsval=7)
    first = planted.sent(30_100, 1, 10, tsval=37)
    planted.sent(30_500, 1, 10, tsval=37)
    planted.came(50_000, 11, tsecr=37)
    event = planted.event(50_003, 11, coarse=20_000)
    assert int(paired(planted).echoed[event]) == first


def test_an_event_without_an_ack_finds_no_packet_and_an_unseen_ack_is_listed() -> None:
    planted = PlantedWire()
    planted.handshake()
    planted.sent(100, 1, 10)
    seen = planted.came(200, 11)
    planted.sent(300, 11, 10)
    unseen = planted.came(400, 21)
    event = planted.event(203, 11, first=103, last=103)
    doubled = planted.event(210, 11, first=103, last=103)
    wild = planted.event(220, 500, first=103, last=103)
    pairs = paired(planted)
    assert rows_of(pairs, event)[0] == seen
    assert rows_of(pairs, doubled)[1] == NONE
    assert rows_of(pairs, wild)[:2] == (NONE, NONE)
    assert pairs.unreported.tolist() == [unseen]


def test_an_address_that_is_used_again_is_another_connection() -> None:
    planted = PlantedWire()
    planted.handshake()
    planted.sent(100, 1, 10)
    planted.came(200, 11)
    first = planted.event(203, 11, first=103, last=103)
    planted.initial, planted.start_ns = 3_000_000_000, planted.start_ns + 1_000_000_000
    planted.handshake()
    sent = planted.sent(100, 1, 10)
    came = planted.came(300, 11)
    second = planted.event(303, 11, first=203, last=203)
    pairs = paired(planted)
    assert rows_of(pairs, first) == (3, 2, 2, NONE)
    assert rows_of(pairs, second) == (came, sent, sent, NONE)


def test_a_socket_that_the_recording_does_not_name_is_not_known() -> None:
    planted = PlantedWire(port=40_001)
    planted.handshake()
    planted.event(52, 1, first=52, last=52, flag=FLAG_SYN_ACKED)
    pairs = paired(planted)
    assert not pairs.known.any()
    assert pairs.ack.tolist() == [NONE]


def test_nothing_on_the_wire_pairs_nothing() -> None:
    planted = PlantedWire()
    planted.handshake()
    planted.event(52, 1, first=52, last=52)
    for packets in (planted.wire[:0], planted.wire[:1]):
        assert pair(planted.events, packets, FLOWS).first.tolist() == [NONE]
    assert len(pair(planted.events[:0], planted.wire, FLOWS).ack) == 0


@given(
    initial=st.one_of(st.integers(0, 2**32 - 1), st.integers(2**32 - 5_000, 2**32 - 1)),
    lengths=st.lists(st.integers(1, 1_448), min_size=1, max_size=30),
    every=st.integers(1, 4),
    sacked=st.booleans(),
)
def test_fast_and_general_pairing_agree_wherever_numbers_wrap(
    initial: int, lengths: list[int], every: int, sacked: bool
) -> None:
    """A SACK block beyond all data takes the general path, and changes nothing else."""
    planted = PlantedWire(initial=initial)
    planted.handshake()
    offset, expected = 1, []
    waiting: list[int] = []
    for place, length in enumerate(lengths):
        at = 100 + 100 * place
        waiting.append(planted.sent(at, offset, length))
        offset += length
        if len(waiting) == every:
            blocks = ((offset + 100, offset + 200),) if sacked else ()
            came = planted.came(at + 50, offset, *blocks)
            event = planted.event(at + 53, offset, first=53, last=53)
            expected.append((event, (came, waiting[0], waiting[-1], NONE)))
            waiting = []
    if not expected:
        return
    pairs = paired(planted)
    for event, rows in expected:
        assert rows_of(pairs, event) == rows


def test_more_than_four_gigabytes_do_not_wrap() -> None:
    planted = PlantedWire(mss=2**30)
    planted.handshake()
    rows = []
    for place in range(12):
        sent = planted.sent(100 + 100 * place, 1 + place * 2**29, 2**29)
        came = planted.came(150 + 100 * place, 1 + (place + 1) * 2**29)
        rows.append((planted.event(153 + 100 * place, 1 + (place + 1) * 2**29, first=53, last=53), came, sent))
    pairs = paired(planted)
    assert [(event, int(pairs.ack[event]), int(pairs.first[event])) for event, _, _ in rows] == rows


def test_packets_on_the_link_are_not_the_ends() -> None:
    planted = PlantedWire()
    planted.handshake()
    sent = planted.sent(100, 1, 10)
    came = planted.came(200, 11)
    event = planted.event(203, 11, first=103, last=103)
    wire = planted.wire
    copy = wire.copy()
    copy["point"], copy["outgoing"] = packet.Point.LINK_NEAR, 1 - copy["outgoing"]
    assert rows_of(pair(planted.events, np.concatenate((wire, copy)), FLOWS), event) == (came, sent, sent, NONE)
    assert OWN != PEER


def test_acks_of_one_number_that_waited_together_are_one_events_each() -> None:
    """Both came while a thread owned the socket; the second SACKs what the first does not."""
    planted = PlantedWire()
    planted.handshake()
    for at_us, offset in ((100, 1), (200, 11), (300, 21)):
        planted.sent(at_us, offset, 10)
    earlier = planted.came(400, 11)
    later = planted.came(410, 11, (21, 31))
    planted.event(450, 11, first=353, last=353)
    planted.event(460, 11, sack=163, last=163)
    pairs = pair(planted.events, planted.wire, FLOWS)
    assert pairs.ack.tolist() == [earlier, later]
    assert (pairs.first[0], pairs.last[0], pairs.sack[1]) == (2, 2, 4)


def test_a_block_that_came_before_its_segment_left_counts_when_it_is_repeated() -> None:
    """A faulty receiver: the segment is SACKed by the first ACK after it left, and the two before it at once."""
    planted = PlantedWire()
    planted.handshake()
    sent = [planted.sent(100 + place, 1 + 10 * place, 10) for place in range(3)]
    planted.came(200, 1, (11, 41))
    early = planted.event(203, 1, sack=103, last=103)
    sent.append(planted.sent(210, 31, 10))
    planted.came(300, 1, (11, 41))
    repeated = planted.event(303, 1, sack=93, last=93)
    pairs = paired(planted)
    assert rows_of(pairs, early)[2:] == (sent[2], sent[1])
    assert rows_of(pairs, repeated)[2:] == (sent[3], sent[3])


def test_without_a_syn_numbers_count_from_the_first_packet_that_left() -> None:
    """The capture began after the connection; an outgoing packet takes precedence over an earlier ACK."""
    planted = PlantedWire()
    planted.came(50, 6_011)
    sent = [planted.sent(100 + place, 6_001 + 10 * place, 10) for place in range(2)]
    came = planted.came(200, 6_021)
    event = planted.event(203, 6_021, first=103, last=102)
    assert rows_of(paired(planted), event) == (came, sent[0], sent[1], NONE)


def test_a_reset_is_no_ack() -> None:
    planted = PlantedWire()
    planted.handshake()
    planted.sent(100, 1, 10)
    came = planted.came(200, 11)
    planted.came(201, 11, flags=packet.ACK | packet.RST)
    event = planted.event(203, 11, first=103, last=103)
    assert paired(planted).ack[event] == came


@pytest.mark.parametrize("later_ns", [0, 2**62])
def test_an_event_of_the_very_moment_of_its_ack_belongs_to_it(later_ns: int) -> None:
    """A passive handshake has no ``tcp_mstamp``. Late times do not fit into one number with a life."""
    planted = PlantedWire()
    planted.handshake()
    planted.sent(100, 1, 10)
    came = planted.came(200, 11)
    planted.came(201, 11)
    planted.event(203, 11, first=103, last=103)
    events, wire = planted.events, planted.wire
    events["timestamp_ns"], events["tcp_mstamp_us"] = wire["time_ns"][came], 0
    wire["time_ns"][-1] += later_ns
    assert pair(events, wire, FLOWS).ack.tolist() == [came]


def test_a_segment_is_several_only_if_it_is_longer_than_mss_cache_ever_was() -> None:
    """``mss_cache`` grows when the path is known, and falls when the path changes."""
    planted = PlantedWire()
    planted.handshake()
    planted.event(52, 1, first=52, last=52, flag=FLAG_SYN_ACKED)
    planted.mss = 536
    planted.sent(100, 1, 1_448)
    planted.came(200, 537)
    event = planted.event(203, 537)
    assert rows_of(paired(planted), event)[1] == NONE


def test_an_old_acks_blocks_do_not_count() -> None:
    """Its timestamp and its number are old (tcp_paws_discard()): the next ACK SACKs the data first."""
    for tsval, sacked in ((90, True), (99, False), (100, False)):
        planted = PlantedWire()
        planted.handshake()
        for at_us, offset in ((100, 1), (200, 11), (300, 21)):
            planted.sent(at_us, offset, 10)
        newest = planted.came(400, 11)
        planted.packets[newest]["tsval"] = 100
        old = planted.came(410, 1, (21, 31))
        planted.packets[old]["tsval"] = tsval
        planted.event(405, 11, first=308, last=308)
        again = planted.came(500, 11, (21, 31))
        planted.packets[again]["tsval"] = 101
        planted.event(505, 11, sack=208, last=208)
        assert bool(pair(planted.events, planted.wire, FLOWS).sack[1] == 4) is sacked, tsval
