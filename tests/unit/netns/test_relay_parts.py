"""The relay's parts that need no network: which frames it takes, its clock, its journal, what it refuses."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import time
from collections.abc import Iterator

import numpy as np
import pytest

from rttcheck_netns import Netem, NetnsError, RandomLoss, Slot, UnsupportedByEngine
from rttcheck_netns.relay import clock as clock_module
from rttcheck_netns.relay.clock import Clock
from rttcheck_netns.relay.forwarded import forwarded
from rttcheck_netns.relay.journal import UNRECORDED, Count, Journal, counter, tag
from rttcheck_netns.relay.line import Fate
from rttcheck_netns.relay.packets import lateness, recorded
from rttcheck_netns.relay.relay import refuse_unsupported
from rttcheck_netns.relay.waiting import Waiting

OWN = ("198.18.1.1", "2001:2:0:1::1", "198.18.2.1", "2001:2:0:2::1")


def ipv4(destination: str) -> bytes:
    return bytes(12) + b"\x08\x00" + bytes(16) + socket.inet_pton(socket.AF_INET, destination) + bytes(8)


def ipv6(destination: str) -> bytes:
    return bytes(12) + b"\x86\xdd" + bytes(24) + socket.inet_pton(socket.AF_INET6, destination) + bytes(8)


def takes(frame: bytes) -> bool:
    """Whether the kernel lets the frame through the program, on a socket that everybody may have."""
    program = forwarded(OWN)
    held = ctypes.create_string_buffer(program, len(program))
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with here, there:
        there.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HP", len(program) // 8, ctypes.addressof(held)))
        there.setblocking(False)
        try:
            here.send(frame)
            return there.recv(2048) == frame
        except (BlockingIOError, PermissionError):
            return False


@pytest.mark.parametrize("destination", ["198.18.2.2", "198.18.1.2", "10.0.0.1", "223.255.255.255"])
def test_ipv4_for_another_host_is_taken(destination: str) -> None:
    assert takes(ipv4(destination))


@pytest.mark.parametrize(
    "destination", ["2001:2:0:2::2", "2001:2:0:1::2", "2001:2:0:1::", "2001:2:0:2:0:1::1", "fd00::1"]
)
def test_ipv6_for_another_host_is_taken(destination: str) -> None:
    assert takes(ipv6(destination))


@pytest.mark.parametrize(
    "frame",
    [
        *(ipv6(address) if ":" in address else ipv4(address) for address in OWN),
        ipv4("224.0.0.1"),
        ipv4("255.255.255.255"),
        ipv6("ff02::1"),
        ipv6("fe80::1"),
        ipv6("febf::1"),
        bytes(12) + b"\x08\x06" + bytes(46),
        bytes(12) + b"\x81\x00" + bytes(46),
    ],
)
def test_what_is_the_links_own_is_left_to_its_kernel(frame: bytes) -> None:
    assert not takes(frame)


def test_a_timestamp_becomes_monotonic_and_never_too_early() -> None:
    clock = Clock()
    for _ in range(1000):
        before = time.monotonic_ns()
        taken = clock.monotonic(time.time_ns(), before)
        assert before <= taken <= time.monotonic_ns()
    assert clock.set_times == 0


class SetTime:
    """A settable time of day, in place of the machine's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead_ns = 0
        monkeypatch.setattr(clock_module, "_REALTIME", time.CLOCK_MONOTONIC)
        monotonic = time.clock_gettime_ns
        monkeypatch.setattr(time, "clock_gettime_ns", lambda which: monotonic(which) + self.ahead_ns)

    def now_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


@pytest.mark.parametrize("set_by_ns", [-3_600_000_000_000, -20_000_000, 20_000_000, 3_600_000_000_000])
def test_setting_the_time_of_day_is_noticed(monkeypatch: pytest.MonkeyPatch, set_by_ns: int) -> None:
    of_day = SetTime(monkeypatch)
    clock = Clock()
    of_day.ahead_ns = set_by_ns
    before = time.monotonic_ns()
    taken = clock.monotonic(of_day.now_ns(), before)
    assert before <= taken <= time.monotonic_ns()
    assert clock.set_times == 1


def test_a_packet_stamped_before_the_time_was_set_is_late_rather_than_early(monkeypatch: pytest.MonkeyPatch) -> None:
    of_day = SetTime(monkeypatch)
    clock = Clock()
    before = time.monotonic_ns()
    stamp = of_day.now_ns()
    of_day.ahead_ns = 3_600_000_000_000
    clock.monotonic(of_day.now_ns(), before)
    taken = clock.monotonic(stamp, before)
    assert before <= taken <= time.monotonic_ns()


@pytest.fixture
def journal() -> Iterator[Journal]:
    fd = Journal.make(3)
    made = Journal(fd)
    os.close(fd)
    yield made
    made.close()


def test_a_record_reads_as_it_was_written(journal: Journal) -> None:
    released = journal.enter(1000, 2000, tag(65_549, Fate.PASSED, 1, True, 32_767))
    journal.words[released + 2] = 2010
    journal.enter(1500, 0, tag(60, Fate.OVERFLOW, 0, False, 0))
    packets = recorded(journal)
    assert packets.tolist() == [
        (1000, 2000, 2010, 65_549, 32_767, 1, Fate.PASSED, 1),
        (1500, 0, 0, 60, 0, 0, Fate.OVERFLOW, 0),
    ]


def test_a_full_journal_counts_what_it_cannot_hold(journal: Journal) -> None:
    assert all(journal.enter(number + 1, 0, 0) for number in range(3))
    assert not any(journal.enter(number + 1, 0, 0) for number in range(5))
    assert recorded(journal)["taken_ns"].tolist() == [1, 2, 3]
    assert journal.words[UNRECORDED] == 5


def test_no_two_counters_share_a_word() -> None:
    words = [counter(direction, count) for direction in (0, 1) for count in Count]
    assert len({*words, 0, 1, 2}) == 2 * len(Count) + 3


def test_only_packets_that_were_held_and_released_are_late(journal: Journal) -> None:
    for due_ns, released_ns, fate in ((1000, 1003, Fate.PASSED), (1000, 0, Fate.PASSED), (0, 0, Fate.LOST)):
        journal.words[journal.enter(1, due_ns, tag(1, fate, 0, False, 0)) + 2] = released_ns
    assert (lateness(recorded(journal)).packets, lateness(recorded(journal)).max_ns) == (1, 3)
    assert lateness(recorded(journal)[:0]).packets == 0
    assert np.array_equal(recorded(journal)["released_ns"], [1003, 0, 0])


@pytest.mark.parametrize(
    ("asked", "setting"),
    [
        (Netem(loss=RandomLoss(1), ecn=True), "ecn"),
        (Netem(corrupt=1), "corrupt"),
        (Netem(slot=Slot(max_delay_ns=1)), "slot"),
        (Netem(delay_ns=2, jitter_ns=1, delay_correlation=1), "delay_correlation"),
    ],
)
def test_what_the_relay_cannot_do_is_refused_in_one_sentence(asked: Netem, setting: str) -> None:
    with pytest.raises(
        UnsupportedByEngine, match=rf"^netem back: {setting} was asked for .*use the engine netem$"
    ) as refused:
        refuse_unsupported("back", asked)
    assert isinstance(refused.value, NetnsError)
    assert "\n" not in str(refused.value)


def test_everything_else_is_taken() -> None:
    refuse_unsupported("out", None)
    refuse_unsupported("out", Netem(delay_ns=9, loss=RandomLoss(1), duplicate=1, reorder=1, rate_bytes=9, cell_size=48))


def test_waiting_ends_at_a_time_or_when_something_comes() -> None:
    here, there = socket.socketpair()
    with here, there:
        waiting = Waiting([here.fileno()])
        waiting.calibrate()
        now = time.monotonic_ns()
        assert not waiting.sleep(now + 2_000_000, now)
        assert time.monotonic_ns() >= now + 2_000_000
        assert not waiting.ready(0)
        there.send(b"x")
        now = time.monotonic_ns()
        assert waiting.sleep(now + 60_000_000_000, now)
        assert waiting.ready(0)
        assert time.monotonic_ns() < now + 30_000_000_000


def test_a_busy_process_does_not_busy_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    used = 0
    monkeypatch.setattr(time, "thread_time_ns", lambda: used)
    waiting = Waiting([])
    waiting.calibrate()
    start = time.monotonic_ns()
    assert waiting.early_ns > 0
    used = 900_000_000
    waiting.watch_load(start + 1_000_000_000)
    assert waiting.early_ns == 0
    waiting.watch_load(start + 2_000_000_000)
    assert waiting.early_ns > 0


def test_on_a_single_core_it_does_not_busy_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    waiting = Waiting([])
    waiting.calibrate()
    assert waiting.early_ns == 0


def test_on_one_core_of_several_it_busy_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {1})
    alone, beside = Waiting([], cores=1), Waiting([], cores=2)
    for waiting in (alone, beside):
        waiting.calibrate()
    assert (alone.early_ns == 0, beside.early_ns > 0) == (True, True)
