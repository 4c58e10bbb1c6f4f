"""Which kernels may run at the same time, and in which order they start."""

from __future__ import annotations

import os

import pytest

from rttcheck.kernels.guest import GuestSettings
from rttcheck.plugin.kernel_run import KernelRun
from rttcheck.plugin.slots import LocalMachine, Slots, guest_slots, start_order


def guest(asked: str, *, exact: str = "debian:6.12.9") -> KernelRun:
    return KernelRun(asked=asked, release=asked, name=asked, settings=GuestSettings(kernel=asked), exact=exact)


HOST = KernelRun(asked="host", release="6.0", name="host")


def test_the_running_kernel_has_the_machine_for_itself() -> None:
    slots = Slots([LocalMachine(slots=4)])
    one, two = guest("debian:6.1"), guest("debian:6.12")
    assert slots.take(HOST) is not None
    assert slots.take(one) is None
    slots.leave(HOST)
    assert slots.take(one) is not None
    assert slots.take(HOST) is None
    assert slots.take(two) is not None
    slots.leave(one)
    assert slots.take(HOST) is None
    slots.leave(two)
    assert slots.take(HOST) is not None


def test_no_more_guests_than_seats() -> None:
    slots = Slots([LocalMachine(slots=1), LocalMachine(slots=1, name="other")])
    first, second, third = map(guest, ("a", "b", "c"))
    machines = [slots.take(first), slots.take(second)]
    assert [machine.name for machine in machines if machine is not None] == ["", "other"]
    assert slots.take(third) is None
    slots.leave(second)
    assert slots.take(HOST) is None, "the running kernel is this machine's"
    assert slots.take(third) is not None


def test_a_kernel_given_by_its_path_is_on_this_machine_only() -> None:
    slots = Slots([LocalMachine(slots=0), LocalMachine(slots=1, name="other")])
    mine = guest("./bzImage", exact="")
    assert slots.take(mine) is None
    assert not slots.may_wait(mine)
    assert slots.may_wait(guest("debian:6.12"))
    slots.machines[0] = LocalMachine(slots=1)
    assert slots.may_wait(mine)


def test_a_lost_machine_gets_no_run() -> None:
    away = LocalMachine(slots=3, name="other")
    slots = Slots([away])
    assert slots.may_wait(guest("a"))
    slots.close(away)
    assert slots.take(guest("a")) is None
    assert not slots.may_wait(guest("a"))


@pytest.mark.parametrize(
    ("cores", "clock", "memory_mb", "slots"),
    [(4, "virtual", 99_999, 4), (4, "real", 99_999, 2), (4, "virtual", 2_600, 2), (1, "real", 100, 1)],
)
def test_guests_share_neither_core_nor_memory(
    monkeypatch: pytest.MonkeyPatch, cores: int, clock: str, memory_mb: int, slots: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert guest_slots([GuestSettings(kernel="x", clock=clock)], available_mb=memory_mb) == slots


def test_available_memory_is_read_by_default() -> None:
    assert guest_slots([GuestSettings(kernel="x")]) >= 1


def test_the_running_kernel_is_first_then_the_longest_and_the_unknown_before_all() -> None:
    runs = [guest("short"), guest("long"), HOST, guest("new")]
    turn = start_order(runs, {"short": 3.0, "long": 30.0})
    assert [run.asked for run in turn] == ["host", "new", "long", "short"]
