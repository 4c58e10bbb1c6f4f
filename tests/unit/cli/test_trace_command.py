"""`rttcheck trace` as a person types it: arguments, sentences, exit statuses."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rttcheck.cli import main
from rttcheck.cli.exit_status import ExitStatus
from rttcheck.collect.network_namespace import NoNetworkNamespace, held_namespace
from rttcheck.collect.probe import probe as probe_module
from rttcheck.collect.probe.probe import Attempt
from rttcheck.errors import CapabilityError, ProbeError
from rttcheck.nettrace import preparation
from rttcheck.nettrace.preparation import TracePlan, TraceRequest
from rttcheck.nettrace.printed import PrintedTrace
from rttcheck.nettrace.trace_point import TCP_ACK_UPDATE_RTT, PointStatus, TraceMode
from rttcheck.record.event import EVENT
from rttcheck.record.histogram import BUCKETS
from tests.support.observed_events import event


class Probe:
    """Sees the same event in each poll; what it was asked for is kept."""

    backend = "fexit"
    tried = (Attempt("fexit", True, "attached to the return of tcp_ack_update_rtt"),)

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.losses = {"ring_full": 0}
        self.polls = 0
        self.in_poll: list[BaseException] = []
        self.interrupt_at: int | None = None

    @contextmanager
    def watch(self, inodes: tuple[int, ...] | None, **settings: Any) -> Iterator[Probe]:
        self.settings = {"inodes": inodes, **settings}
        yield self

    def poll(self, timeout_s: float) -> np.ndarray:
        self.polls += 1
        if self.interrupt_at == self.polls:
            os.kill(os.getpid(), signal.SIGINT)
        if self.in_poll:
            raise self.in_poll.pop()
        assert 0 <= timeout_s <= 1
        return event()

    def events(self) -> np.ndarray:
        return np.zeros(0, EVENT)

    def histograms(self) -> dict[str, np.ndarray]:
        counts = np.zeros(BUCKETS, np.uint64)
        counts[4] = self.polls
        return {"us": counts, "ms": counts}


class Command:
    """Runs the subcommand over a fake probe."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.probe = Probe()
        self.wishes: list[TraceRequest] = []
        self.backends: list[str] = []
        self.missing: CapabilityError | None = None
        self._capsys = capsys
        self.out = self.err = ""

        def prepare(request: TraceRequest) -> TracePlan:
            self.wishes.append(request)
            if self.missing is not None:
                raise self.missing
            return TracePlan(
                request=request,
                points=(PointStatus(TCP_ACK_UPDATE_RTT),),
                operations=("fexit", "kprobe"),
                notices=("something to know",),
            )

        @contextmanager
        def open_probe(backend: str, *, among: tuple[str, ...]) -> Iterator[Probe]:
            assert among == ("fexit", "kprobe")
            self.backends.append(backend)
            yield self.probe

        monkeypatch.setattr(preparation, "prepare", prepare)
        monkeypatch.setattr(probe_module, "open_probe", open_probe)

    def __call__(self, *words: str) -> int:
        try:
            return main(["trace", *words])
        except SystemExit as usage:
            return int(usage.code or 0)
        finally:
            self.out, self.err = self._capsys.readouterr()


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def test_lines_are_printed_until_the_count_is_reached(command: Command) -> None:
    assert command("--rtt-detail", "--count", "3") == ExitStatus.PASSED
    read = PrintedTrace.parse(command.out)
    assert len(read.lines) == read.total == 3
    assert all(line.circumstances is None for line in read.lines)
    assert command.err == "WARN: something to know\n"


def test_detail_alone_is_the_long_line(command: Command) -> None:
    assert command("--detail", "--count", "1") == ExitStatus.PASSED
    assert PrintedTrace.parse(command.out).lines[0].circumstances is not None
    assert command("--detail", "--rtt-detail", "--count", "1") == ExitStatus.PASSED
    assert PrintedTrace.parse(command.out).lines[0].circumstances is not None


def test_without_detail_it_is_the_table_in_milliseconds_or_in_what_was_asked_for(command: Command) -> None:
    assert command("--count", "1", "--duration", "500ms") == ExitStatus.PASSED
    assert "                    16 -    31ms: " in command.out
    assert command("--count", "1", "--duration", "500ms", "--unit", "us") == ExitStatus.PASSED
    assert "                    16 -    31us: " in command.out


def test_ctrl_c_ends_it_with_its_totals(command: Command) -> None:
    command.probe.interrupt_at = 3
    assert command("--rtt-detail") == ExitStatus.PASSED
    read = PrintedTrace.parse(command.out)
    assert read.ended
    assert read.total == len(read.lines) == 3
    assert read.lost == 0


def test_a_second_ctrl_c_ends_it_without_a_traceback(command: Command) -> None:
    command.probe.in_poll = [KeyboardInterrupt()]
    assert command("--rtt-detail") == ExitStatus.INTERRUPTED
    assert command.err.endswith("rttcheck: interrupted\n")


def test_filters_are_milliseconds_with_decimals_to_the_microsecond(command: Command) -> None:
    assert command("--detail", "--filter-srtt", "20", "--filter-minrtt", "0.5", "--count", "1") == ExitStatus.PASSED
    assert (command.wishes[0].first_below_us, command.wishes[0].last_below_us) == (20_000, 500)


def test_all_wishes_arrive(command: Command) -> None:
    words = ["--rtt-detail", "--every-sample", "--port", "443", "--netns", str(os.getpid()), "--probe", "kprobe"]
    assert command(*words, "--count", "1") == ExitStatus.PASSED
    here = Path("/proc/self/ns/net").stat().st_ino
    assert command.wishes == [
        TraceRequest(mode=TraceMode.DETAIL, every_sample=True, port=443, inodes=(here,), operations="kprobe")
    ]
    assert command.probe.settings["inodes"] == (here,)


def test_verbose_says_what_was_chosen_and_why(command: Command) -> None:
    assert command("--verbose", "--count", "1", "--detail") == ExitStatus.PASSED
    assert "fexit: attached to the return of tcp_ack_update_rtt" in command.err
    assert "fexit/kprobe: tcp_ack_update_rtt, group tcp-state" in command.err
    assert command.backends == ["auto"]


def test_what_is_missing_is_one_sentence_and_status_3(command: Command) -> None:
    command.missing = CapabilityError("no BTF: build the kernel with it")
    assert command() == ExitStatus.UNABLE
    assert (command.out, command.err) == ("", "rttcheck: no BTF: build the kernel with it\n")


def test_a_probe_that_fails_on_the_way_is_one_sentence_and_status_3_too(command: Command) -> None:
    command.probe.in_poll = [ProbeError("the ring is gone: load it again")]
    assert command("--detail") == ExitStatus.UNABLE
    assert command.err.splitlines()[-1] == "rttcheck: the ring is gone: load it again"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--filter-srtt", "x"], "'x' is not a number of milliseconds: write 30, or 0.5"),
        (["--filter-srtt=-1"], "-1 ms is not a valid time"),
        (["--filter-minrtt", "0.0001"], "at most three decimals"),
        (["--filter-minrtt", "nan"], "nan ms is not a valid time"),
        (["--port", "0"], "'0' is not a port: write 1 to 65535"),
        (["--port", "65536"], "'65536' is not a port"),
        (["--count", "0"], "write 1 or more"),
        (["--duration", "5"], 'write duration="5ms" if milliseconds are meant'),
        (["--unit", "s"], "invalid choice"),
        (["--unit", "us", "--detail"], "--unit is for the table"),
        (["--netns", "4194305"], "process 4194305 was asked for and /proc/4194305/ns/net cannot be opened"),
        (["--netns", "/etc/hostname"], "/etc/hostname is not a network namespace"),
        (["--netns", "/proc/self/ns/mnt"], "/proc/self/ns/mnt is not a network namespace"),
    ],
)
def test_arguments_that_make_no_sense_are_usage_errors_with_the_remedy(
    command: Command, words: list[str], complaint: str
) -> None:
    assert command(*words) == ExitStatus.USAGE
    assert complaint in command.err
    assert command.out == ""
    assert command.wishes == []


def test_a_full_disk_is_one_sentence(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        monkeypatch.setattr(sys, "stdout", full)
        assert command("--detail", "--count", "1") == ExitStatus.UNABLE
    assert command.err.splitlines()[-1].startswith("rttcheck: the trace cannot be written (No space")


def test_a_reader_that_went_away_is_no_failure(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as closed:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr(sys, "stdout", closed)
        assert command("--detail") == ExitStatus.INTERRUPTED
    assert "Traceback" not in command.err


def test_help_teaches_the_words_the_examples_and_the_statuses(command: Command) -> None:
    assert command("--help") == 0
    for part in ("raw, not smoothed", "examples:", "exit status:", "such as a lab", "--netns PATH|PID", "nettrace"):
        assert part in command.out


def test_a_namespace_is_held_while_it_is_watched_and_let_go_after() -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    with held_namespace(str(os.getpid())) as inode:
        assert inode == Path("/proc/self/ns/net").stat().st_ino
        assert descriptors() == before + 1
    assert descriptors() == before
    with pytest.raises(NoNetworkNamespace), held_namespace("/nowhere"):
        pass
    assert descriptors() == before
