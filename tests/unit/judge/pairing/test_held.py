"""How long the receiver held an ACK, on packets made by hand."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from rttcheck.judge.pairing.held import LONGEST_NS, held_ns
from rttcheck.record.packet import ACK, WIRE, Point

TICK_NS = 4_000_000
DELAY_US = 10_000


@dataclass
class Lab:
    """Packets between the client and the server, `DELAY_US` each way."""

    rows: list[np.ndarray] = field(default_factory=list)

    def data(self, at_us: int, seq: int) -> int:
        return self._through(at_us, Point.CLIENT, Point.SERVER, seq=seq, payload=10)

    def ack(self, at_us: int, number: int) -> int:
        """Send an ACK from the server; return its row at the client."""
        return self._through(at_us, Point.SERVER, Point.CLIENT, ack=number) + 1

    def _through(self, at_us: int, one: Point, other: Point, **fields: int) -> int:
        for point, outgoing, late_us in ((one, 1, 0), (other, 0, DELAY_US)):
            row = np.zeros(1, dtype=WIRE)
            row["time_ns"], row["point"], row["outgoing"] = (at_us + late_us) * 1_000, point, outgoing
            row["flags"] = ACK
            for name, value in fields.items():
                row[name] = value
            self.rows.append(row)
        return len(self.rows) - 2

    def held_us(self, segment: int, ack: int) -> int:
        return int(held_ns(np.concatenate(self.rows), np.array([segment]), np.array([ack]), tick_ns=TICK_NS)[0]) // 1000


def test_an_ack_that_waited_for_a_second_segment_was_held() -> None:
    lab = Lab()
    first = lab.data(100, 1)
    lab.data(1_100, 11)
    ack = lab.ack(1_103 + DELAY_US, 21)
    assert lab.held_us(first, ack) == 1_003


def test_of_equal_acks_the_last_that_can_have_come_in_counts() -> None:
    lab = Lab()
    segment = lab.data(100, 1)
    lab.ack(105 + DELAY_US, 11)
    second = lab.ack(900 + DELAY_US, 11)
    lab.ack(25_000, 11)
    assert lab.held_us(segment, second) == 800


def test_the_kernel_delays_no_ack_longer_than_its_timer() -> None:
    lab = Lab()
    segment = lab.data(100, 1)
    assert lab.held_us(segment, lab.ack(900_000, 11)) == (LONGEST_NS + TICK_NS) // 1_000


@pytest.mark.parametrize("lost", [1, 2])
def test_without_the_packets_at_the_receiver_nothing_was_held(lost: int) -> None:
    lab = Lab()
    segment, ack = lab.data(100, 1), lab.ack(5_000 + DELAY_US, 11)
    lab.rows[lost]["point"] = Point.LINK_NEAR
    assert lab.held_us(segment, ack) == 0
