"""The relay's loop and its scheduling, with ports that are lists: what is sent when, and what is written down."""

from __future__ import annotations

import ctypes
import errno
import os
import time
from collections import deque
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from rttcheck_netns import Netem
from rttcheck_netns.relay import process
from rttcheck_netns.relay.clock import Clock
from rttcheck_netns.relay.journal import Count, Journal
from rttcheck_netns.relay.line import Fate, Line
from rttcheck_netns.relay.packets import recorded
from rttcheck_netns.relay.port import Port
from rttcheck_netns.relay.pump import Pump
from rttcheck_netns.relay.waiting import Waiting

MS = 1_000_000


class ListPort:
    """A port whose frames come from a list and go to another, with the time at which they went."""

    def __init__(self) -> None:
        self.coming: deque[tuple[int, bytes | None]] = deque()
        self.sent: list[tuple[int, bytes]] = []
        self.refuses = False
        self.ring_full = 0

    def ready(self) -> bool:
        return bool(self.coming)

    def seen_empty(self, now_ns: int) -> None:
        assert now_ns <= time.monotonic_ns()

    def take(self, _other: object) -> tuple[int, int, bytes | None]:
        taken_ns, frame = self.coming.popleft()
        return taken_ns, 60, frame

    def send(self, frame: bytes) -> None:
        if self.refuses:
            raise OSError(errno.ENETDOWN, "Network is down")
        self.sent.append((time.monotonic_ns(), frame))

    def dropped(self) -> int:
        counted, self.ring_full = self.ring_full, 0
        return counted


class Bench:
    """A pump between two such ports, which runs until nothing is left to do."""

    def __init__(self) -> None:
        fd = Journal.make(100)
        self.journal = Journal(fd)
        os.close(fd)
        self.near, self.far = ListPort(), ListPort()
        self.pump = Pump(
            cast(Port, self.near), cast(Port, self.far), self.journal, cast(Waiting, self), Clock()
        )  # what a pump asks of its ports and its waiting is here
        self.early_ns = 0
        self.looks = 0

    def sleep(self, until_ns: int, now_ns: int) -> bool:
        """Nothing that is due within an hour: the end. Otherwise wait, as the real one does."""
        if until_ns - now_ns > 1_000_000 * MS:
            return True
        while time.monotonic_ns() < until_ns:
            pass
        return False

    def ready(self, _at: int) -> bool:
        return True

    def watch_load(self, _now_ns: int) -> None:
        self.looks += 1

    def run(self, out: Netem | None, back: Netem | None = None) -> None:
        self.pump.impair(Line(out, 1), Line(back, 1))
        self.pump.run(lambda: True)

    def counted(self, direction: int, count: Count) -> int:
        return self.journal.counted(direction)[count]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.journal.close()


def test_each_frame_leaves_by_the_other_port_and_never_before_its_time(bench: Bench) -> None:
    start = time.monotonic_ns()
    bench.pump.impair(Line(Netem(delay_ns=20 * MS), 1), Line(Netem(delay_ns=5 * MS), 1))
    bench.near.coming += [(start, b"a"), (start + 1000, b"b")]
    bench.far.coming += [(start, b"c")]
    bench.pump.run(lambda: True)
    assert [frame for _, frame in bench.far.sent] == [b"a", b"b"]
    assert [frame for _, frame in bench.near.sent] == [b"c"]
    for (sent_ns, _), due_ns in zip(
        [*bench.far.sent, *bench.near.sent], [start + 20 * MS, start + 20 * MS + 1000, start + 5 * MS], strict=True
    ):
        assert sent_ns >= due_ns
    packets = recorded(bench.journal)
    assert (packets["released_ns"] >= packets["due_ns"]).all()
    assert [bench.counted(0, count) for count in (Count.TAKEN, Count.RELEASED, Count.RELEASED_BYTES)] == [2, 2, 120]
    assert [bench.counted(way, Count.WAITING) for way in (0, 1)] == [0, 0]
    assert [bench.counted(way, Count.WAITING_BYTES) for way in (0, 1)] == [0, 0]


def test_what_the_kernel_does_not_take_is_accounted_for(bench: Bench) -> None:
    bench.pump.impair(Line(Netem(delay_ns=MS), 1), Line(None, 0))
    bench.near.coming += [(time.monotonic_ns(), b"a")]
    bench.far.refuses = True
    bench.pump.run(lambda: True)
    assert recorded(bench.journal)["fate"].tolist() == [Fate.REFUSED]
    assert recorded(bench.journal)["released_ns"].tolist() == [0]
    assert [bench.counted(0, count) for count in (Count.REFUSED, Count.WAITING, Count.WAITING_BYTES)] == [1, 0, 0]


def test_a_frame_that_the_ring_cut_is_not_sent(bench: Bench) -> None:
    bench.pump.impair(Line(None, 0), Line(None, 0))
    bench.near.coming += [(time.monotonic_ns(), None)]
    bench.pump.run(lambda: True)
    assert bench.far.sent == []
    assert recorded(bench.journal)["fate"].tolist() == [Fate.REFUSED]
    assert (bench.counted(0, Count.REFUSED), bench.counted(0, Count.WAITING)) == (1, 0)


def test_what_came_before_a_change_belongs_to_the_old_impairment(bench: Bench) -> None:
    bench.pump.impair(Line(Netem(delay_ns=60_000 * MS), 1), Line(None, 0))
    bench.near.coming += [(time.monotonic_ns(), b"a")] * 3
    bench.near.ring_full = 7
    bench.run(None)
    assert bench.far.sent == []
    assert recorded(bench.journal)["fate"].tolist() == [Fate.REPLACED] * 3
    assert recorded(bench.journal)["setting"].tolist() == [0] * 3
    assert set(bench.journal.counted(0).values()) == {0}


def test_frames_that_found_the_ring_full_are_counted(bench: Bench) -> None:
    bench.pump.impair(Line(None, 0), Line(None, 0))
    bench.far.ring_full = 3
    bench.pump.run(lambda: True)
    assert (bench.counted(0, Count.RING_FULL), bench.counted(1, Count.RING_FULL)) == (0, 3)
    assert bench.looks >= 1


def test_packets_of_the_same_time_leave_in_the_order_in_which_they_came(bench: Bench) -> None:
    start = time.monotonic_ns()
    bench.pump.impair(Line(Netem(delay_ns=MS), 1), Line(None, 0))
    frames = [bytes([255 - number]) for number in range(40)]
    bench.near.coming += [(start, frame) for frame in frames]
    bench.pump.run(lambda: True)
    assert [frame for _, frame in bench.far.sent] == frames


@pytest.mark.parametrize("allowed", [True, False])
def test_the_scheduling_is_what_was_allowed(monkeypatch: pytest.MonkeyPatch, allowed: bool) -> None:
    def refused(*_: object) -> None:
        if not allowed:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refused)
    monkeypatch.setattr(os, "sched_setaffinity", refused)
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace(mlockall=lambda _flags: 0 if allowed else -1))
    assert process._scheduling(1) == (
        "SCHED_FIFO priority 40, on CPU 1"
        if allowed
        else "the normal scheduler, SCHED_FIFO is refused (Operation not permitted), "
        "not on CPU 1 (Operation not permitted), memory not locked"
    )
