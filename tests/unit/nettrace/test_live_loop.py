"""The live loop, fed by a probe that replays arrays: when it ends, what it hands on, what it writes."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest

from rttcheck.collect.probe.ring import EventRing
from rttcheck.nettrace.live import Interrupted, Stop, observe, stopped_by
from rttcheck.nettrace.output import InterfaceNames, Json, Output, OutputLost, Text
from rttcheck.nettrace.preparation import TracePlan, TraceRequest
from rttcheck.nettrace.printed import PrintedTrace
from rttcheck.nettrace.trace_point import TCP_ACK_UPDATE_RTT, PointStatus, TraceMode
from rttcheck.record.event import EVENT
from rttcheck.record.histogram import Histogram, Unit
from tests.support.observed_events import FROM_SACK, FROM_TIMESTAMP, NOTHING_TAKEN, event, events

NOTHING = np.zeros(0, EVENT)


class Replay:
    """A probe and its watch that hand over one array a poll, on a clock that only polls advance.

    Each array's time is spent before it is handed over; after the last one polls time out. ``stop_after`` asks for
    the end in the poll with that number.
    """

    def __init__(
        self, *batches: np.ndarray, every_s: float = 0.4, stop: Stop | None = None, stop_after: int | None = None
    ) -> None:
        self.batches = list(batches)
        self.every_s = every_s
        self.now = 1000.0
        self.asked: list[float] = []
        self.settings: dict[str, Any] = {}
        self.left: np.ndarray = NOTHING
        self.losses: dict[str, int] = {"ring_full": 0, "no_return": 0}
        self.counts = {unit: Histogram.of([], unit) for unit in Unit}
        self.open = False
        self._stop, self._stop_after = stop, stop_after

    def clock(self) -> float:
        return self.now

    @contextmanager
    def watch(self, inodes: tuple[int, ...] | None, **settings: Any) -> Iterator[Replay]:
        self.settings = {"inodes": inodes, **settings}
        self.open = True
        yield self
        self.open = False

    def poll(self, timeout_s: float) -> np.ndarray:
        self.asked.append(timeout_s)
        if self._stop is not None and len(self.asked) == self._stop_after:
            self._stop.asked = True
        if not self.batches or timeout_s < self.every_s:
            self.now += timeout_s
            return NOTHING
        self.now += self.every_s
        return self._hand_over(self.batches.pop(0))

    def events(self) -> np.ndarray:
        left, self.left = self.left, NOTHING
        return self._hand_over(left)

    def histograms(self) -> dict[str, np.ndarray]:
        return {unit.value: np.array(self.counts[unit].counts, np.uint64) for unit in Unit}

    def _hand_over(self, array: np.ndarray) -> np.ndarray:
        seen = array["first_rtt_us"][array["first_rtt_us"] >= 0]
        for unit in Unit:
            self.counts[unit] += Histogram.of(seen, unit)
        return array if self.settings["events"] else NOTHING


class Run:
    """One run of the observer over a replay: its output and its notes as text."""

    def __init__(
        self,
        replay: Replay,
        request: TraceRequest | None = None,
        *,
        style: Text | Json | None = None,
        unit: Unit = Unit.MS,
        stop: Stop | None = None,
        duration_s: float | None = None,
        count: int | None = None,
    ) -> None:
        request = request or TraceRequest(mode=TraceMode.DETAIL)
        plan = TracePlan(request=request, points=(PointStatus(TCP_ACK_UPDATE_RTT),), operations=("fexit",))
        to, notes = io.StringIO(), io.StringIO()
        output = Output(
            request=request,
            plan=plan,
            backend="fexit",
            style=style or Text(),
            unit=unit,
            to=to,
            notes=notes,
            limit=count,
        )
        observe(replay, request, output, stop=stop or Stop(), duration_s=duration_s, count=count, clock=replay.clock)
        self.text, self.notes = to.getvalue(), notes.getvalue()

    @property
    def capture(self) -> PrintedTrace:
        return PrintedTrace.parse(self.text)

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


def three() -> np.ndarray:
    return events({}, {"first_rtt_us": 40_000, "last_rtt_us": 40_000}, {"first_rtt_us": 64_455})


def test_detail_prints_a_line_for_each_event_and_totals_at_the_end() -> None:
    run = Run(Replay(three(), event()), duration_s=2.0)
    assert run.text.splitlines()[0] == "begin trace..."
    assert [line.message.first_us for line in run.capture.lines if line.message] == [20_781, 40_000, 64_455, 20_781]
    assert run.text.splitlines()[-3:] == ["end trace...", "total event: 4, 0 context skipped", "lost event: 0"]
    assert run.notes == ""


def test_the_beginning_is_said_when_the_probe_is_looking_and_not_before() -> None:
    replay = Replay()
    looking = []

    class Watcher(Output):
        def begin(self) -> None:
            looking.append(replay.open)
            super().begin()

    request = TraceRequest()
    plan = TracePlan(request=request, points=(PointStatus(TCP_ACK_UPDATE_RTT),), operations=("fexit",))
    to = io.StringIO()
    output = Watcher(request=request, plan=plan, backend="fexit", style=Text(), unit=Unit.MS, to=to, notes=to)
    observe(replay, request, output, stop=Stop(asked=True), clock=replay.clock)
    assert looking == [True]


def test_statistics_print_a_cumulative_table_at_once_every_second_and_at_the_end() -> None:
    replay = Replay(three(), event(), event(), every_s=0.4)
    run = Run(replay, TraceRequest(mode=TraceMode.STATISTICS), duration_s=2.5)
    assert [table.total for table in run.capture.tables] == [0, 4, 5, 5]
    assert run.capture.tables[-1] == Histogram.of([20_781, 40_000, 64_455, 20_781, 20_781], Unit.MS)
    assert run.capture.lines == ()
    assert run.capture.total == 5


def test_statistics_count_in_the_kernel_alone() -> None:
    replay = Replay()
    Run(replay, TraceRequest(mode=TraceMode.STATISTICS, port=7000, inodes=(4026531840,)), duration_s=0.1)
    assert replay.settings == {
        "inodes": (4026531840,),
        "port": 7000,
        "first_below_us": 0,
        "last_below_us": 0,
        "events": False,
    }


def test_the_table_is_in_the_unit_that_was_asked_for() -> None:
    run = Run(Replay(three()), TraceRequest(mode=TraceMode.STATISTICS), unit=Unit.US, duration_s=1.5)
    assert run.capture.tables[-1] == Histogram.of([20_781, 40_000, 64_455], Unit.US)


def test_filters_are_given_to_the_kernel_and_applied_again() -> None:
    replay = Replay(three())
    run = Run(replay, TraceRequest(mode=TraceMode.DETAIL, first_below_us=40_000, last_below_us=20_656), duration_s=1.0)
    assert (replay.settings["first_below_us"], replay.settings["last_below_us"]) == (40_000, 20_656)
    assert [line.message.first_us for line in run.capture.lines if line.message] == [40_000, 64_455]
    assert run.capture.total == 2


def test_samples_that_nettrace_does_not_see_are_counted_and_said() -> None:
    hidden = events({}, FROM_SACK, FROM_TIMESTAMP, NOTHING_TAKEN)
    run = Run(Replay(hidden), duration_s=1.0)
    assert len(run.capture.lines) == 1
    assert run.notes == (
        "NOTE: 2 samples came from SACK or timestamps, which nettrace does not show; --every-sample shows them\n"
    )


def test_every_sample_shows_them_and_keeps_the_kernels_filters_off() -> None:
    replay = Replay(events({}, FROM_SACK, FROM_TIMESTAMP, NOTHING_TAKEN))
    run = Run(replay, TraceRequest(mode=TraceMode.DETAIL, every_sample=True, first_below_us=40_000), duration_s=1.0)
    assert [line.remark for line in run.capture.lines] == ["from SACK", "from timestamp"]
    assert replay.settings["first_below_us"] == 0
    assert run.notes == ""


def test_a_table_of_every_sample_is_made_of_events() -> None:
    replay = Replay(events({}, FROM_SACK, FROM_TIMESTAMP, NOTHING_TAKEN), event())
    run = Run(replay, TraceRequest(mode=TraceMode.STATISTICS, every_sample=True), duration_s=1.5)
    assert replay.settings["events"] is True
    assert run.capture.tables[-1] == Histogram.of([20_781, 20_781, 41_000, 40_000], Unit.MS)
    assert run.capture.total == 4


def test_a_count_ends_the_trace_with_exactly_so_many_lines() -> None:
    replay = Replay(three(), three(), three())
    run = Run(replay, count=4)
    assert len(run.capture.lines) == run.capture.total == 4
    assert len(replay.batches) == 1


def test_a_count_ends_statistics_at_the_next_table() -> None:
    replay = Replay(*[three()] * 9, every_s=0.4)
    run = Run(replay, TraceRequest(mode=TraceMode.STATISTICS), count=7)
    assert [table.total for table in run.capture.tables] == [0, 6, 12, 12]


def test_a_duration_ends_the_trace_on_time_and_no_wait_is_longer_than_a_second() -> None:
    replay = Replay(every_s=0.25)
    Run(replay, duration_s=2.3)
    assert replay.now == pytest.approx(1002.3)
    assert replay.asked == pytest.approx([1.0, 1.0, 0.3])


def test_a_second_that_was_missed_is_not_made_up_for() -> None:
    class Slow(Replay):
        def histograms(self) -> dict[str, np.ndarray]:
            self.now += 3.2 if len(self.asked) == 1 else 0.0
            return super().histograms()

    run = Run(Slow(), TraceRequest(mode=TraceMode.STATISTICS), duration_s=6.0)
    # At 0, at 1 (which takes until 4.2), once for 2, 3 and 4, at 5, at 6 and for the end.
    assert len(run.capture.tables) == 6


def test_what_came_after_the_last_poll_is_shown_before_the_end() -> None:
    stop = Stop()
    replay = Replay(event(), stop=stop, stop_after=2)
    replay.left = three()
    run = Run(replay, stop=stop)
    assert not replay.open
    assert len(run.capture.lines) == run.capture.total == 4


def test_the_end_can_be_asked_for_before_it_begins() -> None:
    stop = Stop()
    stop.ask()
    replay = Replay(three())
    run = Run(replay, TraceRequest(mode=TraceMode.STATISTICS), stop=stop)
    assert replay.asked == []
    assert run.capture.total == 0
    assert run.capture.ended


def test_an_interrupted_wait_ends_the_trace_with_its_totals() -> None:
    class Broken(Replay):
        def poll(self, timeout_s: float) -> np.ndarray:
            if not self.batches:
                raise Interrupted
            return super().poll(timeout_s)

    run = Run(Broken(three()))
    assert run.capture.total == 3
    assert run.capture.ended


def test_lost_events_are_said_once_when_they_happen_and_counted_at_the_end() -> None:
    class Losing(Replay):
        def poll(self, timeout_s: float) -> np.ndarray:
            self.losses = {"ring_full": 5, "no_return": 2}
            return super().poll(timeout_s)

    run = Run(Losing(event()), duration_s=3.0)
    assert run.notes == (
        "WARN: 7 events were lost (ring_full: 5, no_return: 2 so far): watch fewer sockets with --port, --netns or a "
        "filter\n"
    )
    assert run.capture.lost == 7


def test_a_rule_that_held_gives_its_advice_once_at_the_end() -> None:
    run = Run(Replay(events({"taken": 0}, {"taken": 0})), duration_s=1.0)
    assert run.text.count("*a sample was offered and the kernel did not take it*") == 2
    assert run.notes.count("ADVICE: a sample was offered and the kernel did not take it: ") == 1


def test_the_long_line_and_colours_are_the_styles() -> None:
    run = Run(Replay(event(ifindex=3)), style=Text(long=True, colour=True), duration_s=0.5)
    line = run.text.splitlines()[1]
    assert "[cpu:1  ][if3  ][python3-504][ns:4026531840]" in line
    assert line.endswith("\x1b[0;33m *rtt:20.781ms, rtt_min:20.656ms*\x1b[0m")
    assert len(run.capture.lines) == 1


def test_json_is_one_object_a_line_from_beginning_to_end() -> None:
    run = Run(Replay(three()), style=Json(), duration_s=0.5)
    assert [record["type"] for record in run.records] == ["begin", "event", "event", "event", "end"]
    begin, end = run.records[0], run.records[-1]
    assert (begin["function"], begin["probe"], begin["mode"]) == ("tcp_ack_update_rtt", "fexit", "detail")
    assert (end["total"], end["lost"], end["losses"]) == (3, 0, {"ring_full": 0, "no_return": 0})
    assert run.records[1]["first_rtt_us"] == 20_781


def test_json_tables_say_their_unit() -> None:
    run = Run(Replay(three()), TraceRequest(mode=TraceMode.STATISTICS), style=Json(), unit=Unit.US, duration_s=0.5)
    table = run.records[-2]
    assert (table["type"], table["unit"], table["total"]) == ("histogram", "us", 3)
    assert Histogram.of_counts(table["counts"], Unit.US) == Histogram.of([20_781, 40_000, 64_455], Unit.US)


def test_an_interface_has_a_name_in_its_own_namespace_only() -> None:
    names = InterfaceNames()
    assert names(names.here, 1) == "lo"
    assert names(names.here + 1, 1) == "if1"
    assert names(names.here, 0) == names(names.here + 1, 0) == ""
    assert names(names.here, 1 << 30) == f"if{1 << 30}"


class FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device", text)


class ClosedPipe(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe", text)


def test_output_that_cannot_be_written_is_one_sentence_and_a_closed_pipe_is_none() -> None:
    request = TraceRequest()
    plan = TracePlan(request=request, points=(PointStatus(TCP_ACK_UPDATE_RTT),), operations=("fexit",))
    for to, error in ((FullDisk(), OutputLost), (ClosedPipe(), BrokenPipeError)):
        output = Output(
            request=request, plan=plan, backend="fexit", style=Text(), unit=Unit.MS, to=to, notes=io.StringIO()
        )
        with pytest.raises(error) as raised:
            output.begin()
        if error is OutputLost:
            assert "No space left on device" in str(raised.value)


def test_a_signal_asks_for_the_end_and_a_second_one_has_its_usual_effect() -> None:
    with pytest.raises(KeyboardInterrupt), stopped_by(signal.SIGINT, signal.SIGTERM) as stop:  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_signal_ends_the_wait_for_events_at_once() -> None:
    class NoEvents:
        """A ring into which nothing is ever written: the read end of a pipe."""

        def __init__(self, fd: int) -> None:
            self.call = self
            self.fd = fd

        def ring_buffer__epoll_fd(self, _: int) -> int:
            return self.fd

    read, write = os.pipe()
    with open(read), open(write, "w"), stopped_by(signal.SIGINT) as stop:  # noqa: PTH123 - these are descriptors
        ring = EventRing(NoEvents(read), 0, 0, EVENT)  # type: ignore[arg-type] # stands in for libbpf
        killer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        killer.start()
        started = time.monotonic()
        with pytest.raises(Interrupted):
            ring.wait(30.0)
        killer.join()
        assert stop.asked
        assert time.monotonic() - started < 10


def test_a_signal_while_events_are_in_hand_raises_nothing() -> None:
    with nullcontext(), stopped_by(signal.SIGTERM) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked
