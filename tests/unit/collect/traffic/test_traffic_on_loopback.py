"""Traffic between two ends of the loopback: the order of things, pauses, failures. No root, no namespace."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from rttcheck.collect.traffic import TIMING, run_traffic
from rttcheck.collect.traffic.endpoint import TcpEndpoint
from rttcheck.collect.traffic.pattern import CHUNK_BYTES, PingPong
from rttcheck.collect.traffic.threads import TrafficThreads
from rttcheck.errors import ScenarioError, TrafficError
from rttcheck.record.event import TcpState
from rttcheck.scenario.model import Scenario, Step
from rttcheck.scenario.traffic import Traffic
from rttcheck_netns.netem import Netem

if TYPE_CHECKING:
    from rttcheck_netns import Lab


class Here:
    """Stands for a namespace: the one that the test is in."""

    def entered(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def socket(self, family: int, kind: int) -> socket.socket:
        return socket.socket(family, kind)


@dataclass(frozen=True)
class Host:
    namespace: Here
    ipv4: str = "127.0.0.1"
    ipv6: str = "::1"


@dataclass(frozen=True)
class Loopback:
    client: Host
    server: Host


LOOPBACK = cast("Lab", Loopback(Host(Here()), Host(Here())))


def scenario(traffic: Traffic, *, family: int = 4, after: tuple[int, ...] = ()) -> Scenario:
    """Any user may take reno; cubic is up to the machine's administrator."""
    steps = tuple(Step(after=each, out=Netem(), back=Netem()) for each in after)
    base = Scenario(name="loopback", out=Netem(), back=Netem(), traffic=replace(traffic, congestion="reno"))
    return replace(base, family=4 if family == 4 else 6, steps=steps)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Each test ends with the threads and descriptors that it began with."""
    threads, descriptors = set(threading.enumerate()), open_descriptors()
    yield
    assert set(threading.enumerate()) == threads
    assert open_descriptors() == descriptors


KINDS = {
    "pingpong": Traffic(kind="pingpong", count=20, size=3),
    "oneway": Traffic(kind="oneway", count=20, size=7),
    "paced": Traffic(kind="paced", count=5, interval_us=2_000),
    "bulk": Traffic(kind="bulk", size=3 * CHUNK_BYTES + 17),
    "connections": Traffic(kind="connections", count=5, size=2),
}
BYTES_TO_SERVER = {"pingpong": 60, "oneway": 140, "paced": 5, "bulk": 3 * CHUNK_BYTES + 17, "connections": 2}
BYTES_TO_CLIENT = {"pingpong": 60, "oneway": 0, "paced": 0, "bulk": 0, "connections": 2}
ROWS = {"pingpong": 20, "oneway": 20, "paced": 5, "bulk": 4, "connections": 1}


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_exchanges_all_its_data(kind: str, family: int) -> None:
    flows = run_traffic(LOOPBACK, scenario(KINDS[kind], family=family)).flows
    assert len(flows) == (5 if kind == "connections" else 1)
    for flow in flows:
        assert flow.server_info.value("bytes_received") == BYTES_TO_SERVER[kind]
        assert flow.client_info.value("bytes_received") == BYTES_TO_CLIENT[kind]
        assert flow.timings.dtype == TIMING
        assert flow.timings.shape == (ROWS[kind],)
        assert flow.client_address[0] == flow.server_address[0] == ("127.0.0.1" if family == 4 else "::1")
        assert flow.client_address[1] != flow.server_address[1]
        assert 0 < flow.client_cookie != flow.server_cookie > 0


@pytest.mark.parametrize("kind", KINDS)
def test_tcp_info_is_of_the_end_of_the_traffic_and_before_any_fin(kind: str) -> None:
    for flow in run_traffic(LOOPBACK, scenario(KINDS[kind])).flows:
        for info in (flow.client_info, flow.server_info):
            assert info.state is TcpState.ESTABLISHED
            assert info.unacked == info.value("notsent_bytes") == 0


@pytest.mark.parametrize("kind", KINDS)
def test_times_are_in_order(kind: str) -> None:
    before_ns = time.monotonic_ns()
    flows = run_traffic(LOOPBACK, scenario(KINDS[kind])).flows
    after_ns = time.monotonic_ns()
    for flow in flows:
        moments = [before_ns, flow.started_ns, flow.connected_ns]
        for row in flow.timings:
            moments += [int(row["sent_ns"]), int(row["done_ns"])]
        moments += [flow.finished_ns, after_ns]
        assert moments == sorted(moments)
    assert [flow.started_ns for flow in flows] == sorted(flow.started_ns for flow in flows)


def test_flows_run_at_once_and_keep_their_number() -> None:
    flows = run_traffic(LOOPBACK, scenario(Traffic(count=10, flows=16))).flows
    assert [flow.flow for flow in flows] == list(range(16))
    assert len({flow.client_address for flow in flows}) == 16
    assert len({flow.server_address for flow in flows}) == 1
    assert len({cookie for flow in flows for cookie in (flow.client_cookie, flow.server_cookie)}) == 32
    # All are connected before the first one sends anything.
    assert max(flow.connected_ns for flow in flows) <= min(int(flow.timings["sent_ns"][0]) for flow in flows)


def test_many_connections_of_many_flows_all_come_through() -> None:
    flows = run_traffic(LOOPBACK, scenario(Traffic(kind="connections", count=12, flows=4))).flows
    assert [flow.flow for flow in flows] == [flow for flow in range(4) for _ in range(12)]
    assert len({flow.client_address for flow in flows}) == 48


def test_paced_writes_keep_their_interval() -> None:
    flow = run_traffic(LOOPBACK, scenario(Traffic(kind="paced", count=11, interval_us=3_000))).flows[0]
    since_first_ns = flow.timings["sent_ns"] - flow.timings["sent_ns"][0]
    assert (since_first_ns + 200_000 >= np.arange(11, dtype=np.uint64) * 3_000_000).all()


def test_a_late_paced_write_does_not_put_off_the_next_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    turns_ns: list[int] = []
    monkeypatch.setattr(TrafficThreads, "await_time", lambda _, at_ns: turns_ns.append(at_ns))
    run_traffic(LOOPBACK, scenario(Traffic(kind="paced", count=11, interval_us=3_000)))
    assert np.diff(turns_ns).tolist() == [3_000_000] * 9


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "bulk"])
def test_a_step_is_taken_once_after_its_exchanges_with_all_flows_still(kind: str) -> None:
    taken: list[tuple[int, int]] = []
    asked = scenario(replace(KINDS[kind], flows=3), after=(1, 4))
    flows = run_traffic(LOOPBACK, asked, on_step=lambda index: taken.append((index, time.monotonic_ns()))).flows
    assert [index for index, _ in taken] == [0, 1]
    for after, (_, at_ns) in zip((1, 4), taken, strict=True):
        for number in range(3):
            rows = np.concatenate([flow.timings for flow in flows if flow.flow == number])
            assert (rows["done_ns"][:after] <= at_ns).all()
            assert (rows["sent_ns"][after:] >= at_ns).all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_done_at_the_start_is_done_once_with_all_flows_still(kind: str) -> None:
    started: list[int] = []
    asked = scenario(replace(KINDS[kind], flows=3))
    flows = run_traffic(LOOPBACK, asked, on_start=lambda: started.append(time.monotonic_ns())).flows
    (at_ns,) = started
    for flow in flows:
        assert (flow.timings["sent_ns"] >= at_ns).all()
        assert (flow.connected_ns <= at_ns) == (kind != "connections")


def test_a_step_of_bulk_counts_writes() -> None:
    taken: list[int] = []
    flow = run_traffic(
        LOOPBACK, scenario(KINDS["bulk"], after=(2,)), on_step=lambda _: taken.append(time.monotonic_ns())
    ).flows[0]
    assert len(taken) == 1
    assert flow.timings["done_ns"][1] <= taken[0] <= flow.timings["sent_ns"][2]


def test_at_a_step_everything_is_acknowledged_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[TcpEndpoint] = []
    real = TcpEndpoint.cookie

    def noted(end: TcpEndpoint) -> int:
        ends.append(end)
        return real(end)

    monkeypatch.setattr(TcpEndpoint, "cookie", noted)
    seen: list[tuple[int, int]] = []

    def look(_: int) -> None:
        seen.extend((end.info().unacked, end.unacknowledged_bytes()) for end in ends)

    for kind in ("pingpong", "oneway", "paced"):
        ends.clear()
        run_traffic(LOOPBACK, scenario(replace(KINDS[kind], flows=2), after=(2,)), on_step=look)
    assert seen == [(0, 0)] * 12


def test_steps_may_come_in_any_order_and_at_either_end() -> None:
    taken: list[int] = []
    run_traffic(LOOPBACK, scenario(Traffic(count=4), after=(4, 0, 2)), on_step=taken.append)
    assert taken == [1, 2, 0]


def test_without_a_callback_nothing_pauses() -> None:
    assert len(run_traffic(LOOPBACK, scenario(Traffic(count=4), after=(2,)), on_step=None).flows[0].timings) == 4


def test_a_step_that_the_traffic_never_reaches_is_refused() -> None:
    with pytest.raises(ScenarioError, match="after 21 exchanges and there are 20"):
        run_traffic(LOOPBACK, scenario(KINDS["pingpong"], after=(21,)), on_step=lambda _: None)


def test_a_pace_longer_than_the_deadline_is_refused() -> None:
    slow = Traffic(kind="paced", count=31, interval_us=1_000_000)
    run_s = time.monotonic()
    with pytest.raises(ScenarioError, match=r"take 30 s and the deadline is 29 s: lower count or interval"):
        run_traffic(LOOPBACK, scenario(replace(slow, deadline_s=29.0)))
    assert time.monotonic() - run_s < 5


def test_a_deadline_in_mid_traffic_ends_all_with_one_sentence() -> None:
    endless = Traffic(count=100_000, flows=4, deadline_s=0.2)
    begun_s = time.monotonic()
    with pytest.raises(TrafficError) as caught:
        run_traffic(LOOPBACK, scenario(endless))
    assert 0.2 <= time.monotonic() - begun_s < 2
    message = str(caught.value)
    assert "pingpong flow 0 (127.0.0.1 port " in message
    assert "(and 3 more flows)" in message
    assert "of 100000 exchanges done" in message
    assert "when its deadline of 0.2 s passed" in message
    assert "raise the deadline" in message
    assert "\n" not in message


def test_the_time_that_a_step_takes_is_not_counted_against_the_deadline() -> None:
    asked = scenario(Traffic(count=4, deadline_s=0.3), after=(2,))
    never = threading.Event()

    def slow(_: int) -> None:
        never.wait(0.4)

    flow = run_traffic(LOOPBACK, asked, on_step=slow).flows[0]
    assert flow.timings["sent_ns"][2] - flow.timings["done_ns"][1] >= 400_000_000


def test_the_time_that_the_start_takes_is_not_counted_against_the_deadline() -> None:
    asked = scenario(Traffic(count=4, deadline_s=0.3))
    never = threading.Event()

    def slow() -> None:
        never.wait(0.4)

    flow = run_traffic(LOOPBACK, asked, on_start=slow).flows[0]
    assert flow.timings["sent_ns"][0] - flow.connected_ns >= 400_000_000


def test_a_server_that_never_answers_is_given_up_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(_: PingPong, end: TcpEndpoint, *__: int) -> None:
        end.read_exactly(memoryview(bytearray(1 << 20)))

    monkeypatch.setattr(PingPong, "server", silent)
    begun_s = time.monotonic()
    with pytest.raises(TrafficError, match="still exchanging data, 0 of 100 exchanges done"):
        run_traffic(LOOPBACK, scenario(Traffic(deadline_s=0.2)))
    assert time.monotonic() - begun_s < 2


def test_one_flow_that_fails_ends_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[TcpEndpoint] = []
    real = PingPong.server

    def resetting(pattern: PingPong, end: TcpEndpoint, written_ns: array[int], first: int, last: int) -> None:
        served.append(end)
        if len(served) == 3:
            raise OSError(errno.ECONNRESET, "made up")
        real(pattern, end, written_ns, first, last)

    monkeypatch.setattr(PingPong, "server", resetting)
    begun_s = time.monotonic()
    with pytest.raises(TrafficError) as caught:
        run_traffic(LOOPBACK, scenario(Traffic(count=100_000, flows=4)))
    assert time.monotonic() - begun_s < 5
    message = str(caught.value)
    assert "failed on the server's side while " in message
    assert "Connection reset by peer" in message
    assert isinstance(caught.value.__cause__, OSError)


def test_an_end_that_closes_too_early_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def rude(_: PingPong, end: TcpEndpoint, *__: int) -> None:
        end.sock.shutdown(socket.SHUT_WR)
        end.read_exactly(memoryview(bytearray(1 << 20)))

    monkeypatch.setattr(PingPong, "server", rude)
    with pytest.raises(TrafficError, match=r"failed on the client's side .* \(the other end closed too early\)"):
        run_traffic(LOOPBACK, scenario(Traffic()))


def test_an_end_that_sends_too_much_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PingPong, "server", lambda _, end, *__: end.sock.sendall(b"twice"))
    with pytest.raises(TrafficError, match="received more than the traffic sends"):
        run_traffic(LOOPBACK, scenario(Traffic(count=1)))


def test_no_thread_outlives_a_callback_that_raises() -> None:
    def broken(_: int) -> None:
        raise LookupError("the caller's own")

    with pytest.raises(LookupError, match="the caller's own"):
        run_traffic(LOOPBACK, scenario(Traffic(flows=3), after=(50,)), on_step=broken)


def test_ctrl_c_leaves_nothing_behind() -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_traffic(LOOPBACK, scenario(Traffic(flows=3), after=(50,)), on_step=interrupted)


@pytest.mark.parametrize("kind", ["pingpong", "connections"])
def test_a_congestion_control_that_is_not_there_is_named_beside_those_that_are(kind: str) -> None:
    asked = scenario(Traffic(kind=kind, flows=3))
    with pytest.raises(TrafficError) as caught:
        run_traffic(LOOPBACK, replace(asked, traffic=replace(asked.traffic, congestion="vegetables")))
    message = str(caught.value)
    assert "congestion='vegetables'" in message
    assert "reno" in message
    assert "tcp_vegetables" in message


def test_a_missing_listener_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    real = TcpEndpoint.cookie

    def deaf(end: TcpEndpoint) -> int:
        for sock in end.threads._sockets:
            if sock is not end.sock:
                sock.shutdown(socket.SHUT_RDWR)
        return real(end)

    monkeypatch.setattr(TcpEndpoint, "cookie", deaf)
    with pytest.raises(TrafficError, match=r"pingpong flow 0 \(not connected to 127.0.0.1 port \d+\) failed"):
        run_traffic(LOOPBACK, scenario(Traffic()))


def test_a_server_without_the_address_is_one_sentence() -> None:
    lab = cast("Lab", Loopback(Host(Here()), Host(Here(), ipv4="192.0.2.1")))
    with pytest.raises(TrafficError, match=r"listen on 192\.0\.2\.1 and cannot \(Cannot assign requested address\)"):
        run_traffic(lab, scenario(Traffic()))


def test_a_system_without_threads_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    real = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if len(started) == 3:
            raise RuntimeError("can't start new thread")
        started.append(thread.name)
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(TrafficError, match=r"gave no more after 3 .*: take fewer flows"):
        run_traffic(LOOPBACK, scenario(Traffic(flows=4)))
