"""What leaves an end before its queue, on real traffic of this kernel: without netem it is what the captures see."""

from __future__ import annotations

import os

import numpy as np
import pytest

import rttcheck_netns as netns
from rttcheck.collect.traffic import run_traffic
from rttcheck.collect.wire.capture import Wire, frames_for, open_capture
from rttcheck.collect.wire.direct import with_link
from rttcheck.collect.wire.queued import Queued, watch_queues
from rttcheck.record.packet import Point
from rttcheck.scenario.model import Scenario

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and BPF programs need root")

CLOCKS_NS = 50_000
"""Captures are stamped by the wall clock: how finely it can be told from the monotonic one, and more."""


def recorded(scenario: Scenario, **keywords: int) -> tuple[Queued, Wire]:
    offloads = netns.Offloads(checksum=scenario.offloads, tso=scenario.offloads, gso=scenario.offloads, gro=False)
    with (
        netns.direct(offloads=offloads) as lab,
        open_capture(lab, frames=frames_for(scenario)) as capture,
    ):
        ends = {lab.client.namespace.inode: Point.CLIENT, lab.server.namespace.inode: Point.SERVER}
        with watch_queues(ends, **keywords) as queued:
            run_traffic(lab, scenario, on_step=None)
            lab.drain(deadline_s=10)
        return queued, capture.read()


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("kind", ["pingpong", "bulk", "connections"])
@pytest.mark.parametrize("offloads", [False, True])
def test_each_packet_is_that_of_the_captures(kind: str, family: int, offloads: bool) -> None:
    size = {"size": 200_000} if kind == "bulk" else {"count": 20}
    scenario = Scenario.make(name="queued", family=family, traffic=kind, topology="direct", offloads=offloads, **size)
    queued, wire = recorded(scenario)
    assert queued.seen
    assert queued.lost == 0
    left = wire.packets[wire.packets["outgoing"] != 0]
    ours, theirs = (rows[np.argsort(rows["point"], kind="stable")] for rows in (queued.packets, left))
    assert len(ours) == len(theirs) > 40 if kind != "bulk" else len(ours) == len(theirs)
    for name in set(ours.dtype.names or ()) - {"time_ns"}:
        assert (ours[name] == theirs[name]).all(), name
    apart_ns = theirs["time_ns"] - ours["time_ns"]
    assert -CLOCKS_NS < np.median(apart_ns) < CLOCKS_NS
    # TCP's own stamp is on each, from just before.
    assert (queued.stamps["stamp_ns"] > 0).all()
    assert (queued.stamps["stamp_ns"] <= queued.stamps["time_ns"]).all()


def test_a_link_without_delay_takes_no_time() -> None:
    queued, wire = recorded(Scenario.make(name="queued", topology="direct", count=30))
    packets = with_link(wire, queued).packets
    entered = packets[(packets["point"] == Point.LINK_NEAR) & (packets["outgoing"] == 0)]
    left = packets[(packets["point"] == Point.LINK_FAR) & (packets["outgoing"] != 0)]
    assert entered["seq"].tolist() == left["seq"].tolist()


def test_what_finds_no_room_is_counted() -> None:
    queued, _ = recorded(Scenario.make(name="queued", topology="direct", count=200), ring_bytes=4096)
    assert queued.lost > 0
    assert len(queued.packets) == 4096 // (128 + 8)
