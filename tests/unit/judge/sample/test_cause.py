"""What made TCP send each segment, by hand: the write, the SYN, the ACK, the segment before."""

from __future__ import annotations

import numpy as np

from rttcheck.judge.sample.cause import NEVER, Causes
from rttcheck.record import packet
from tests.support.planted import CLIENT, SERVER
from tests.support.planted_wire import FLOWS, PlantedWire

SYN_ACK = packet.SYN | packet.ACK
LEAD_NS = 3_000


def segment(planted: PlantedWire, at_us: int, offset: int, length: int, *, flags: int = packet.ACK) -> int:
    """A segment that is stamped when it leaves, less `LEAD_NS`; its row."""
    return planted.sent(at_us, offset, length, flags=flags, stamp_ns=at_us * 1_000 - LEAD_NS)


def causes(planted: PlantedWire, *, queued: bool = False) -> Causes:
    return Causes.of(planted.observed(), queued=queued)


def since_start(planted: PlantedWire, times: np.ndarray) -> list[int | None]:
    """Nanoseconds since the start; None for never."""
    return [None if time_ns == NEVER else int(time_ns) - planted.start_ns for time_ns in times]


def opened() -> PlantedWire:
    """A connection whose SYN left and was answered."""
    planted = PlantedWire()
    planted.wrote(-5_000, 1)
    segment(planted, 0, 0, 0, flags=packet.SYN)
    planted.came(50, 1, flags=SYN_ACK)
    return planted


def test_a_row_for_each_new_segment_with_its_stamp_and_departure() -> None:
    planted = opened()
    rows = [segment(planted, at_us, offset, 10) for at_us, offset in ((100, 1), (300, 11))]
    found = causes(planted)
    assert found.row.tolist() == [0, *rows]
    assert since_start(planted, found.departed_ns) == [0, 100_000, 300_000]
    assert since_start(planted, found.stamp_ns) == [-3_000, 97_000, 297_000]


def test_the_write_of_a_segment_is_that_of_its_last_byte() -> None:
    planted = opened()
    planted.wrote(80_000, 11)
    planted.wrote(90_000, 31)
    segment(planted, 100, 1, 5)
    segment(planted, 110, 6, 10)  # five bytes of the first write and five of the second
    segment(planted, 120, 16, 15)
    assert since_start(planted, causes(planted).written_ns) == [-5_000, 80_000, 90_000, 90_000]


def test_the_last_byte_of_a_write_is_not_the_next_writes() -> None:
    planted = opened()
    planted.wrote(80_000, 11)
    planted.wrote(90_000, 21)
    segment(planted, 100, 1, 10)
    segment(planted, 110, 11, 10)
    assert since_start(planted, causes(planted).written_ns) == [-5_000, 80_000, 90_000]


def test_the_fin_takes_the_last_number_of_all() -> None:
    planted = opened()
    planted.wrote(80_000, 11)
    planted.wrote(200_000, 12)
    segment(planted, 100, 1, 10)
    segment(planted, 210, 11, 0, flags=packet.FIN | packet.ACK)
    assert since_start(planted, causes(planted).written_ns) == [-5_000, 80_000, 200_000]


def test_data_without_a_recorded_write_has_no_write() -> None:
    planted = opened()
    planted.wrote(80_000, 11)
    segment(planted, 100, 1, 10)
    segment(planted, 110, 11, 10)
    assert since_start(planted, causes(planted).written_ns) == [-5_000, 80_000, None]


def test_a_servers_write_is_not_the_clients() -> None:
    planted = opened()
    planted.wrote(80_000, 11, server=1)
    segment(planted, 100, 1, 10)
    assert since_start(planted, causes(planted).written_ns) == [-5_000, None]


def test_without_writes_none_is_known() -> None:
    planted = PlantedWire()
    segment(planted, 0, 0, 0, flags=packet.SYN)
    segment(planted, 100, 1, 10)
    assert since_start(planted, causes(planted).written_ns) == [None, None]


def test_the_cause_of_a_syn_ack_is_the_syns_arrival() -> None:
    planted = PlantedWire()
    planted.came(7, 0, flags=packet.SYN)
    segment(planted, 12, 0, 0, flags=SYN_ACK)
    planted.came(60, 1)
    planted.wrote(80_000, 11)
    segment(planted, 100, 1, 10)
    assert since_start(planted, causes(planted).written_ns) == [7_000, 80_000]


def test_the_last_ack_is_the_last_call_before_the_segment_left() -> None:
    planted = opened()
    planted.event(52, 1, first=50, last=50)
    segment(planted, 100, 1, 10)
    planted.came(150, 11)
    planted.event(152, 11, first=52, last=52)
    segment(planted, 200, 11, 10)
    planted.came(250, 21)
    planted.event(252, 21, first=52, last=52)
    # The probe's own time, 3 us after the ACK's.
    assert since_start(planted, causes(planted).acked_ns) == [None, 55_000, 155_000]


def test_an_ack_that_is_seen_after_the_segment_left_did_not_cause_it() -> None:
    for left_us, acked_ns in ((99, None), (100, 100_000), (101, 100_000)):
        planted = opened()
        planted.event(97, 1, first=95, last=95)  # the probe sees it at 100 us
        segment(planted, left_us, 1, 10)
        assert since_start(planted, causes(planted).acked_ns) == [None, acked_ns]


def test_another_sockets_acks_are_not_this_ones() -> None:
    planted = opened()
    planted.event(52, 1, first=50, last=50)
    planted.made[0]["sport"], planted.made[0]["dport"] = 5_000, 40_000
    planted.made[0]["saddr"], planted.made[0]["daddr"] = planted.made[0]["daddr"], planted.made[0]["saddr"].copy()
    segment(planted, 100, 1, 10)
    assert since_start(planted, causes(planted).acked_ns) == [None, None]


def test_the_segment_before_counts_where_it_bears_another_stamp() -> None:
    planted = opened()
    planted.sent(100, 1, 10, stamp_ns=97_000)
    planted.sent(104, 11, 10, stamp_ns=97_000)
    planted.sent(108, 21, 10, stamp_ns=106_000)
    assert since_start(planted, causes(planted).before_ns) == [None, 0, None, 104_000]


def test_a_previous_segment_without_a_stamp_is_ignored() -> None:
    planted = opened()
    planted.sent(100, 1, 10)
    planted.sent(108, 11, 10, stamp_ns=106_000)
    found = causes(planted)
    assert since_start(planted, found.departed_ns) == [0, 108_000]
    assert since_start(planted, found.before_ns) == [None, None]


def test_what_is_sent_again_is_left_out_and_what_is_sent_then_is_not() -> None:
    planted = opened()
    first = segment(planted, 100, 1, 10)
    second = segment(planted, 110, 11, 10)
    segment(planted, 300, 1, 10)  # all of it again
    segment(planted, 320, 15, 6)  # a part of it again
    third = segment(planted, 330, 21, 10)
    assert causes(planted).row.tolist() == [0, first, second, third]


def test_what_is_sent_again_with_new_bytes_behind_is_left_out() -> None:
    planted = opened()
    first = segment(planted, 100, 1, 10)
    segment(planted, 300, 1, 20)
    assert causes(planted).row.tolist() == [0, first]


def test_where_a_queue_delays_at_the_end_only_the_write_counts() -> None:
    planted = opened()
    planted.event(52, 1, first=50, last=50)
    planted.wrote(80_000, 21)
    segment(planted, 100, 1, 10)
    segment(planted, 108, 11, 10)
    found = causes(planted, queued=True)
    assert since_start(planted, found.written_ns) == [-5_000, 80_000, 80_000]
    assert since_start(planted, found.acked_ns) == [None] * 3
    assert since_start(planted, found.before_ns) == [None] * 3


def twice() -> PlantedWire:
    """The same addresses used for two connections, one after the other."""
    planted = opened()
    planted.wrote(80_000, 11)
    segment(planted, 100, 1, 10)
    planted.initial = 500_000
    planted.wrote(1_000_000, 1, connection=1)
    segment(planted, 1_005, 0, 0, flags=packet.SYN)
    planted.came(1_050, 1, flags=SYN_ACK)
    planted.wrote(1_080_000, 11, connection=1)
    segment(planted, 1_100, 1, 10)
    return planted


def test_writes_of_addresses_that_were_used_twice_are_left_out() -> None:
    found = Causes.of(twice().observed(flows=(*FLOWS, *FLOWS)), queued=False)
    assert len(found.row) == 4
    assert set(found.written_ns.tolist()) == {NEVER}


def test_the_segment_before_is_one_of_the_same_life() -> None:
    planted = twice()
    assert since_start(planted, causes(planted).before_ns) == [None, 0, None, 1_005_000]


def test_a_second_connection_has_its_own_writes() -> None:
    planted = opened()
    planted.wrote(80_000, 11)
    segment(planted, 100, 1, 10)
    segment(planted, 110, 11, 10)  # without a write, on this or the other connection
    planted.port, planted.initial = 40_001, 77_000
    planted.wrote(40_000, 1, connection=1)
    segment(planted, 45, 0, 0, flags=packet.SYN)
    planted.wrote(85_000, 21, connection=1)
    segment(planted, 90, 1, 20)
    flows = (*FLOWS, {"client": [CLIENT, 40_001], "server": [SERVER, 5_000]})
    found = Causes.of(planted.observed(flows=flows), queued=False)
    assert since_start(planted, found.written_ns) == [-5_000, 80_000, None, 40_000, 85_000]


def test_without_packets_there_are_no_rows() -> None:
    planted = opened()
    found = Causes.of(planted.observed(flows=()), queued=False)
    assert len(found.row) == len(found.written_ns) == len(found.acked_ns) == len(found.before_ns) == 0
