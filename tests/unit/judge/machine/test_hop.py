"""How long a packet takes over the veth pairs at the ends."""

from __future__ import annotations

import numpy as np
import pytest

from rttcheck.judge.machine.hop import hop_ns
from rttcheck.record.packet import ACK, WIRE, Point

NEAR = {Point.CLIENT: Point.LINK_NEAR, Point.SERVER: Point.LINK_FAR}
PEER = {Point.CLIENT: Point.SERVER, Point.SERVER: Point.CLIENT}


def passing(point: Point, time_ns: int, number: int, *, outgoing: int) -> np.ndarray:
    row = np.zeros(1, dtype=WIRE)
    row["time_ns"], row["point"], row["outgoing"] = time_ns, point, outgoing
    row["seq"], row["ack"], row["flags"] = number, 7 * number, ACK
    return row


def way(sender: Point, took_ns: list[int], *, other: Point | None = None, first: int = 1) -> list[np.ndarray]:
    """Packets that leave an end and come in at the other end of its pair so much later."""
    far = NEAR[sender] if other is None else other
    rows = []
    for place, took in enumerate(took_ns):
        left = 1_000_000 * (place + 1)
        rows.append(passing(sender, left, first + place, outgoing=1))
        rows.append(passing(far, left + took, first + place, outgoing=0))
    return rows


def hop(*parts: list[np.ndarray]) -> int:
    return hop_ns(np.concatenate([np.zeros(0, dtype=WIRE), *(row for part in parts for row in part)]))


def test_the_median_of_both_pairs_counts() -> None:
    assert hop(way(Point.CLIENT, [1_000, 2_000, 90_000])) == 2_000
    assert hop(way(Point.CLIENT, [1_000, 2_000]), way(Point.SERVER, [3_000, 4_000, 5_000])) == 3_000


def test_delays_of_the_link_are_not_included() -> None:
    behind = [
        passing(point, 20_000_000 + number, number, outgoing=outgoing)
        for point, outgoing in ((Point.LINK_FAR, 1), (Point.SERVER, 0))
        for number in (1, 2)
    ]
    assert hop(way(Point.CLIENT, [2_000, 2_000]), behind) == 2_000


def test_a_direct_lab_has_one_pair_and_both_its_ways() -> None:
    assert (
        hop(
            way(Point.CLIENT, [1_000, 3_000], other=PEER[Point.CLIENT]),
            way(Point.SERVER, [5_000], other=PEER[Point.SERVER]),
        )
        == 3_000
    )


@pytest.mark.parametrize("lost", [0, 1, 5])
def test_a_pair_at_which_other_packets_came_than_left_is_left_out(lost: int) -> None:
    rows = way(Point.CLIENT, [9_000] * 3)
    del rows[lost]
    assert hop(rows, way(Point.SERVER, [2_000] * 3)) == 2_000
    assert hop(rows) == 0


@pytest.mark.parametrize("name", ["seq", "ack"])
def test_as_many_packets_that_are_others_are_no_pair(name: str) -> None:
    rows = way(Point.CLIENT, [9_000] * 3)
    rows[1][name] += 1
    assert hop(rows) == 0


def test_without_packets_there_is_no_hop() -> None:
    assert hop() == 0
    assert hop(way(Point.LINK_NEAR, [4_000], other=Point.LINK_FAR)) == 0
