"""`rttcheck compare`: recordings without a kernel, kernels in turn that lie as they are told, ends in between."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rttcheck.cli import alternation, main
from rttcheck.cli.alternation import Alternation, SideEnded
from rttcheck.cli.exit_status import ExitStatus
from rttcheck.cli.progress import ProgressLines
from rttcheck.cli.request import Event, RunRequest, ScenarioRequest
from rttcheck.errors import GuestLost
from rttcheck.record.recording import Recording

DATA = Path(__file__).parents[2] / "data" / "comparison"


def recording(number: int) -> Path:
    return DATA / f"rtt-100ms-{number}.rttrec"


FIRST, SECOND = ([str(recording(number)) for number in numbers] for numbers in (range(1, 5), range(5, 9)))


def later(path: Path, by_us: int) -> Recording:
    """A kernel that takes each of its ACKs later."""
    known = Recording.load(path)
    events = known.events.copy()
    kept = events["tcp_mstamp_us"] != 0
    events["tcp_mstamp_us"][kept] += by_us
    events["timestamp_ns"] += by_us * 1_000
    for name in ("first_rtt_us", "last_rtt_us", "rs_rtt_us", "sample_us"):
        events[name][kept & (events[name] >= 0)] += by_us
    return dataclasses.replace(known, events=events)


@pytest.fixture
def slower(tmp_path: Path) -> Path:
    """A directory of recordings of such a kernel."""
    for number in range(5, 9):
        later(recording(number), 5).save(tmp_path / "slower" / f"round-{number}" / "rtt-100ms.rttrec")
    return tmp_path / "slower"


def test_recordings_of_one_kernel_are_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *FIRST, "--against", *SECOND, "--margin", "2us"]) == ExitStatus.PASSED
    out = capsys.readouterr().out
    assert "same         rtt-100ms  44 of 44 distributions the same" in out
    assert "1 same" in out


def test_a_slower_kernel_has_changed_and_the_stage_is_named(slower: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *FIRST, "--against", str(slower)]) == ExitStatus.FAILED
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if "client's data: round trip:" in line]
    assert line.strip().startswith("CHANGED: client's data: round trip: 100030")
    assert "+5.0 us" in line
    assert ", of which arrival +" in line
    assert "sender" not in line


def test_json_has_every_figure(slower: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *FIRST, "--against", str(slower), "--json"]) == ExitStatus.FAILED
    document = json.loads(capsys.readouterr().out)
    assert (document["answer"], document["exit_status"]) == ("changed", 1)
    parts = document["scenarios"][0]["distributions"]
    (whole,) = [
        part
        for part in parts
        if (part["side"], part["kind"], part["part"], part["figure"]) == ("client", "data", "round trip", "median")
    ]
    assert whole["interval_us"][0] < whole["by_us"] < whole["interval_us"][1]
    assert list(whole["from_us"]) == ["arrival"]
    assert len(parts) == 44


def test_markdown_is_a_table(slower: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *FIRST, "--against", str(slower), "--markdown"]) == ExitStatus.FAILED
    out = capsys.readouterr().out
    assert "| rtt-100ms | CHANGED | " in out


@pytest.fixture
def wrong(tmp_path: Path) -> tuple[Path, Path]:
    """Two directories of recordings of kernels that both take their ACKs 3 ms late."""
    for number in range(1, 9):
        side = "A" if number < 5 else "B"
        later(recording(number), 3_000).save(tmp_path / side / f"round-{number}" / "rtt-100ms.rttrec")
    return tmp_path / "A", tmp_path / "B"


def test_two_kernels_with_the_same_fault_have_failed_and_are_not_the_same(
    wrong: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", *map(str, wrong), "--margin", "2us"]
    assert main(words) == ExitStatus.FAILED
    out = capsys.readouterr().out
    assert "FAILED       rtt-100ms  44 of 44 distributions the same" in out
    assert "FAILED: runs of A, judged by themselves: 4 failed: " in out
    assert "FAILED: runs of B, judged by themselves: 4 failed: " in out
    assert "Verdicts on the runs of each side: A 4 failed; B 4 failed." in out
    assert "1 failed" in out
    assert main([*words, "--json"]) == ExitStatus.FAILED
    document = json.loads(capsys.readouterr().out)
    assert (document["answer"], document["exit_status"]) == ("failed", 1)
    assert document["judged"] == {side: {"passed": 0, "failed": 4, "inconclusive": 0} for side in "ab"}
    assert "is invisible to a comparison" in document["same_means"]
    (scenario,) = document["scenarios"]
    assert scenario["answer"] == "failed"
    assert {one["answer"] for one in scenario["distributions"]} == {"same"}
    assert scenario["judged"]["b"]["failed"] == 4
    assert scenario["judged"]["b"]["reason"]


def test_two_directories_are_recordings_and_not_kernels(slower: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(DATA), str(slower)]) == ExitStatus.FAILED
    assert "(8 and 4 runs)" in capsys.readouterr().out


def test_two_runs_are_too_few_to_tell() -> None:
    assert main(["compare", *FIRST, "--against", *SECOND[:2]]) == ExitStatus.UNABLE


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["debian:6.12"], ExitStatus.USAGE, "two sides are needed"),
        (["host", "debian:6.12"], ExitStatus.USAGE, "host cannot run in virtual time"),
        (["debian:6.1", "6.12"], ExitStatus.USAGE, "write debian:6.12"),
        (["debian:6.1", "debian:6.12", "rtt-4ms"], ExitStatus.USAGE, "did you mean"),
        (["debian:6.1", "debian:6.12", "--margin", "3"], ExitStatus.USAGE, "--margin"),
        (["nowhere.rttrec", "--against", *SECOND], ExitStatus.UNABLE, "there is no recording nowhere.rttrec"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(
    words: list[str], status: int, sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    try:
        found = main(["compare", *words])
    except SystemExit as end:
        found = int(end.code or 0)
    assert found == status
    assert sentence in capsys.readouterr().err


Told = Callable[[int], Path | BaseException]


class Kernel:
    """Stands in for an open kernel: the n-th order comes to a recording, or to an error."""

    def __init__(self, told: Told, log: list[str], letter: str) -> None:
        self.told, self.log, self.letter, self.count = told, log, letter, 0

    def events(self, request: RunRequest) -> Iterator[Event]:
        (wanted,) = request.scenarios
        self.log.append(f"{self.letter} {wanted.name} {Path(request.recordings).name}")
        self.count += 1
        if self.count == 1:
            yield {"event": "ready", "kernel": "6.12.117", "probe": "fexit"}
        yield {"event": "begin", "scenario": wanted.name}
        result = self.told(self.count)
        if isinstance(result, BaseException):
            raise result
        yield {"event": "result", "row": {"recording": str(result), "reason": ""}}


def good(number: int) -> Path:
    return recording((number - 1) % 8 + 1)


@pytest.fixture
def open_kernels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[str]]:
    """Say what each side comes to; the list fills with what was run."""
    monkeypatch.chdir(tmp_path)

    def plan(first: Told = good, second: Told = good) -> list[str]:
        log: list[str] = []

        @contextmanager
        def opened(*_: Any) -> Iterator[tuple[Kernel, Kernel]]:
            yield Kernel(first, log, "A"), Kernel(second, log, "B")

        monkeypatch.setattr(alternation, "open_runners", opened)
        return log

    return plan


WORDS = ["compare", "debian:6.12", "debian:6.12", "rtt-100ms"]


def test_kernels_are_run_in_turn_and_who_goes_first_alternates(open_kernels: Callable[..., list[str]]) -> None:
    log = open_kernels()
    status = main([*WORDS[:3], "rtt-100ms", "rtt-40ms", "--rounds", "2", "--most-rounds", "2"])
    assert status == ExitStatus.UNABLE
    assert log == [
        "A rtt-100ms round-01", "B rtt-100ms round-01", "B rtt-40ms round-01", "A rtt-40ms round-01",
        "B rtt-100ms round-02", "A rtt-100ms round-02", "A rtt-40ms round-02", "B rtt-40ms round-02",
    ]  # fmt: skip


def test_the_same_runs_on_both_sides_are_the_same(
    open_kernels: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    log = open_kernels()
    assert main([*WORDS, "--margin", "3us", "--rounds", "8"]) == ExitStatus.PASSED
    assert len(log) == 16
    out = capsys.readouterr().out
    assert "A: debian:6.12 (6.12.117)" in out
    assert "recordings are in " in out


def test_what_few_rounds_cannot_tell_gets_more(open_kernels: Callable[..., list[str]]) -> None:
    log = open_kernels(second=lambda number: recording(4 + (number - 1) % 4 + 1))
    main([*WORDS, "--rounds", "3", "--most-rounds", "5", "--json"])
    assert len(log) == 10


def test_a_lost_guest_is_told_and_what_was_run_is_compared(
    open_kernels: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    open_kernels(second=lambda number: GuestLost("the guest died", "panic") if number == 5 else good(number))
    assert main([*WORDS, "--margin", "5us"]) == ExitStatus.LOST
    told = capsys.readouterr()
    assert "(5 and 4 runs)" in told.out or "(4 and 4 runs)" in told.out
    assert told.err.splitlines()[-2:] == ["rttcheck: B (debian:6.12): the guest died", "panic"]


def test_ctrl_c_compares_what_was_run(
    open_kernels: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    open_kernels(first=lambda number: KeyboardInterrupt() if number == 4 else good(number))
    assert main(WORDS) == ExitStatus.INTERRUPTED
    told = capsys.readouterr()
    assert "rtt-100ms" in told.out
    assert told.err.splitlines()[-1] == "rttcheck: interrupted"


def test_a_scenario_that_cannot_be_run_is_a_note(tmp_path: Path) -> None:
    class Refusing:
        def events(self, request: RunRequest) -> Iterator[Event]:
            yield {
                "event": "result",
                "row": {"recording": "", "reason": f"{request.scenarios[0].name} is too near an edge"},
            }

    request = RunRequest(kernel="debian:6.12", clock="virtual", probe="auto", recordings="", scenarios=())
    done = Alternation((request, request), (Refusing(), Refusing()), tmp_path, ProgressLines(io.StringIO()))
    done.run([ScenarioRequest(keywords={"name": "far"}, source="far")], 1, 1)
    assert done.notes["far"].endswith("far is too near an edge")
    assert done.runs["far"] == ([], [])


def test_a_probe_that_does_not_work_ends_the_rounds_with_its_own_status(tmp_path: Path) -> None:
    class Refusing:
        def events(self, request: RunRequest) -> Iterator[Event]:
            yield {"event": "refused", "sentence": f"no probe on {request.kernel}", "status": 3}

    request = RunRequest(kernel="debian:6.12", clock="virtual", probe="auto", recordings="", scenarios=())
    done = Alternation((request, request), (Refusing(), Refusing()), tmp_path, ProgressLines(io.StringIO()))
    with pytest.raises(SideEnded, match="no probe on debian") as ended:
        done.run([ScenarioRequest(keywords={"name": "far"}, source="far")], 1, 1)
    assert ended.value.status == ExitStatus.UNABLE
