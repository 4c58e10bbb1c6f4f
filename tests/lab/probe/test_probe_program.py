"""The program's own logic, run by the kernel on planted calls: buckets, filters, identities, losses.

BPF_PROG_TEST_RUN needs neither kprobes nor fexit, so that this runs on kernels that allow no tracing.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from rttcheck.collect.probe.backend import Opened
from rttcheck.collect.probe.bpf_object import load_object
from rttcheck.collect.probe.libbpf import Refused, libbpf
from rttcheck.collect.probe.probe import OBJECT, Probe, require_privilege
from rttcheck.collect.probe.ring import open_ring
from rttcheck.errors import CapabilityError
from rttcheck.record.event import BUCKETS, EVENT, FLAG_SYN_ACKED
from rttcheck.record.view import WHOLE

Call = Callable[..., None]

RING_EVENTS = 4096 // (EVENT.itemsize + 8)


class TestRunOptions(ctypes.Structure):
    """``struct bpf_test_run_opts`` of libbpf, as far as it is used here."""

    __test__ = False
    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("data", ctypes.c_void_p * 2),
        ("data_sizes", ctypes.c_uint32 * 2),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("rest", ctypes.c_uint32 * 5),
    )


@pytest.fixture(scope="module")
def planted() -> Iterator[tuple[Probe, Call]]:
    """A probe whose calls are made by the test, in a ring of one page."""
    try:
        require_privilege()
    except CapabilityError as error:
        pytest.skip(str(error))
    run = libbpf().call.bpf_prog_test_run_opts
    run.argtypes = (ctypes.c_int, ctypes.c_void_p)
    with (
        load_object(OBJECT, {"rtt_test_run": None}, {"events": 4096}) as loaded,
        open_ring(loaded.map("events").fd, EVENT) as ring,
    ):
        fd = loaded.program_fd("rtt_test_run")

        def call(
            first: int = -1, sack: int = -1, last: int = -1, *, sk: int = 8, flag: int = 0, taken: bool = True
        ) -> None:
            arguments = (ctypes.c_int64 * 7)(sk, flag, first, sack, last, 0, taken)
            options = TestRunOptions(
                sz=ctypes.sizeof(TestRunOptions),
                ctx_in=ctypes.addressof(arguments),
                ctx_size_in=ctypes.sizeof(arguments),
            )
            libbpf().check(run(fd, ctypes.byref(options)), "run the program")

        yield Probe("fexit", (), Opened(loaded, ring, WHOLE, "nothing")), call


@pytest.fixture
def probe(planted: tuple[Probe, Call]) -> Probe:
    return planted[0]


@pytest.fixture
def call(planted: tuple[Probe, Call]) -> Call:
    return planted[1]


def bucket(histogram: np.ndarray) -> int:
    """The one bucket that holds the one count."""
    assert histogram.sum() == 1
    return int(histogram.argmax())


EDGES = [
    (0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (7, 2), (8, 3), (15, 3), (16, 4), (31, 4), (32, 5), (63, 5), (64, 6),
    (127, 6), (128, 7), (255, 7), (256, 8), (511, 8), (512, 9), (1023, 9), (1024, 10), (2047, 10), (2048, 11),
    (4095, 11), (4096, 12), (8191, 12), (8192, 13), (16383, 13), (16384, 14), (32767, 14), (32768, 15), (65535, 15),
    (65536, 16), (10**9, 16), (2**62, 16),
]  # fmt: skip
"""nettrace's buckets: the values at their two ends."""


@pytest.mark.parametrize(("value", "expected"), EDGES)
def test_a_value_is_counted_in_nettraces_bucket(probe: Probe, call: Call, value: int, expected: int) -> None:
    with probe.watch(None) as watch:
        call(value)
    assert bucket(watch.histograms()["us"]) == expected
    if value < 2**62 // 1000:
        for microseconds in (value * 1000, value * 1000 + 999):
            with probe.watch(None) as watch:
                call(microseconds)
            assert bucket(watch.histograms()["ms"]) == expected


def test_a_call_without_a_first_acked_sample_is_an_event_and_in_no_histogram(probe: Probe, call: Call) -> None:
    with probe.watch(None) as watch:
        call(first=-1, sack=30, last=20)
    assert watch.histograms()["us"].sum() == watch.histograms()["ms"].sum() == 0
    assert len(watch.events()) == watch.calls == 1


def test_the_arguments_are_kept_apart(probe: Probe, call: Call) -> None:
    with probe.watch(None) as watch:
        call(first=300, sack=200, last=100, sk=64, flag=0x10004, taken=True)
    (event,) = watch.events()
    assert (event["first_rtt_us"], event["sack_rtt_us"], event["last_rtt_us"]) == (300, 200, 100)
    assert (event["sk"], event["flag"], event["taken"]) == (64, 0x10004, 1)
    assert event["watch"] == watch.number


@pytest.mark.parametrize(
    ("first", "sack", "taken", "sample"),
    [
        (300, 200, True, 300),
        (0, 200, True, 0),
        (-1, 200, True, 200),
        (-1, 0, True, 0),
        (-1, -1, True, 0),  # rs->rtt_us of a rate sample that is none
        (300, 200, False, -1),
        (-1, -1, False, -1),
    ],
)
def test_the_sample_is_what_the_estimator_was_fed(
    probe: Probe, call: Call, first: int, sack: int, taken: bool, sample: int
) -> None:
    with probe.watch(None) as watch:
        call(first, sack, 100, taken=taken)
    assert watch.events()["sample_us"].tolist() == [sample]


@pytest.mark.parametrize(
    ("filters", "first", "last", "seen"),
    [
        ({"first_below_us": 500}, 499, 900, False),
        ({"first_below_us": 500}, 500, 0, True),
        ({"first_below_us": 500}, -1, 900, False),
        ({"last_below_us": 500}, 900, 499, False),
        ({"last_below_us": 500}, 0, 500, True),
        ({"last_below_us": 500}, -1, 900, False),
        ({"first_below_us": 1}, 0, 0, False),
        ({"first_below_us": 500, "last_below_us": 300}, 500, 300, True),
        ({"first_below_us": 500, "last_below_us": 300}, 500, 299, False),
        ({}, -1, -1, True),
    ],
)
def test_the_filters_are_nettraces(
    probe: Probe, call: Call, filters: dict[str, int], first: int, last: int, seen: bool
) -> None:
    with probe.watch(
        None, first_below_us=filters.get("first_below_us", 0), last_below_us=filters.get("last_below_us", 0)
    ) as watch:
        call(first=first, last=last)
    assert (len(watch.events()), watch.calls, watch.lost) == (seen, seen, 0)
    assert watch.histograms()["us"].sum() == (seen and first >= 0)


def test_a_namespace_that_is_not_watched_is_not_seen(probe: Probe, call: Call) -> None:
    # The planted socket's namespace reads as 0.
    with probe.watch([1, 2, 3]) as watch:
        call(first=5)
    assert watch.calls == 0
    with probe.watch([1, 0, 3]) as watch:
        call(first=5)
    assert watch.calls == 1


def test_a_port_that_is_not_watched_is_not_seen(probe: Probe, call: Call) -> None:
    with probe.watch(None, port=7000) as watch:
        call(first=5)
    assert watch.calls == 0


def test_no_watch_sees_nothing(probe: Probe, call: Call) -> None:
    with probe.watch(None) as watch:
        pass
    call(first=5)
    assert (len(watch.events()), watch.calls) == (0, 0)
    with probe.watch(None) as watch:
        assert len(watch.events()) == 0


def test_events_beyond_the_ring_are_lost_and_counted_and_reading_makes_room(probe: Probe, call: Call) -> None:
    with probe.watch(None) as watch:
        for value in range(RING_EVENTS + 3):
            call(first=value)
        assert watch.events()["first_rtt_us"].tolist() == list(range(RING_EVENTS))
        assert watch.losses["ring_full"] == watch.lost == 3
        call(first=77)
    assert watch.events()["first_rtt_us"].tolist() == [77]
    assert watch.calls == RING_EVENTS + 4
    assert watch.histograms()["us"].sum() == RING_EVENTS + 4
    with probe.watch(None) as watch:
        assert watch.lost == 0


def test_statistics_write_no_event_and_events_no_histogram(probe: Probe, call: Call) -> None:
    with probe.watch(None, events=False) as watch:
        call(first=5)
    assert (len(watch.events()), int(watch.histograms()["us"].sum())) == (0, 1)
    with probe.watch(None, histogram=False) as watch:
        call(first=5)
    assert (len(watch.events()), int(watch.histograms()["us"].sum())) == (1, 0)


def generations(probe: Probe, calls: list[Callable[[], None]]) -> list[int]:
    """For each call the index of the first one with the same generation."""
    with probe.watch(None) as watch:
        for make in calls:
            make()
    made = watch.events()["generation"].tolist()
    assert len(made) == len(calls)
    return [made.index(generation) for generation in made]


def test_a_handshake_begins_a_new_generation_of_the_same_address(probe: Probe, call: Call) -> None:
    def handshake() -> None:
        call(first=20, flag=FLAG_SYN_ACKED, sk=0x1000)

    def data() -> None:
        call(first=10, flag=4, sk=0x1000)

    assert generations(probe, [handshake, data, data, handshake, data]) == [0, 0, 0, 3, 3]


def test_the_second_call_of_a_passive_open_without_a_sample_is_the_same_connection(probe: Probe, call: Call) -> None:
    def handshake(taken: bool) -> Callable[[], None]:
        return lambda: call(flag=FLAG_SYN_ACKED, taken=taken, sk=0x2000)

    assert generations(probe, [handshake(False), handshake(True), handshake(True)]) == [0, 0, 2]


def test_two_addresses_are_two_connections(probe: Probe, call: Call) -> None:
    assert generations(probe, [lambda: call(first=1, sk=0x3000), lambda: call(first=1, sk=0x3100)]) == [0, 1]


def test_an_object_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"refused to open .*nothing\.o with ENOENT"):
        load_object(tmp_path / "nothing.o", {}, {}).__enter__()


def test_there_are_as_many_buckets_as_in_nettrace() -> None:
    assert BUCKETS == 17
    assert {expected for _, expected in EDGES} == set(range(BUCKETS))
