"""A lab's captures, from before the first packet to after the last: four interfaces, one table, one clock.

Sets the capture points (both ends, both sides of the link) and the ring sizes, and converts times from the wall clock,
in which the kernel stamps packets, to the monotonic clock, in which TCP measures.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from rttcheck.collect.wire.parser import parse
from rttcheck.collect.wire.pcapng import CapturedInterface, pcapng
from rttcheck.collect.wire.ring import CaptureRing
from rttcheck.record.packet import WIRE, Point
from rttcheck.scenario.model import Scenario
from rttcheck_netns.host import Host
from rttcheck_netns.lab import Lab

LEAST_FRAMES: Final = 1_024
MOST_UNREAD: Final = 1_000
"""How many non-TCP packets that left the link keep their time and length: markers, multicast reports."""

MOST_FRAMES: Final = 131_072
"""32 MiB a ring, 128 MiB a lab; as pcapng 90 MiB (`PACKET_MOST` bytes each), before the recording compresses it."""

_READINGS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PointCount:
    """What one capture took, in packets."""

    interface: str
    captured: int
    dropped: int
    """Arrived while the ring was full."""
    others: int
    fragments: int
    damaged: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wire:
    """All packets of a lab's run."""

    packets: np.ndarray
    """dtype ``WIRE``, by point, in the order in which they passed each."""
    facts: dict[str, Any]
    """``points``: a `PointCount` a point as a table, ``clock_step_ns``: how far the wall clock was set meanwhile,
    ``unread``: for the points where packets leave the link, when non-TCP packets did (ns), and their lengths (bytes).
    """
    pcapng: bytes = b""
    """The same packets as a file for Wireshark, with times in CLOCK_REALTIME; empty when it was not asked for."""


class LabCapture:
    """Running captures; made by `open_capture`."""

    def __init__(self, rings: dict[Point, tuple[str, CaptureRing]]) -> None:
        self._rings = rings
        self._leaving = _leaving(rings)
        self._offset_ns = clock_offset_ns()
        self._started_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)

    def read(self, *, raw: bool = False) -> Wire:
        """Return the packets so far, with times in CLOCK_MONOTONIC; ``raw``: the frames too, as a pcapng file."""
        ended_ns = clock_offset_ns()
        offset_ns = min(self._offset_ns, ended_ns)
        tables, points, sources = [], {}, []
        unread: dict[str, list[list[int]]] = {}
        for point, (interface, ring) in self._rings.items():
            frames = ring.read()
            parsed = parse(frames.bytes, frames.captured)
            parsed.rows["time_ns"] = frames.realtime_ns[parsed.kept] - offset_ns
            parsed.rows["outgoing"] = frames.outgoing[parsed.kept]
            parsed.rows["point"] = point
            tables.append(parsed.rows)
            points[point.name.lower()] = asdict(
                PointCount(
                    interface=interface,
                    captured=len(frames.bytes),
                    dropped=frames.dropped,
                    others=parsed.others,
                    fragments=parsed.fragments,
                    damaged=parsed.damaged,
                )
            )
            if point in self._leaving:
                # Packets that share the link with TCP, and with a rate delay it.
                left = np.setdiff1d(np.flatnonzero(frames.outgoing), parsed.kept)[:MOST_UNREAD]
                times_ns, lengths = frames.realtime_ns[left] - offset_ns, frames.lengths[left]
                unread[point.name.lower()] = np.stack((times_ns, lengths), axis=1).tolist()
            if raw:
                name = point.name.lower().replace("_", "-")
                sources.append(CapturedInterface(name=name, interface=interface, frames=frames.only(parsed.kept)))
        facts = {"points": points, "clock_step_ns": ended_ns - self._offset_ns, "unread": unread}
        packets = np.concatenate(tables) if tables else np.zeros(0, WIRE)
        return Wire(packets=packets, facts=facts, pcapng=self._file(sources, offset_ns) if raw else b"")

    def _file(self, sources: list[CapturedInterface], offset_ns: int) -> bytes:
        return pcapng(
            sources,
            started_ns=self._started_ns,
            ended_ns=time.clock_gettime_ns(time.CLOCK_REALTIME),
            comment=f"times are CLOCK_REALTIME; {offset_ns} ns less is CLOCK_MONOTONIC, in which TCP takes its samples",
        )


@contextmanager
def open_capture(lab: Lab, *, frames: int = LEAST_FRAMES) -> Iterator[LabCapture]:
    """Capture on both ends of ``lab``, and on both sides of its link where it has one, until the block ends.

    ``frames`` is how many packets each point can hold. Raises CaptureError when the kernel refuses.
    """
    points = _points(lab)
    leaving = _leaving([point for point, _, _ in points])

    def opened(point: Point, host: Host, interface: str) -> CaptureRing:
        return CaptureRing(host.namespace, interface, frames=frames, only_tcp=point not in leaving)

    # Opening and closing wait for grace periods of RCU, some 35 ms a point in real time: all points wait together.
    with ThreadPoolExecutor(len(points)) as together, ExitStack() as resources:
        opening = [together.submit(opened, *each) for each in points]
        resources.callback(_close_all, together, opening)
        rings = [each.result() for each in opening]
        yield LabCapture({point: (interface, ring) for (point, _, interface), ring in zip(points, rings, strict=True)})


def _close_all(together: ThreadPoolExecutor, opening: Sequence[Future[CaptureRing]]) -> None:
    """Close the captures that could be opened."""
    rings = [each.result() for each in opening if each.exception() is None]
    list(together.map(CaptureRing.close, rings))


def frames_for(scenario: Scenario) -> int:
    """Return how many packets of ``scenario`` one point may see: data and ACKs both ways, doubled for losses."""
    traffic = scenario.traffic
    segment = scenario.mtu - (60 if scenario.family == 6 else 40) - 12
    each = -(-traffic.size // max(segment, 1))
    ways = 2 if traffic.server_writes else 1
    # A segment and its ACK, sent twice; then a handshake and a close for each connection.
    packets = traffic.flows * traffic.count * (4 * each * ways + (24 if traffic.kind == "connections" else 0))
    return min(MOST_FRAMES, max(LEAST_FRAMES, packets + 32 * traffic.flows))


def clock_offset_ns() -> int:
    """Return CLOCK_REALTIME minus CLOCK_MONOTONIC, at most a reading's duration too large and never too small.

    Both clocks are slewed alike (they are one clock and an offset, ``timekeeper.offs_real``), so the offset changes
    only when the wall clock is set. A value too large makes packets seem earlier by the difference, never later.
    """
    least = None
    for _ in range(_READINGS):
        before = time.monotonic_ns()
        offset = time.clock_gettime_ns(time.CLOCK_REALTIME) - before
        least = offset if least is None else min(least, offset)
    assert least is not None
    return least


def _leaving(points: Collection[Point]) -> tuple[Point, ...]:
    """Return the points where packets leave the link: its own, or the ends if they impair what they send."""
    link = (Point.LINK_NEAR, Point.LINK_FAR)
    return link if link[0] in points else (Point.CLIENT, Point.SERVER)


def _points(lab: Lab) -> list[tuple[Point, Host, str]]:
    points = [(Point.CLIENT, lab.client, lab.client.interface), (Point.SERVER, lab.server, lab.server.interface)]
    if lab.link is not None:
        near, far = lab.link.interfaces
        points[1:1] = [(Point.LINK_NEAR, lab.link, near), (Point.LINK_FAR, lab.link, far)]
    return points
