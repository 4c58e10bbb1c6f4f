"""`rttcheck trace` on a kernel that has the probe, over a link of 20 ms: what it prints is what the traffic did.

The command runs in this process, as a person would start it; the traffic begins when it says that it traces.
"""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stdout
from functools import cache

import pytest

from rttcheck.cli import main
from rttcheck.collect.probe.probe import probe_support
from rttcheck.nettrace.printed import BEGIN, PrintedTrace
from rttcheck.record.histogram import Histogram, Unit
from rttcheck_netns import Lab, Netem, NetnsError, routed

PORT = 7000
EXCHANGES = 15
SAMPLES = 2 * (1 + EXCHANGES)
"""On each side one of the handshake and one an exchange; the connection stays open, so there is no FIN."""
ROUND_TRIP_US = 20_000
GUARD = ["--duration", "20s"]
"""A trace that waits in vain ends all the same."""


@cache
def working_probes() -> dict[str, str]:
    """Why each probe that does not work here does not."""
    return {attempt.backend: "" if attempt.ok else attempt.reason for attempt in probe_support()}


@pytest.fixture(params=["fexit", "kprobe"])
def probe(request: pytest.FixtureRequest) -> str:
    """The name of a probe that works here."""
    name: str = request.param
    if working_probes()[name]:
        pytest.skip(f"the {name} probe does not work here: {working_probes()[name]}")
    return name


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A link of 10 ms in each direction."""
    with ExitStack() as stack:
        try:
            built = stack.enter_context(routed(out=Netem(delay_ns=10_000_000), back=Netem(delay_ns=10_000_000)))
        except NetnsError as error:
            pytest.skip(f"no lab with netem here: {error}")
        yield built


class Stdout(io.StringIO):
    """Knows when the trace has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        if BEGIN in text or '"type": "begin"' in text:
            self.begun.set()
        return written


class Traffic:
    """One connection of one-byte exchanges, begun when the trace has begun; ``after`` is called when they are done."""

    def __init__(self, lab: Lab, stdout: Stdout, *, interrupt: bool = False) -> None:
        self._lab, self._stdout, self._interrupt = lab, stdout, interrupt
        self._stack = ExitStack()
        self._thread = threading.Thread(target=self._exchange)
        self.failure: BaseException | None = None

    def __enter__(self) -> Traffic:
        listener = self._stack.enter_context(self._lab.server.namespace.socket(socket.AF_INET, socket.SOCK_STREAM))
        listener.bind((self._lab.server.ipv4, PORT))
        listener.listen()
        listener.settimeout(15)
        client = self._stack.enter_context(self._lab.client.namespace.socket(socket.AF_INET, socket.SOCK_STREAM))
        client.settimeout(15)
        self._listener, self._client = listener, client
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(20)
        self._stack.close()
        assert not self._thread.is_alive()
        assert self.failure is None

    def _exchange(self) -> None:
        try:
            if not self._stdout.begun.wait(20):
                raise TimeoutError("the trace did not begin")
            self._client.connect((self._lab.server.ipv4, PORT))
            server, _ = self._listener.accept()
            self._stack.enter_context(server)
            server.settimeout(15)
            for _ in range(EXCHANGES):
                self._client.sendall(b"?")
                server.recv(1)
                server.sendall(b"!")
                self._client.recv(1)
            # The last answer's ACK is still under way.
            self._lab.drain(deadline_s=10)
        except BaseException as failure:
            self.failure = failure
        if self._interrupt:
            os.kill(os.getpid(), signal.SIGINT)


def run(stdout: Stdout, *words: str) -> int:
    with redirect_stdout(stdout):
        return main(["trace", *words])


def test_every_sample_of_a_connection_is_a_line_and_none_lies_below_the_link(lab: Lab, probe: str) -> None:
    stdout = Stdout()
    with Traffic(lab, stdout):
        words = ["--rtt-detail", "--port", str(PORT), "--count", str(SAMPLES), "--probe", probe]
        assert run(stdout, *words, *GUARD) == 0
    read = PrintedTrace.parse(stdout.getvalue())
    assert (read.total, read.lost, len(read.lines)) == (SAMPLES, 0, SAMPLES)
    samples = [line.message.first_us for line in read.lines if line.message]
    assert min(samples) >= ROUND_TRIP_US
    assert sorted(samples)[SAMPLES // 2] < 2 * ROUND_TRIP_US
    client, server = lab.client.ipv4, lab.server.ipv4
    assert [line.source.address for line in read.lines].count(client) == SAMPLES // 2
    assert [line.source.address for line in read.lines].count(server) == SAMPLES // 2
    assert {line.state for line in read.lines} == {"SYN_SENT", "SYN_RECV", "ESTABLISHED"}
    timers = [line.timer for line in read.lines if line.timer is not None]
    assert timers
    # Set to two round trips and 200 ms at the most, and one round trip ago: no unit but this one fits.
    assert all(timer.left <= 300 and not timer.jiffies for timer in timers if timer.name == "loss_probe")


@pytest.mark.parametrize("unit", Unit)
def test_the_table_holds_every_sample_in_the_bucket_of_its_unit(lab: Lab, probe: str, unit: Unit) -> None:
    stdout = Stdout()
    with Traffic(lab, stdout, interrupt=True):
        assert run(stdout, "--port", str(PORT), "--unit", unit.value, "--probe", probe, *GUARD) == 0
    read = PrintedTrace.parse(stdout.getvalue())
    last = read.tables[-1]
    assert read.tables[0].total == 0
    assert (last.unit, last.total, read.total, read.lost) == (unit, SAMPLES, SAMPLES, 0)
    lowest = Histogram.of([ROUND_TRIP_US], unit).counts.index(1)
    assert sum(last.counts[:lowest]) == 0
    assert last.counts[lowest] > SAMPLES // 2


def test_a_filter_above_the_link_shows_nothing_and_ctrl_c_ends_it_at_once(lab: Lab, probe: str) -> None:
    stdout = Stdout()
    with Traffic(lab, stdout, interrupt=True):
        words = ["--detail", "--port", str(PORT), "--filter-srtt", "5000", "--probe", probe]
        assert run(stdout, *words, "--duration", "1min") == 0
    read = PrintedTrace.parse(stdout.getvalue())
    assert (read.total, read.lines, read.ended) == (0, (), True)


def test_a_filter_at_the_link_shows_all(lab: Lab, probe: str) -> None:
    stdout = Stdout()
    with Traffic(lab, stdout):
        words = ["--detail", "--port", str(PORT), "--filter-srtt", "20", "--filter-minrtt", "20", "--probe", probe]
        assert run(stdout, *words, "--count", str(SAMPLES), *GUARD) == 0
    read = PrintedTrace.parse(stdout.getvalue())
    assert read.total == SAMPLES
    places = {line.circumstances.netns for line in read.lines if line.circumstances}
    assert places == {lab.client.namespace.inode, lab.server.namespace.inode}
    keys = {line.circumstances.key for line in read.lines if line.circumstances}
    assert len(keys) == 2


def test_one_namespace_of_a_lab_can_be_watched_alone(lab: Lab, probe: str) -> None:
    place = f"/proc/self/fd/{lab.client.namespace.fd}"
    stdout = Stdout()
    with Traffic(lab, stdout):
        words = ["--json", "--rtt-detail", "--netns", place, "--count", str(SAMPLES // 2), "--probe", probe]
        assert run(stdout, *words, *GUARD) == 0
    records = [json.loads(line) for line in stdout.getvalue().splitlines()]
    shown = [record for record in records if record["type"] == "event"]
    assert {record["source"][0] for record in shown} == {lab.client.ipv4}
    assert [record["kind"] for record in shown].count("handshake") == 1
    assert records[-1] == {**records[-1], "type": "end", "total": SAMPLES // 2, "lost": 0}
    assert min(record["sample_us"] for record in shown) >= ROUND_TRIP_US
