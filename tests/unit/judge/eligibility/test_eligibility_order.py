"""ACKs that waited, were merged, or came late; the fast path and the replay agree on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rttcheck.judge.eligibility import expectations
from rttcheck.judge.eligibility.in_order import merges_of
from rttcheck.judge.eligibility.part import NEW_DATA, Part
from rttcheck.judge.pairing import lives
from rttcheck.record.event import FLAG_ACK_MAYBE_DELAYED, FLAG_DATA_ACKED, Owned
from rttcheck.record.packet import ACK, FIN
from tests.support.planted_ack import HANDSHAKE, NONE, OPENED, SACKED, SYN_ACK, PlantedSocket, as_expected, opened


def waiting(**changes: Any) -> tuple[PlantedSocket, list[int]]:
    """Three ACKs come in while a thread owns the socket; one event is of the last."""
    planted = opened()
    for place in range(3):
        planted.sent(100 + 10 * place, 1 + 10 * place, 10)
    came = [planted.came(200 + place, 11 + 10 * place) for place in range(3)]
    planted.reports(230, 31, **{"first": 130, "last": 110, "owned": Owned.YES, **changes})
    return planted, came


@pytest.mark.parametrize("owned", [Owned.YES, Owned.UNKNOWN])
def test_acks_that_merged_in_the_backlog_make_expected_one_sample(owned: Owned) -> None:
    planted, came = waiting(owned=owned)
    assert planted.expectations() == [HANDSHAKE, as_expected(came[-1], 1, NEW_DATA)]
    assert replayed(planted) == planted.expectations()


def lacking_in(planted: PlantedSocket, came: list[int]) -> bool:
    """Return whether the samples of the first two ACKs are missing, in the fast path and the replay."""
    expected = [HANDSHAKE, *((row, NONE, NEW_DATA, 0, 0) for row in came[:2]), as_expected(came[2], 1, NEW_DATA)]
    return planted.expectations() == expected == replayed(planted)


def test_acks_do_not_merge_while_no_thread_owns_the_socket() -> None:
    assert lacking_in(*waiting(owned=Owned.NO))


def test_acks_did_not_merge_where_the_sample_is_that_of_the_last_ones_segment() -> None:
    assert lacking_in(*waiting(first=110))


def test_acks_did_not_merge_where_the_kernel_counted_one_segment() -> None:
    assert lacking_in(*waiting(flag=FLAG_DATA_ACKED | FLAG_ACK_MAYBE_DELAYED))


def test_acks_that_sack_something_else_do_not_merge() -> None:
    planted = opened()
    for place in range(4):
        planted.sent(100 + 10 * place, 1 + 10 * place, 10)
    earlier = planted.came(200, 11, (31, 36))
    later = planted.came(201, 21, (31, 41))
    event = planted.reports(230, 21, first=130, sack=100, last=100, owned=Owned.YES)
    assert planted.expectations() == [
        HANDSHAKE,
        (earlier, NONE, NEW_DATA, 0, 0),
        as_expected(later, event, NEW_DATA | Part.SACK),
    ]
    planted.packets[earlier]["sack"] = planted.packets[later]["sack"]
    assert planted.expectations() == [HANDSHAKE, as_expected(later, event, NEW_DATA | Part.SACK)]


@pytest.mark.parametrize(
    ("change", "merges"),
    [
        ({}, True),
        ({"flags": SYN_ACK, "payload": 4}, False),
        ({"seq": 6}, False),
        ({"payload": 7}, False),
        ({"flags": ACK | FIN}, False),
        ({"has_ts": 0}, False),
    ],
)
def test_two_merge_where_one_begins_with_what_the_other_ends_with(change: dict[str, int], merges: bool) -> None:
    """The first carries data; ``change`` is in it."""
    planted = PlantedSocket()
    rows = np.array([planted.came(200, 1, seq=0, length=5), planted.came(201, 11, seq=5, length=3)], dtype=np.int32)
    for name, value in change.items():
        planted.packets[0][name] = value
    assert merges_of(planted.wire, rows, np.zeros(2, dtype=np.int32)).tolist() == [merges, False]
    assert merges_of(planted.wire, rows, np.arange(2, dtype=np.int32)).tolist() == [False, False]


def test_what_ends_a_handshake_does_not_merge_with_the_next() -> None:
    planted = PlantedSocket(passive=True)
    planted.opens()
    planted.made.clear()
    planted.sent(100, 1, 10)
    came = planted.came(200, 11)
    event = planted.reports(200, 11, first=190, last=100, owned=Owned.YES)
    assert planted.expectations() == [(2, NONE, OPENED, 0, 0), as_expected(came, event, NEW_DATA)]


@pytest.mark.parametrize("field", ["tsval", "tsecr", "flags"])
def test_acks_with_other_options_or_congestion_bits_do_not_merge(field: str) -> None:
    planted, came = waiting()
    for place, row in enumerate(came):
        planted.packets[row][field] += place * 0x40
    assert lacking_in(planted, came)


def replayed(planted: PlantedSocket) -> list[tuple[int, int, int, int, int]]:
    """Return the same from the replay: a late SYN takes the life off the fast path and changes nothing else."""
    twin = PlantedSocket()
    twin.packets, twin.made = list(planted.packets), planted.made
    twin.came(10**6, 1, seq=0, flags=SYN_ACK, tsval=1)
    return twin.expectations()


def test_a_late_ack_marks_what_it_sacks_and_makes_nothing_expected() -> None:
    planted = opened()
    for at_us, offset in ((100, 1), (110, 11), (120, 21), (130, 31)):
        planted.sent(at_us, offset, 10)
    came = planted.came(200, 11)
    event = planted.reports(200, 11, first=100)
    planted.came(300, 1, (21, 31))
    planted.came(400, 11, (21, 31))
    planted.reports(400, 11)
    last = planted.came(500, 41)
    rest = planted.reports(500, 41, first=390, last=370)
    assert planted.expectations() == [HANDSHAKE, as_expected(came, event, NEW_DATA), as_expected(last, rest, NEW_DATA)]


def test_an_ack_older_than_the_newest_timestamp_is_not_processed() -> None:
    """By two ticks and more: the data that it SACKs is new when a later ACK SACKs it."""
    planted = opened()
    for at_us, offset in ((100, 1), (110, 11), (120, 21)):
        planted.sent(at_us, offset, 10)
    came = planted.came(5_200, 11)
    event = planted.reports(5_200, 11, first=5_100)
    planted.came(5_300, 1, (21, 31), tsval=1_003)
    sacks = planted.came(5_400, 11, (21, 31))
    sacked = planted.reports(5_400, 11, sack=5_280)
    assert planted.expectations() == [HANDSHAKE, as_expected(came, event, NEW_DATA), as_expected(sacks, sacked, SACKED)]


def test_a_new_number_with_an_old_timestamp_is_not_processed_either() -> None:
    planted = opened()
    planted.sent(100, 1, 10)
    planted.sent(110, 11, 10)
    came = planted.came(5_200, 11)
    event = planted.reports(5_200, 11, first=5_100)
    planted.came(5_300, 21, tsval=1_003)
    assert planted.expectations() == [HANDSHAKE, as_expected(came, event, NEW_DATA)]
    faulty = planted.reports(5_300, 21, first=5_190)
    assert planted.expectations() == [(NONE, faulty, 0, NEW_DATA, 0), HANDSHAKE, as_expected(came, event, NEW_DATA)]


def test_an_ack_that_is_only_late_may_be_older() -> None:
    """tcp_disordered_ack(): its number is the newest, and it does not change the window."""
    planted = opened()
    for at_us, offset in ((100, 1), (110, 11), (120, 21)):
        planted.sent(at_us, offset, 10)
    came = planted.came(5_200, 11)
    event = planted.reports(5_200, 11, first=5_100)
    sacks = planted.came(5_300, 11, (21, 31), tsval=1_003)
    sacked = planted.reports(5_300, 11, sack=5_180)
    assert planted.expectations() == [HANDSHAKE, as_expected(came, event, NEW_DATA), as_expected(sacks, sacked, SACKED)]


def test_data_that_was_acknowledged_already_brings_no_ack_number() -> None:
    planted = opened()
    planted.came(90, 1, length=100)
    planted.sent(95, 1, 0)
    planted.sent(100, 1, 10)
    planted.came(200, 11, seq=1, length=99)
    came = planted.came(300, 11)
    event = planted.reports(300, 11, first=200)
    assert planted.expectations() == [HANDSHAKE, as_expected(came, event, NEW_DATA)]


@settings(deadline=None)
@given(
    initial=st.one_of(st.integers(0, 2**32 - 1), st.integers(2**32 - 5_000, 2**32 - 1)),
    lengths=st.lists(st.integers(1, 1_448), min_size=1, max_size=30),
    every=st.integers(1, 4),
    merged=st.lists(st.booleans(), min_size=30, max_size=30),
)
def test_fast_path_and_replay_agree_wherever_numbers_wrap(
    initial: int, lengths: list[int], every: int, merged: list[bool]
) -> None:
    planted = PlantedSocket(initial=initial)
    planted.opens()
    offset, expected, first_us = 1, [HANDSHAKE], 0
    for place, length in enumerate(lengths):
        at_us = 200 + place
        planted.sent(at_us, offset, length)
        first_us = first_us or at_us
        offset += length
        if place % every == every - 1:
            came = planted.came(at_us, offset)
            # The last one is never left for a later one, which does not come.
            if not merged[place] or place + every >= len(lengths):
                event = planted.reports(at_us, offset, first=at_us - first_us, last=0, owned=Owned.YES)
                expected.append(as_expected(came, event, NEW_DATA))
                first_us = 0
    assert planted.expectations() == expected
    assert replayed(planted) == expected


@pytest.mark.parametrize("broken", [False, True])
def test_lives_are_distinguished_in_whatever_portions_they_are_processed(
    monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    planted = PlantedSocket()
    for life in range(3):
        planted.start_ns += 1_000_000_000
        planted.initial, planted.peer, planted.received, planted.peer_sent = 5_000 * life, 9_000 * life, 0, 0
        planted.opens()
        planted.sent(100, 1, 10)
        planted.came(200, 11, *(((20, 30),) if broken else ()))
        planted.reports(200, 11, first=100)
    whole = planted.expectations()
    assert [row[2:] for row in whole] == [(OPENED, OPENED, 0), (NEW_DATA, NEW_DATA, 0)] * 3
    for limit in (1, 5):
        monkeypatch.setattr(lives, "_PORTION", limit)
        assert planted.expectations() == whole


def test_ordinary_connections_are_never_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The replay takes some 15 us an ACK, the fast path 1 us."""
    planted, _ = waiting()
    monkeypatch.setattr(expectations, "replayed", None)
    assert len(planted.expectations()) == 2
