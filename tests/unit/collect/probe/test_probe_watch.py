"""The order in which a watch sets and reads the program's maps, on planted maps."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rttcheck.collect.probe.watch import Watch, ticks_per_second
from rttcheck.errors import ProbeError
from rttcheck.record.event import CONFIG, COUNTS, EVENT, ProbeMode

BOTH = ProbeMode.EVENTS | ProbeMode.HISTOGRAM


class Kernel:
    """Stands for the loaded object and its ring: maps as dicts, and a log of what was done to them."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.maps: dict[str, dict[bytes, bytes]] = {}
        self.ring: list[np.ndarray] = []
        self.skips: tuple[int, ...] = (5,)
        self.on_barrier: Callable[[], None] = lambda: None

    def map(self, name: str) -> Map:
        return Map(self, name)

    def skipped(self) -> tuple[int, ...]:
        return self.skips

    def take(self) -> np.ndarray:
        self.log.append("take")
        events = np.concatenate(self.ring) if self.ring else np.empty(0, EVENT)
        self.ring.clear()
        return events

    def wait(self, timeout_s: float) -> bool:
        self.log.append(f"wait {timeout_s}")
        return bool(self.ring)

    def event(self, watch: int, first_rtt_us: int = 7) -> None:
        event = np.zeros(1, EVENT)
        event["watch"] = watch
        event["first_rtt_us"] = first_rtt_us
        self.ring.append(event)

    @property
    def config(self) -> Any:
        return np.frombuffer(self.maps["config"][bytes(4)], CONFIG)[0]


class Map:
    def __init__(self, kernel: Kernel, name: str) -> None:
        self.fd = 42
        self._kernel = kernel
        self._name = name
        self._content = kernel.maps.setdefault(name, {})

    def update(self, key: bytes, value: bytes) -> None:
        detail = f" {int(np.frombuffer(value, CONFIG)[0]['modes'])}" if self._name == "config" else ""
        self._kernel.log.append(f"update {self._name}{detail}")
        self._content[key] = value
        if self._name == "barrier":
            self._kernel.on_barrier()

    def lookup(self, key: bytes, size: int) -> bytes:
        self._kernel.log.append(f"lookup {self._name}")
        return self._content[key][:size]

    def clear(self, key_size: int) -> int:
        self._kernel.log.append(f"clear {self._name}")
        assert all(len(key) == key_size for key in self._content)
        count = len(self._content)
        self._content.clear()
        return count


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


def started(kernel: Kernel, number: int = 3, **filters: Any) -> Watch:
    watch = Watch(kernel, kernel, number)  # type: ignore[arg-type]  # the stand-in has what a watch uses
    watch.start(
        filters.get("inodes", (11, 12)),
        port=filters.get("port", 0),
        first_below_us=filters.get("first_below_us", 0),
        last_below_us=filters.get("last_below_us", 0),
        mode=filters.get("mode", BOTH),
    )
    return watch


def test_the_programs_are_turned_on_last_after_everything_else_is_in_place(kernel: Kernel) -> None:
    started(kernel)
    assert kernel.log[-2:] == ["update config 0", f"update config {int(BOTH)}"]
    assert {"clear namespaces", "clear calls", "update counts", "take"} <= set(kernel.log[:-2])


def test_the_filters_reach_the_program(kernel: Kernel) -> None:
    started(kernel, port=7000, first_below_us=1500, last_below_us=900)
    assert set(kernel.maps["namespaces"]) == {struct.pack("=I", 11), struct.pack("=I", 12)}
    config = kernel.config
    assert (config["watch"], config["filter_netns"], config["port"]) == (3, 1, 7000)
    assert (config["first_below_us"], config["last_below_us"]) == (1500, 900)
    assert config["hz"] == ticks_per_second()


def test_a_watch_of_all_namespaces_filters_none(kernel: Kernel) -> None:
    started(kernel, inodes=None)
    assert kernel.config["filter_netns"] == 0
    assert kernel.maps["namespaces"] == {}


def test_a_watch_of_no_namespace_sees_none(kernel: Kernel) -> None:
    started(kernel, inodes=())
    assert kernel.config["filter_netns"] == 1


def test_the_namespaces_of_an_earlier_watch_are_removed(kernel: Kernel) -> None:
    started(kernel, inodes=(1, 2)).stop()
    started(kernel, number=4, inodes=(3,))
    assert set(kernel.maps["namespaces"]) == {struct.pack("=I", 3)}


def test_what_the_ring_held_before_the_start_is_not_of_this_watch(kernel: Kernel) -> None:
    kernel.event(watch=3)
    assert len(started(kernel).events()) == 0


def test_an_event_of_a_program_that_outlived_its_watch_is_dropped(kernel: Kernel) -> None:
    watch = started(kernel)
    kernel.event(watch=2, first_rtt_us=1)
    kernel.event(watch=3, first_rtt_us=2)
    assert watch.events()["first_rtt_us"].tolist() == [2]


def test_each_event_is_returned_once(kernel: Kernel) -> None:
    watch = started(kernel)
    kernel.event(watch=3)
    assert len(watch.events()) == 1
    assert len(watch.events()) == 0
    kernel.event(watch=3)
    watch.stop()
    assert len(watch.events()) == 1
    assert len(watch.events()) == 0


def test_stopping_waits_for_running_programs_before_it_reads(kernel: Kernel) -> None:
    watch = started(kernel)
    kernel.log.clear()
    kernel.on_barrier = lambda: kernel.event(watch=3)
    watch.stop()
    order = [step for step in kernel.log if step in ("update config 0", "update barrier", "take", "lookup counts")]
    assert order == ["update config 0", "update barrier", "take", "lookup counts"]
    assert len(watch.events()) == 1, "the event of a program that was running when the watch was stopped"


def test_stopping_twice_keeps_the_first_readings(kernel: Kernel) -> None:
    watch = started(kernel)
    counts = np.zeros((), COUNTS)
    counts["us"][4] = 9
    counts["calls"] = 9
    kernel.maps["counts"][bytes(4)] = counts.tobytes()
    watch.stop()
    kernel.maps["counts"][bytes(4)] = bytes(COUNTS.itemsize)
    watch.stop()
    assert watch.calls == 9
    assert watch.histograms()["us"].tolist() == [0] * 4 + [9] + [0] * 12
    assert watch.histograms()["ms"].tolist() == [0] * 17


def test_every_kind_of_loss_is_named_and_summed(kernel: Kernel) -> None:
    watch = started(kernel)
    counts = np.zeros((), COUNTS)
    for amount, name in enumerate(("lost_ring_full", "lost_no_return", "lost_calls_full", "lost_no_identity"), 1):
        counts[name] = amount
    kernel.maps["counts"][bytes(4)] = counts.tobytes()
    kernel.skips = (11,)
    # Two calls whose return was never seen are still in the map of calls in progress.
    kernel.maps["calls"].update({bytes(8): b"", b"\1" * 8: b""})
    watch.stop()
    assert watch.losses == {"ring_full": 1, "no_return": 4, "calls_full": 3, "no_identity": 4, "skipped": 6}
    assert watch.lost == 18


@pytest.mark.parametrize(
    ("skips", "stood_in", "lost"),
    [
        ((10, 0, 7, 1), 7, 0),  # others recorded all seven
        ((10, 8, 9, 1), 5, 0),  # the last was skipped in other calls than these
        ((10, 8, 9, 3), 5, 2),
        ((3, 8, 9, 3), 1, 0),  # turned on in the middle of a call
    ],
)
def test_a_call_is_lost_only_when_every_program_was_skipped(
    kernel: Kernel, skips: tuple[int, ...], stood_in: int, lost: int
) -> None:
    kernel.skips = (3, 0, 7, 1)
    watch = started(kernel)
    counts = np.zeros((), COUNTS)
    counts["stood_in"] = stood_in
    kernel.maps["counts"][bytes(4)] = counts.tobytes()
    kernel.skips = skips
    watch.stop()
    assert watch.losses["skipped"] == watch.lost == lost


def test_polling_turns_waking_on_and_only_then(kernel: Kernel) -> None:
    watch = started(kernel)
    assert not kernel.config["modes"] & ProbeMode.WAKE
    assert len(watch.poll(0.5)) == 0
    assert kernel.config["modes"] == int(BOTH | ProbeMode.WAKE)
    assert kernel.log[-1] == "wait 0.5"
    kernel.event(watch=3)
    assert len(watch.poll(0.5)) == 1


def test_polling_a_stopped_watch_does_not_wait(kernel: Kernel) -> None:
    watch = started(kernel)
    watch.stop()
    kernel.log.clear()
    assert len(watch.poll(60)) == 0
    assert kernel.log == []


def test_more_namespaces_than_the_program_can_filter_are_refused(kernel: Kernel) -> None:
    with pytest.raises(ProbeError, match=r"257 network namespaces .* at most 256"):
        started(kernel, inodes=range(257))


def test_a_port_that_is_none_is_refused(kernel: Kernel) -> None:
    with pytest.raises(ProbeError, match="port 65536"):
        started(kernel, port=65536)


def test_hz_is_one_that_kernels_are_built_with() -> None:
    assert ticks_per_second() in {100, 250, 300, 1000}
