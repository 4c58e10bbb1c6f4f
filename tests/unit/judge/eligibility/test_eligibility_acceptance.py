"""Which packets TCP accepts for ACK processing."""

from __future__ import annotations

import pytest

from rttcheck.judge.eligibility.acceptance import Acceptance, Arrival, signed
from rttcheck.record import packet


def arrival(
    seq: int = 0, length: int = 0, *, ack: int = 1, tsval: int = 100, window: int = 500, flags: int = packet.ACK,
    stamped: bool = True,
) -> Arrival:  # fmt: skip
    """``seq`` is an offset of the peer's, which begins at 2^32 - 5."""
    return Arrival(0, 0, ack, (), (seq - 5) % 2**32, length, flags, window, stamped, tsval, 1)


def opened(*, una: int = 1) -> Acceptance:
    made = Acceptance()
    made.open(arrival(flags=packet.ACK | packet.SYN, length=1))
    made.receive(arrival(1, 0), una)
    return made


def test_signed_differences_wrap() -> None:
    assert [signed(value) for value in (0, 1, -1, 2**31, 2**32 - 1, 2**31 - 1)] == [0, 1, -1, -(2**31), -1, 2**31 - 1]


def test_a_syn_is_never_an_ack_of_an_open_connection() -> None:
    assert not opened().accepts(arrival(1, flags=packet.ACK | packet.SYN), 1)


@pytest.mark.parametrize(("behind", "passes"), [(0, True), (1, True), (2, False), (-5, True)])
def test_data_may_lie_one_tick_behind(behind: int, passes: bool) -> None:
    assert opened().accepts(arrival(1, 10, tsval=100 - behind), 1) is passes


def test_without_a_timestamp_nothing_is_too_old() -> None:
    assert opened().accepts(arrival(1, 10, tsval=0, stamped=False), 1)


@pytest.mark.parametrize(
    ("late", "passes"),
    [
        (arrival(1, tsval=50), True),
        (arrival(1, tsval=50, ack=2), False),
        (arrival(1, tsval=50, ack=0), False),
        (arrival(1, tsval=50, window=501), False),
        (arrival(1, tsval=50, window=499), True),
        (arrival(1, 10, tsval=50), False),
        (arrival(2, tsval=50), False),
        (arrival(1, tsval=100 - 204), True),
        (arrival(1, tsval=100 - 205), False),
    ],
)
def test_an_old_ack_passes_if_it_acknowledges_nothing_new_and_is_no_older_than_a_timeout(
    late: Arrival, passes: bool
) -> None:
    made = opened()
    made.rto_ms = 200
    assert made.accepts(late, 1) is passes


def test_acknowledged_data_is_old() -> None:
    made = opened()
    made.receive(arrival(1, 100), 1)
    made.acknowledge((101 - 5) % 2**32)
    assert not made.accepts(arrival(1, 99), 1)
    assert made.accepts(arrival(1, 100), 1)
    assert made.accepts(arrival(101), 1)
    assert not made.accepts(arrival(100), 1)


def test_only_what_begins_at_the_acknowledged_number_makes_the_newest_timestamp() -> None:
    made = opened()
    made.receive(arrival(11, 10, tsval=200), 1)
    assert made.accepts(arrival(1, 10, tsval=150), 1)
    made.receive(arrival(1, 10, tsval=150), 1)
    assert not made.accepts(arrival(21, 10, tsval=148), 1)
    made.receive(arrival(1, 10, tsval=120), 1)
    assert not made.accepts(arrival(21, 10, tsval=148), 1)


def test_what_an_old_ack_carries_changes_no_timestamp() -> None:
    made = opened()
    made.receive(arrival(1, ack=5, tsval=200), 9)
    assert made.accepts(arrival(1, 10, tsval=101), 9)


def test_data_out_of_order_counts_once_the_hole_is_filled() -> None:
    made = opened()
    for start in (21, 11):
        made.receive(arrival(start, 10), 1)
        assert made.next == 1
    made.receive(arrival(1, 10), 1)
    assert made.next == 31


def test_what_the_socket_acknowledged_counts_even_if_it_was_not_seen() -> None:
    made = opened()
    made.receive(arrival(21, 10), 1)
    made.acknowledge((21 - 5) % 2**32)
    assert made.next == 31


def test_a_smaller_window_from_a_newer_segment_is_an_update() -> None:
    made = opened()
    made.receive(arrival(1, 10, window=300), 1)
    assert made.accepts(arrival(11, window=500, tsval=50), 1) is False
    made.receive(arrival(11, window=400), 1)
    assert made.accepts(arrival(11, window=400, tsval=50), 1)
    assert not made.accepts(arrival(11, window=401, tsval=50), 1)
