"""Stamps of packets on real traffic: one for each packet that leaves an end, what is lost, and what is not watched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import rttcheck_netns as netns
from rttcheck.collect.collector import open_collector
from rttcheck.collect.stamp import stamps as stamping
from rttcheck.collect.stamp.stamps import Stamped, Stamps, open_stamps
from rttcheck.collect.traffic import run_traffic
from rttcheck.collect.wire.capture import frames_for, open_capture
from rttcheck.errors import CapabilityError
from rttcheck.record.packet import FIN, SYN, Point
from rttcheck.record.stamp import STAMP
from rttcheck.scenario.model import Scenario
from rttcheck_netns import Lab

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and BPF programs need root")

ENDS = (Point.CLIENT, Point.SERVER)
SHARED = ("point", "sport", "seq", "ack", "payload", "flags")

CLOCKS_NS = 50_000
"""Captures are stamped by the wall clock: how finely it can be told from the monotonic one, and more."""


@pytest.fixture(scope="module")
def stamps() -> Iterator[Stamps]:
    with open_stamps() as opened:
        if opened.loaded is None:
            pytest.skip(opened.why_not)
        yield opened


def points(lab: Lab) -> dict[int, int]:
    return {lab.client.namespace.inode: Point.CLIENT, lab.server.namespace.inode: Point.SERVER}


def traffic(lab: Lab, scenario: Scenario) -> None:
    run_traffic(lab, scenario, on_step=None)
    lab.drain(deadline_s=10)


def watched(stamps: Stamps, scenario: Scenario) -> tuple[np.ndarray, Stamped]:
    """The packets that left an end, and their stamps, both sorted by all that they have in common, then by time."""
    with netns.routed() as lab, open_capture(lab, frames=frames_for(scenario)) as capture:
        with stamps.watch(points(lab)) as stamped:
            traffic(lab, scenario)
        packets = capture.read().packets
    left = packets[(packets["outgoing"] != 0) & np.isin(packets["point"], ENDS)]
    return left, stamped


def sorted_rows(rows: np.ndarray) -> np.ndarray:
    ordered: np.ndarray = rows[np.lexsort((rows["time_ns"], *(rows[name] for name in SHARED)))]
    return ordered


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("kind", ["pingpong", "bulk", "connections"])
def test_each_packet_that_left_an_end_has_its_stamp(stamps: Stamps, kind: str, family: int) -> None:
    size = {"size": 200_000} if kind == "bulk" else {"count": 20}
    left, stamped = watched(stamps, Scenario.make(name="stamps", family=family, traffic=kind, **size))
    assert stamped.facts == {"lost": 0}
    rows = stamped.rows
    assert rows.dtype == STAMP
    assert len(rows) == len(left) > 80
    assert (np.diff(rows["point"].astype(int)) >= 0).all()
    ours, theirs = sorted_rows(rows), sorted_rows(left)
    for name in (*SHARED, "dport"):
        assert ours[name].tolist() == theirs[name].tolist(), name
    # The program comes right after the capture.
    assert (ours["time_ns"] >= theirs["time_ns"] - CLOCKS_NS).all()
    segments = (ours["payload"] > 0) | ((ours["flags"] & (SYN | FIN)) != 0)
    assert (ours["stamp_ns"][segments] > 0).all()
    assert (ours["stamp_ns"] <= ours["time_ns"]).all()
    assert (ours["stamp_ns"] <= theirs["time_ns"] + CLOCKS_NS).all()


def test_what_finds_no_room_is_counted() -> None:
    scenario = Scenario.make(name="stamps", count=100)
    with open_stamps(ring_bytes=4096) as stamps:
        if stamps.loaded is None:
            pytest.skip(stamps.why_not)
        left, stamped = watched(stamps, scenario)
        assert len(stamped.rows) == 4096 // (STAMP.itemsize + 8)
        assert stamped.facts["lost"] == len(left) - len(stamped.rows) > 100
        # The next watch begins with an empty ring, and counts anew.
        _, again = watched(stamps, Scenario.make(name="stamps", count=5))
        assert again.facts["lost"] == 0


def test_nothing_is_watched_after_the_context_was_left(stamps: Stamps) -> None:
    scenario = Scenario.make(name="stamps", count=5)
    with netns.routed() as lab:
        traffic(lab, scenario)
        with stamps.watch(points(lab)) as first:
            traffic(lab, scenario)
        seen = first.rows.copy()
        traffic(lab, scenario)
        assert stamps.ring is not None
        assert len(stamps.ring.take()) == 0
        with stamps.watch(points(lab)) as second:
            traffic(lab, scenario)
    assert len(seen) == len(first.rows) == len(second.rows) > 10
    assert not set(seen["sport"].tolist()) & set(second.rows["sport"].tolist())


def test_a_watch_that_ends_in_an_error_is_off(stamps: Stamps) -> None:
    with netns.routed() as lab:
        with pytest.raises(LookupError), stamps.watch(points(lab)):
            raise LookupError
        traffic(lab, Scenario.make(name="stamps", count=5))
        assert stamps.ring is not None
        assert len(stamps.ring.take()) == 0


def test_only_the_named_ends_are_watched(stamps: Stamps) -> None:
    scenario = Scenario.make(name="stamps", count=5)
    with (
        netns.routed() as lab,
        netns.routed() as other,
        stamps.watch({lab.server.namespace.inode: Point.SERVER}) as stamped,
    ):
        traffic(lab, scenario)
        traffic(other, scenario)
    assert set(stamped.rows["point"].tolist()) == {Point.SERVER}
    assert len(set(stamped.rows["sport"].tolist())) == 1


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A kernel that takes no such program: there is none in the object."""
    broken = tmp_path / "rtt_stamp.bpf.o"
    broken.write_bytes(stamping.OBJECT.read_bytes()[:1_000])
    monkeypatch.setattr(stamping, "OBJECT", broken)


@pytest.mark.usefixtures("refused")
def test_a_kernel_that_refuses_the_program_is_told_and_nothing_fails() -> None:
    with open_stamps() as stamps, netns.routed() as lab:
        with stamps.watch(points(lab)) as stamped:
            traffic(lab, Scenario.make(name="stamps", count=5))
        assert len(stamped.rows) == 0
        assert stamped.rows.dtype == STAMP
        assert set(stamped.facts) == {"why_not"}
        assert stamped.facts["why_not"].startswith("stamps of packets are not read: ")


@pytest.mark.usefixtures("refused")
def test_a_recording_without_stamps_says_why() -> None:
    try:
        with open_collector() as collector:
            recording = collector.record(Scenario.make(name="one", rtt="1ms", count=5))
    except CapabilityError as error:
        pytest.skip(str(error))
    assert len(recording.stamps) == len(recording.control_stamps) == 0
    assert recording.stamp_facts["why_not"].startswith("stamps of packets are not read: ")
    assert len(recording.writes)
