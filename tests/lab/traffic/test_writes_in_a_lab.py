"""What the application gave TCP to send, and when: offsets by hand, and against the packets that came of it."""

from __future__ import annotations

import os
from itertools import accumulate
from typing import Any

import numpy as np
import pytest

import rttcheck_netns as netns
from rttcheck.collect.collector import _joined, _writes
from rttcheck.collect.stamp.stamps import open_stamps
from rttcheck.collect.traffic import FlowResult, run_traffic
from rttcheck.collect.traffic.pattern import CHUNK_BYTES
from rttcheck.collect.wire.capture import frames_for, open_capture
from rttcheck.record.packet import FIN, SYN, Point
from rttcheck.record.write import WRITE
from rttcheck.scenario.model import Scenario

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="making a network namespace needs root")

CLOCKS_NS = 50_000
"""Captures are stamped by the wall clock: how finely it can be told from the monotonic one, and more."""

BULK = 2 * CHUNK_BYTES + 17
KINDS: dict[str, tuple[dict[str, Any], list[int], list[int]]] = {
    "pingpong": ({"count": 20, "size": 3}, [3] * 20, [3] * 20),
    "oneway": ({"count": 20, "size": 7}, [7] * 20, []),
    "paced": ({"count": 5, "size": 9, "interval": "2ms"}, [9] * 5, []),
    "bulk": ({"size": BULK}, [CHUNK_BYTES, CHUNK_BYTES, 17], []),
    "connections": ({"count": 4, "size": 2}, [2], [2]),
}
"""Keywords, and the bytes of each write of the client and of the server."""


def run(kind: str, **keywords: Any) -> tuple[list[FlowResult], np.ndarray]:
    """The connections, and the packets that left an end."""
    scenario = Scenario.make(name="writes", traffic=kind, **{**dict(KINDS[kind][0]), **keywords})
    with netns.routed() as lab, open_capture(lab, frames=frames_for(scenario)) as capture:
        flows = run_traffic(lab, scenario, on_step=None).flows
        lab.drain(deadline_s=10)
        packets = capture.read().packets
    return list(flows), packets[packets["outgoing"] != 0]


@pytest.mark.parametrize("kind", KINDS)
def test_offsets_count_the_syn_each_write_and_the_fin(kind: str) -> None:
    flows, _ = run(kind)
    _, client, server = KINDS[kind]
    assert len(flows) == (4 if kind == "connections" else 1)
    for flow in flows:
        assert flow.client_writes.dtype == flow.server_writes.dtype == WRITE
        assert flow.client_writes["end"].tolist() == list(accumulate([1, *client, 1]))
        # A server's SYN has no call: the first byte is offset 1 all the same.
        assert flow.server_writes["end"].tolist() == list(accumulate([*server, 1], initial=1))[1:]


@pytest.mark.parametrize("kind", KINDS)
def test_a_segment_leaves_after_the_call_that_gave_its_last_byte_began(kind: str) -> None:
    flows, packets = run(kind)
    for flow in flows:
        for point, port, writes in (
            (Point.CLIENT, flow.client_address[1], flow.client_writes),
            (Point.SERVER, flow.server_address[1], flow.server_writes),
        ):
            left = packets[(packets["point"] == point) & (packets["sport"] == port)]
            left = left[left["dport"] == (flow.server_address, flow.client_address)[point == Point.SERVER][1]]
            opening = (left["flags"] & SYN) != 0
            left_ns, initial = left["time_ns"], left["seq"][opening][0]
            taken = left["payload"] + opening + ((left["flags"] & FIN) != 0)
            end = (left["seq"] - initial).astype(np.int64) + taken
            segments = (taken > 0) & ~(opening & (point == Point.SERVER))
            assert end[segments].max() == writes["end"][-1]
            place = np.searchsorted(writes["end"], end[segments])
            begin_ns = writes["begin_ns"][place]
            assert (begin_ns > 0).all()
            assert (begin_ns <= left_ns[segments] + CLOCKS_NS).all()
            assert (np.diff(writes["begin_ns"]) > 0).all()


def test_each_call_begins_after_what_was_written_before_has_left() -> None:
    """In a ping-pong: the answer to it came meanwhile, so that one call cannot pass for another."""
    flows, packets = run("pingpong")
    for port, writes in (
        (flows[0].client_address[1], flows[0].client_writes[1:]),
        (flows[0].server_address[1], flows[0].server_writes),
    ):
        at = Point.CLIENT if port == flows[0].client_address[1] else Point.SERVER
        left = packets[(packets["point"] == at) & (packets["sport"] == port) & (packets["payload"] > 0)]
        assert len(left) == len(writes) - 1 == 20
        assert (writes["begin_ns"][1:] > left["time_ns"] - CLOCKS_NS).all()


def test_each_call_begins_before_its_segment_leaves_to_the_nanosecond() -> None:
    """By the times that the program which reads stamps takes of the same clock."""
    scenario = Scenario.make(name="writes", count=20)
    with open_stamps() as stamps, netns.routed() as lab:
        if stamps.loaded is None:
            pytest.skip(stamps.why_not)
        ends = {lab.client.namespace.inode: Point.CLIENT, lab.server.namespace.inode: Point.SERVER}
        with stamps.watch(ends) as stamped:
            (flow,) = run_traffic(lab, scenario, on_step=None).flows
    for point, writes in ((Point.CLIENT, flow.client_writes[1:]), (Point.SERVER, flow.server_writes)):
        left = stamped.rows[(stamped.rows["point"] == point) & (stamped.rows["payload"] > 0)]
        # In a ping-pong a segment each.
        assert len(left) == len(writes) - 1
        assert (writes["begin_ns"][:-1] < left["stamp_ns"]).all()
        assert (left["stamp_ns"] < left["time_ns"]).all()


def test_times_are_those_that_the_application_took() -> None:
    (flow,), _ = run("oneway")
    began = flow.client_writes["begin_ns"]
    assert began[0] == flow.started_ns
    assert began[1:-1].tolist() == flow.timings["sent_ns"].tolist()
    assert flow.finished_ns <= began[-1]
    # The server closes when it has heard the client's FIN.
    assert began[-1] < flow.server_writes["begin_ns"][-1]


@pytest.mark.parametrize("kind", ["pingpong", "connections"])
def test_the_table_says_whose_each_write_is(kind: str) -> None:
    flows, _ = run(kind, flows=2)
    table = _writes(flows)
    assert len(flows) == (8 if kind == "connections" else 2)
    for number, flow in enumerate(flows):
        mine = table[table["connection"] == number]
        assert mine[mine["server"] == 0]["begin_ns"].tolist() == flow.client_writes["begin_ns"].tolist()
        assert mine[mine["server"] == 1]["begin_ns"].tolist() == flow.server_writes["begin_ns"].tolist()
    assert table["connection"].tolist() == sorted(table["connection"].tolist())
    # Of runs one after the other the connections count on.
    both = _joined([table.copy(), table.copy()], [len(flows), len(flows)])
    assert both["connection"].tolist() == [*table["connection"], *(table["connection"] + len(flows))]
