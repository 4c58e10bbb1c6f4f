"""Captures on a live lab: what is seen at each point, what is lost, and what the kernel's times are."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import rttcheck_netns as netns
from rttcheck.collect.traffic import run_traffic
from rttcheck.collect.wire.capture import (
    LEAST_FRAMES,
    MOST_FRAMES,
    LabCapture,
    clock_offset_ns,
    frames_for,
    open_capture,
)
from rttcheck.collect.wire.parser import SNAP, parse
from rttcheck.collect.wire.pcapng import interfaces_of
from rttcheck.collect.wire.ring import CaptureRing
from rttcheck.errors import CaptureError
from rttcheck.record.packet import FIN, SYN, WIRE, Point
from rttcheck.scenario.model import Scenario
from rttcheck_netns import Lab

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and packet sockets need root")

LINK = (Point.LINK_NEAR, Point.LINK_FAR)


def captured(lab: Lab, scenario: Scenario, capture: LabCapture) -> tuple[np.ndarray, dict[str, dict[str, int]]]:
    run_traffic(lab, scenario, on_step=None)
    lab.drain(deadline_s=10)
    wire = capture.read()
    return wire.packets, wire.facts["points"]


def identity(rows: np.ndarray) -> list[tuple[int, ...]]:
    return sorted(zip(*(rows[name].tolist() for name in ("sport", "seq", "ack", "flags", "payload")), strict=True))


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("traffic", ["pingpong", "bulk", "connections"])
def test_every_packet_is_seen_once_at_each_of_the_four_points(family: int, traffic: str) -> None:
    scenario = Scenario.make(name="wire", family=family, traffic=traffic)
    begun_ns = time.monotonic_ns()
    with netns.routed() as lab, open_capture(lab, frames=frames_for(scenario)) as capture:
        packets, points = captured(lab, scenario, capture)
    assert packets.dtype == WIRE
    assert [count["dropped"] for count in points.values()] == [0] * 4
    # Packets cross the link whole: what comes in at one interface leaves by the other.
    at = {point: packets[packets["point"] == point] for point in Point}
    assert len({tuple(identity(rows)) for rows in at.values()}) == 1
    assert len(at[Point.CLIENT]) > 100
    for point, rows in at.items():
        assert ((rows["time_ns"] >= begun_ns - 50_000) & (rows["time_ns"] <= time.monotonic_ns())).all(), point
    client = at[Point.CLIENT]
    assert ((client["sport"] == packets["sport"][0]) | (client["dport"] == packets["sport"][0])).any()
    assert int((client["flags"] & SYN != 0).sum()) == 2 * (scenario.traffic.count if traffic == "connections" else 1)
    assert int((client["flags"] & FIN != 0).sum()) >= 2
    size = scenario.traffic.size * scenario.traffic.count
    sent = client[client["outgoing"] == 1]
    assert int(sent["payload"].sum()) == size


def test_times_and_directions_follow_the_way_of_a_packet() -> None:
    scenario = Scenario.make(name="wire", count=20)
    with netns.routed() as lab, open_capture(lab) as capture:
        packets, _ = captured(lab, scenario, capture)
    client = packets[(packets["point"] == Point.CLIENT) & (packets["outgoing"] == 1)]
    for row in client[client["payload"] > 0]:
        same = packets[
            (packets["seq"] == row["seq"]) & (packets["sport"] == row["sport"]) & (packets["payload"] == row["payload"])
        ]
        by_point = same[np.argsort(same["point"])]
        assert by_point["point"].tolist() == list(Point)
        assert by_point["outgoing"].tolist() == [1, 0, 1, 0]
        assert (np.diff(by_point["time_ns"]) > 0).all()


def test_a_ring_that_is_too_small_keeps_the_first_and_counts_the_rest() -> None:
    scenario = Scenario.make(name="wire", count=200)
    with netns.routed() as lab, open_capture(lab, frames=1) as capture:
        packets, points = captured(lab, scenario, capture)
    client = points["client"]
    assert client["captured"] == 256, "the smallest ring is one block"
    assert client["dropped"] > 500
    assert packets[packets["point"] == Point.CLIENT]["flags"][0] & SYN


def enhanced_packets(file: bytes) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Interface, time, length, 1 for outgoing, and the captured bytes of each packet of a pcapng file."""
    at = 0
    while at < len(file):
        kind, length = struct.unpack_from("<II", file, at)
        if kind == 6:
            point, high, low, captured, original = struct.unpack_from("<5I", file, at + 8)
            content = file[at + 28 : at + 28 + captured]
            (flags,) = struct.unpack_from("<I", file, at + 32 + captured + -captured % 4)
            yield point, (high << 32) + low, original, flags - 1, content
        at += length


def test_packets_for_wireshark_are_those_of_the_table() -> None:
    scenario = Scenario.make(name="wire", count=20, size=600)
    before_ns = time.time_ns()
    with netns.routed() as lab, open_capture(lab) as capture:
        run_traffic(lab, scenario, on_step=None)
        lab.drain(deadline_s=10)
        plain, wire = capture.read(), capture.read(raw=True)
        after_ns = time.time_ns()
    assert plain.pcapng == b""
    assert interfaces_of(wire.pcapng) == ("client", "link-near", "link-far", "server")
    found = []
    offset_ns = clock_offset_ns()
    for point, at_ns, length, outgoing, content in enhanced_packets(wire.pcapng):
        assert before_ns <= at_ns <= after_ns
        table = np.zeros((1, SNAP), np.uint8)
        table[0, : len(content)] = np.frombuffer(content, np.uint8)
        (row,) = parse(table, np.array([len(content)])).rows
        assert length == 14 + 20 + (40 if row["flags"] & SYN else 32) + row["payload"]
        found.append((point, at_ns - offset_ns, outgoing, row["seq"], row["payload"]))
    rows = wire.packets[np.argsort(wire.packets["time_ns"], kind="stable")]
    assert len(found) == len(rows) > 80
    for (point, at_ns, outgoing, seq, payload), row in zip(found, rows, strict=True):
        assert (point, outgoing, seq, payload) == (row["point"], row["outgoing"], row["seq"], row["payload"])
        assert abs(at_ns - row["time_ns"]) <= 1_000_000 + abs(wire.facts["clock_step_ns"])


def test_a_second_reading_remembers_what_was_dropped() -> None:
    with netns.routed() as lab, open_capture(lab, frames=1) as capture:
        run_traffic(lab, Scenario.make(name="wire", count=200), on_step=None)
        lab.drain(deadline_s=10)
        first, second = (capture.read(raw=True).facts["points"] for _ in range(2))
    assert first["client"]["dropped"] > 500
    for point, count in second.items():
        # The link is captured whole: the kernel may send a neighbour solicitation between the two readings.
        stray = count["dropped"] - first[point]["dropped"]
        assert stray == 0 if point in ("client", "server") else 0 <= stray <= 10, point
        assert count | {"dropped": first[point]["dropped"]} == first[point], point


def test_a_direct_lab_has_two_points_where_packets_leave_the_link() -> None:
    with netns.direct() as lab, open_capture(lab) as capture:
        packets, points = captured(lab, Scenario.make(name="wire", count=5, topology="direct"), capture)
    assert set(points) == {"client", "server"}
    assert not np.isin(packets["point"], LINK).any()
    # The drain's markers are UDP: as many came in as left.
    assert all(count["others"] >= 2 for count in points.values())


def test_what_is_no_tcp_and_leaves_the_link_is_told_with_time_and_length() -> None:
    with netns.routed() as lab, open_capture(lab) as capture:
        begun_ns = time.monotonic_ns()
        run_traffic(lab, Scenario.make(name="wire", count=5), on_step=None)
        lab.drain(deadline_s=10)
        ended_ns = time.monotonic_ns()
        wire = capture.read(raw=True)
    unread = wire.facts["unread"]
    assert set(unread) == {"link_near", "link_far"}
    for rows in unread.values():
        # The drain's marker: Ethernet, IPv4, UDP and 12 bytes. The link's own multicast reports may be there as well.
        assert 54 in [length for _, length in rows]
        assert all(begun_ns - 1_000_000_000 <= at_ns <= ended_ns + 1_000_000 for at_ns, _ in rows)
    assert len(list(enhanced_packets(wire.pcapng))) == len(wire.packets)


def test_the_rings_hold_what_the_scenario_may_send() -> None:
    assert frames_for(Scenario.make(count=5)) == LEAST_FRAMES
    big = Scenario.make(traffic="bulk", size=100_000_000)
    assert LEAST_FRAMES < frames_for(big) <= MOST_FRAMES
    assert frames_for(replace(big, mtu=576)) == MOST_FRAMES


def test_the_clocks_are_apart_by_what_is_read() -> None:
    assert abs(clock_offset_ns() - clock_offset_ns()) < 100_000
    assert abs(time.time_ns() - clock_offset_ns() - time.monotonic_ns()) < 10_000_000


def test_an_interface_that_is_not_there_is_one_sentence() -> None:
    with netns.direct() as lab, pytest.raises(CaptureError, match=r"packets on eth9 could not be captured.*No such"):
        CaptureRing(lab.client.namespace, "eth9", frames=1)
