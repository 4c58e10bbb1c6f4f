"""A lab without a node in the middle has the link's two sides all the same, on packets made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from rttcheck.collect.wire.capture import Wire
from rttcheck.collect.wire.direct import with_link
from rttcheck.collect.wire.queued import QUEUED, Queued, packets_of
from rttcheck.record.packet import WIRE, Point


def packet(point: Point, at_ns: int, seq: int, *, outgoing: int) -> np.ndarray:
    row = np.zeros(1, dtype=WIRE)
    row["point"], row["time_ns"], row["seq"], row["outgoing"] = point, at_ns, seq, outgoing
    return row


def told(packets: np.ndarray, point: Point) -> list[tuple[int, int, int]]:
    mine = packets[packets["point"] == point]
    return [(int(row["time_ns"]), int(row["seq"]), int(row["outgoing"])) for row in mine]


def counted(captured: int) -> dict[str, Any]:
    return {"interface": "eth0", "captured": captured, "dropped": 0, "others": 2, "fragments": 0, "damaged": 0}


def test_packets_enter_the_link_where_they_are_sent_and_leave_it_after_netem() -> None:
    # Of two packets of the client one is lost; the server answers.
    queued = Queued(
        seen=True,
        packets=np.concatenate(
            [packet(Point.CLIENT, 10, 1, outgoing=1), packet(Point.CLIENT, 20, 2, outgoing=1),
             packet(Point.SERVER, 70, 9, outgoing=1)]
        ),
        lost=3,
    )  # fmt: skip
    captured = np.concatenate(
        [packet(Point.CLIENT, 60, 1, outgoing=1), packet(Point.CLIENT, 130, 9, outgoing=0),
         packet(Point.SERVER, 62, 1, outgoing=0), packet(Point.SERVER, 128, 9, outgoing=1)]
    )  # fmt: skip
    facts = {
        "points": {"client": counted(2), "server": counted(2)},
        "clock_step_ns": 0,
        "unread": {"client": [[5, 54]], "server": [[6, 42]]},
    }
    wire = with_link(Wire(packets=captured, facts=facts, pcapng=b"file"), queued)
    assert told(wire.packets, Point.CLIENT) == [(10, 1, 1), (20, 2, 1), (130, 9, 0)]
    assert told(wire.packets, Point.LINK_NEAR) == [(10, 1, 0), (20, 2, 0), (128, 9, 1)]
    assert told(wire.packets, Point.LINK_FAR) == [(60, 1, 1), (70, 9, 0)]
    assert told(wire.packets, Point.SERVER) == [(62, 1, 0), (70, 9, 1)]
    # What leaves the client's interface after netem has left the link at its far side.
    assert wire.facts["unread"] == {"link_far": [[5, 54]], "link_near": [[6, 42]]}
    assert {name: point["dropped"] for name, point in wire.facts["points"].items()} == dict.fromkeys(
        ("client", "server", "link_near", "link_far"), 3
    )
    assert wire.pcapng == b"file"


def test_headers_are_read_as_those_of_captures() -> None:
    row = np.zeros(2, dtype=QUEUED)
    tcp = bytes.fromhex("9c40 1388 00000064 000000c8 80 10 01f4 0000 0000 0101080a 00000007 00000008".replace(" ", ""))
    row["header"][:, : len(tcp)] = np.frombuffer(tcp, np.uint8)
    v4 = bytes.fromhex("45000048 00004000 40060000 0a000001 0a000002".replace(" ", ""))
    v6 = bytes.fromhex("60000000 0034 06 40".replace(" ", "") + "fd" + "00" * 14 + "01" + "fd" + "00" * 14 + "02")
    row["network"][0, : len(v4)] = np.frombuffer(v4, np.uint8)
    row["network"][1] = np.frombuffer(v6, np.uint8)
    row["payload"], row["point"], row["time_ns"] = (20, 70_000), Point.SERVER, (5, 6)
    packets, kept = packets_of(row)
    assert kept.tolist() == [0, 1]
    for name, value in {"sport": 40_000, "dport": 5_000, "seq": 100, "ack": 200, "tsval": 7, "tsecr": 8}.items():
        assert packets[name].tolist() == [value, value], name
    # Longer than any packet says: the device cuts it into segments.
    assert packets["payload"].tolist() == [20, 70_000]
    assert (packets["outgoing"] == 1).all()
    assert packets["src"][0, 12:].tolist() == [10, 0, 0, 1]
    assert packets["dst"][1].tolist() == [0xFD, *[0] * 14, 2]
