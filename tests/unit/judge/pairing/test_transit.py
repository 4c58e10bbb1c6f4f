"""Which packet is which on the two sides of a link."""

from __future__ import annotations

import numpy as np
import pytest

from rttcheck.judge.pairing import transit as module
from rttcheck.judge.pairing.transit import UNMATCHED, Transit, identities
from rttcheck.record.packet import SYN, Point
from tests.support.planted_link import in_order, packet

NEAR, FAR = Point.LINK_NEAR, Point.LINK_FAR


def came(time_ns: int, number: int, payload: int = 100) -> np.ndarray:
    return packet("out", NEAR, time_ns, number, payload, outgoing=0)


def went(time_ns: int, number: int, payload: int = 100) -> np.ndarray:
    return packet("out", FAR, time_ns, number, payload, outgoing=1)


def transit(*rows: np.ndarray, way: str = "out") -> Transit:
    return Transit.of(in_order(list(rows)), way)


def taken(found: Transit) -> list[tuple[int, int]]:
    return list(zip(found.shortest_ns.tolist(), found.longest_ns.tolist(), strict=True))


def test_each_packet_is_found_again_whatever_the_order_in_which_they_leave() -> None:
    found = transit(came(0, 1), came(10, 2), came(20, 3), went(130, 2), went(140, 1), went(150, 3))
    assert taken(found) == [(120, 120), (140, 140), (130, 130)]
    assert found.earliest.tolist() == [1, 0, 2]
    assert (len(found.gone), len(found.extra), found.hidden, found.strangers, found.pieces) == (0, 0, 0, 0, 0)


def test_directions_do_not_mix() -> None:
    back = [packet("back", FAR, 5, 1, 100, outgoing=0), packet("back", NEAR, 75, 1, 100, outgoing=1)]
    ends = [packet("out", Point.CLIENT, 0, 1, 100, outgoing=1), packet("out", Point.SERVER, 999, 1, 100, outgoing=0)]
    rows = (*back, *ends, came(0, 1), went(50, 1))
    assert taken(transit(*rows)) == [(50, 50)]
    assert taken(transit(*rows, way="back")) == [(70, 70)]


def test_lost_duplicated_and_unmatched_packets() -> None:
    found = transit(came(0, 1), came(10, 2), came(20, 3), went(100, 1), went(120, 3), went(121, 3), went(130, 9))
    assert found.gone.tolist() == [1]
    assert found.extra.tolist() == [2]
    assert found.strangers == 1
    assert found.earliest.tolist() == [0, 2, 2, UNMATCHED]
    assert taken(found) == [(100, 100), (100, 100), (101, 101)]


def test_a_segment_retransmitted_without_timestamps_is_distinguished_by_when_the_first_had_left() -> None:
    found = transit(came(0, 1), went(100, 1), came(300, 1), went(420, 1))
    assert taken(found) == [(100, 100), (120, 120)]


def test_equal_packets_in_the_link_at_once_may_be_either() -> None:
    """The second may have overtaken the first: that cannot be known."""
    found = transit(came(0, 1), came(50, 1), went(60, 1), went(150, 1))
    assert taken(found) == [(10, 60), (100, 150)]
    assert found.hidden == 1  # one lost and the other doubled would look the same


def test_of_equal_packets_one_of_which_is_lost_the_range_holds_the_truth() -> None:
    found = transit(came(0, 1), came(300, 1), went(400, 1))
    assert taken(found) == [(100, 400)]
    assert len(found.gone) == 1
    assert found.hidden == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [("ack", 7), ("window", 9), ("flags", SYN), ("tsval", 4), ("tsecr", 2), ("sack_blocks", 1), ("dport", 81),
     ("sport", 3), ("payload", 101), ("seq", 5)],
)  # fmt: skip
def test_packets_that_differ_in_one_field_are_two(field: str, value: int) -> None:
    other = came(0, 1)
    other[field] = value
    names = identities(np.concatenate((came(0, 1), other, went(5, 1))), np.arange(3))
    assert names[0] != names[1]
    assert names[0] == names[2]


def test_packets_that_differ_in_a_sack_block_or_an_address_are_two() -> None:
    rows = np.concatenate([came(0, 1)] * 3)
    rows["sack_blocks"] = 2
    rows["sack"][1, 1, 0] = 77
    rows["src"][2, 15] += 1
    assert len(set(identities(rows, np.arange(3)).tolist())) == 3


def test_a_packet_that_left_in_pieces_is_one_that_left_when_its_first_piece_did() -> None:
    pieces = [went(100, 1, 1_448), went(101, 2, 1_448), went(102, 3, 104)]
    for piece in pieces:
        piece["tsval"] = 1  # as the whole has it: each piece carries its headers
    found = transit(came(0, 1, 3_000), came(10, 4), went(110, 4), *pieces)
    assert taken(found) == [(100, 100), (100, 100)]
    assert (found.pieces, found.strangers, len(found.gone)) == (1, 0, 0)


def test_an_unmatched_packet_is_no_piece_of_what_it_is_not_within() -> None:
    beyond = went(100, 4, 1_448)
    beyond["tsval"] = 1
    found = transit(came(0, 1, 3_000), beyond)
    assert (found.pieces, found.strangers, len(found.gone)) == (0, 1, 1)


def test_captures_that_saw_nothing_give_nothing() -> None:
    found = Transit.of(np.zeros(0, came(0, 1).dtype), "out")
    assert (len(found.entered), len(found.matched), found.hidden, found.strangers) == (0, 0, 0, 0)


def test_rows_out_of_order_are_put_in_order() -> None:
    rows = np.concatenate([came(20, 2), came(0, 1), went(150, 1), went(130, 2)])
    found = Transit.of(rows, "out")
    assert found.entered_ns.tolist() == [0, 20]
    assert taken(found) == [(110, 110), (150, 150)]


def test_what_is_found_without_sorting_is_what_sorting_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    dice = np.random.default_rng(11)
    tables = []
    for _ in range(40):
        numbers = dice.integers(1, 12, size=int(dice.integers(1, 20)))
        rows = [came(10 * place, int(number)) for place, number in enumerate(numbers)]
        # Lost, in order or overtaken, doubled, or of nobody.
        rows += [
            went(10 * place + int(dice.integers(15, 90)), int(number))
            for place, number in enumerate(numbers)
            for _ in range(int(dice.choice([0, 1, 1, 1, 1, 2])))
        ]
        rows += [went(95, 50)] * int(dice.integers(0, 2))
        tables.append(in_order(rows))
    found = [Transit.of(table, "out") for table in tables]
    monkeypatch.setattr(module, "_unlike", lambda _, left: np.full(len(left), UNMATCHED, dtype=np.intp))
    for table, one in zip(tables, found, strict=True):
        other = Transit.of(table, "out")
        for name in ("entered", "left", "earliest", "latest", "gone", "extra", "hidden", "pieces", "strangers"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name
