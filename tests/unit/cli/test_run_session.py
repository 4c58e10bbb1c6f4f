"""A run from its first event to its exit status, with a harness that lies as it is told, and with guests that die."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

import rttcheck.harness
from rttcheck.cli import guest_run, local_run, main, run_session
from rttcheck.cli.exit_status import ExitStatus
from rttcheck.cli.progress import ProgressLines
from rttcheck.cli.request import Event, RunRequest, ScenarioRequest
from rttcheck.errors import CapabilityError, GuestLost, RecordingError, ScenarioError, TrafficError
from rttcheck.judging import judges
from rttcheck.kernel_log import reader as kernel_log
from rttcheck.kernel_log.reader import KernelLog
from rttcheck.kernel_log.record import LogRecord
from rttcheck.kernels import archive
from tests.support.channel import Channel
from tests.support.planted import record

Plan = dict[str, str | BaseException | signal.Signals]
"""What each scenario comes to: an outcome, an error that running it raises, or a signal that comes meanwhile."""


class Told:
    """A scenario's result as the harness gives it."""

    def __init__(self, name: str, outcome: str) -> None:
        self.name, self.outcome = name, outcome
        self.verdict = SimpleNamespace(
            render=lambda width, **_: f"verdict on {name} in {width} columns",
            as_dict=lambda: {"outcome": outcome},
        )

    def row(self) -> dict[str, Any]:
        guilty = "" if self.outcome == "passed" else "link"
        return {"scenario": self.name, "outcome": self.outcome, "guilty": guilty, "reason": "", "kernel": "6.12"}


class Harness:
    made: ClassVar[list[Harness]] = []

    def __init__(self, plan: Plan) -> None:
        self.made.append(self)
        self.plan = plan
        self.reproduced: list[str] = []
        self.collector = SimpleNamespace(
            engine="netem",
            probe=SimpleNamespace(
                backend="fexit", tried=(SimpleNamespace(backend="fexit", reason="attached to a function"),)
            ),
        )

    def run(self, scenario: Any, *, reproduce: str) -> Told:
        outcome = self.plan[scenario.name]
        self.reproduced.append(reproduce)
        if isinstance(outcome, BaseException):
            raise outcome
        if isinstance(outcome, signal.Signals):
            os.kill(os.getpid(), outcome)
            raise AssertionError(f"{outcome.name} came and nothing happened")
        return Told(scenario.name, outcome)


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Plan:
    """The scenarios of ``scenarios.toml`` in the working directory and what each comes to on the running kernel."""
    planned: Plan = {}

    @contextmanager
    def open_harness(*, engine: str, backend: str, recordings: Path) -> Iterator[Harness]:
        assert (engine, backend) == ("auto", "auto")
        assert recordings.parent == tmp_path / ".rttcheck" / "recordings"
        failure = planned.pop("harness", None)
        if isinstance(failure, BaseException):
            raise failure
        yield Harness(planned)

    monkeypatch.setattr(rttcheck.harness, "open_harness", open_harness)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    text = "".join(f'[scenario.{name}]\nrtt = "40ms"\n' for name in ("first", "second", "third"))
    Path("scenarios.toml").write_text(text)
    return planned


def run(*words: str) -> int:
    return main(["run", "scenarios.toml", "--kernel", "host", *words])


@pytest.mark.parametrize(
    ("outcome", "words", "status"),
    [
        ("passed", [], ExitStatus.PASSED),
        ("failed", [], ExitStatus.FAILED),
        ("inconclusive", [], ExitStatus.PASSED),
        ("inconclusive", ["--strict"], ExitStatus.FAILED),
    ],
)
def test_the_worst_scenario_decides_the_exit_status(plan: Plan, outcome: str, words: list[str], status: int) -> None:
    plan.update(first="passed", second=outcome, third="passed")
    assert run(*words) == status


def test_what_did_not_pass_is_told_in_full_above_the_lines(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    plan.update(first="passed", second="failed", third="inconclusive")
    run()
    out = capsys.readouterr().out
    assert out.startswith("verdict on second in 120 columns\n\nverdict on third in 120 columns\n\nkernel 6.12\n")
    assert "verdict on first" not in out
    assert "1 passed, 1 failed, 1 inconclusive" in out


@pytest.mark.parametrize("error", [ScenarioError("too near an edge"), TrafficError("nothing came through")])
def test_a_scenario_that_cannot_be_run_fails_and_the_others_go_on(
    plan: Plan, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    plan.update(first="passed", second=error, third="passed")
    assert run() == ExitStatus.FAILED
    out = capsys.readouterr().out
    assert f"    {error}" in out
    assert "2 passed, 1 error" in out


def test_a_full_disk_ends_the_run_and_tells_what_was_done(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    plan.update(first="passed", second=RecordingError("the disk is full: free some"), third="passed")
    assert run() == ExitStatus.UNABLE
    told = capsys.readouterr()
    assert told.err.splitlines()[-1] == "rttcheck: the disk is full: free some"
    assert "1 passed" in told.out
    assert "third" not in told.out


def test_a_kernel_that_cannot_be_judged_is_one_sentence_and_no_result(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    plan["harness"] = CapabilityError("no probe works: take a guest")
    assert run() == ExitStatus.UNABLE
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "rttcheck: no probe works: take a guest\n")


def test_ctrl_c_ends_the_run_and_tells_what_was_done(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    plan.update(first="passed", second=KeyboardInterrupt(), third="passed")
    assert run() == ExitStatus.INTERRUPTED
    told = capsys.readouterr()
    assert told.err.splitlines()[-1] == "rttcheck: interrupted: 1 of 3 scenarios were done"
    assert "1 passed" in told.out


def test_sigterm_is_to_a_run_what_ctrl_c_is(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    plan.update(first="passed", second=signal.SIGTERM, third="passed")
    assert run("--json") == ExitStatus.INTERRUPTED
    told = capsys.readouterr()
    assert told.err.splitlines()[-1] == "rttcheck: interrupted: 1 of 3 scenarios were done"
    document = json.loads(told.out)
    assert (document["exit_status"], [row["scenario"] for row in document["results"]]) == (2, ["first"])
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_what_the_user_allows_is_neither_told_nor_left_out_of_recordings(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def open_kernel_log() -> Iterator[KernelLog]:
        bug = LogRecord(facility=0, level=2, sequence=1, at_us=1, text="kernel BUG at mm/slub.c:379!")
        yield KernelLog(-1, _left=[bug])

    monkeypatch.setattr(kernel_log, "open_kernel_log", open_kernel_log)
    Path("known.toml").write_text('[[splat]]\npattern = "slub"\nreason = "seen before"\nuntil = "6.13"\n')
    plan.update(first="passed", second="passed", third="passed")
    assert run("--allow-splats", "known.toml") == ExitStatus.PASSED
    assert "3 passed" in capsys.readouterr().out
    (allowed,) = Harness.made[-1].collector.allowed_splats
    assert allowed["reason"] == "seen before"
    assert Harness.made[-1].reproduced[0].endswith(" --allow-splats known.toml")
    assert run() == ExitStatus.FAILED
    assert "kernel BUG at mm/slub.c:379!" in capsys.readouterr().out


def test_a_bug_in_a_scenario_is_that_scenarios_error_with_its_traceback(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    plan.update(first="passed", second=TypeError("direct() got an engine"), third="passed")
    assert run() == ExitStatus.FAILED
    out = capsys.readouterr().out
    assert "rttcheck itself failed (TypeError: direct() got an engine): please report it" in out
    assert "Traceback (most recent call last):" in out
    assert "2 passed, 1 error" in out


def test_json_is_one_document_with_rows_verdicts_and_the_status(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    plan.update(first="passed", second="failed", third=ScenarioError("too near an edge"))
    assert run("--json") == ExitStatus.FAILED
    document = json.loads(capsys.readouterr().out)
    assert document["exit_status"] == 1
    assert (document["kernel"], document["clock"]) == ("host", "real")
    assert [result["outcome"] for result in document["results"]] == ["passed", "failed", "error"]
    assert [result["verdict"] for result in document["results"]] == [{"outcome": "passed"}, {"outcome": "failed"}, None]
    assert document["results"][2]["injected"] == "40ms"


def test_progress_is_lines_on_standard_error_where_there_is_no_terminal(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    plan.update(first="passed", second="passed", third="passed")
    run()
    lines = capsys.readouterr().err.splitlines()
    assert "probe fexit (fexit: attached to a function)" in lines[0]
    assert lines[1:] == [f"rttcheck: {name} ({n} of 3)" for n, name in enumerate(("first", "second", "third"), 1)]


def request(*names: str, kernel: str = "debian:6.12") -> RunRequest:
    return RunRequest(
        kernel=kernel,
        clock="virtual",
        probe="auto",
        recordings=str(Path.cwd() / ".rttcheck" / "recordings"),
        scenarios=tuple(ScenarioRequest(keywords={"name": name, "rtt": "40ms"}, source=name) for name in names),
    )


def test_the_guests_side_sends_an_event_for_each_step(plan: Plan) -> None:
    plan.update(first="passed", second="failed")
    channel = Channel([request("first", "second")])
    local_run.serve_requests(channel)
    assert [event["event"] for event in channel.sent] == ["ready", "begin", "result", "begin", "result"]
    assert channel.sent[4]["row"]["outcome"] == "failed"
    assert channel.sent[4]["text"] == "verdict on second in 100 columns"


def test_an_error_that_ends_the_run_is_the_guests_last_event(plan: Plan) -> None:
    plan.update(first="passed", second=RecordingError("the disk is full"))
    channel = Channel([request("first", "second")])
    local_run.serve_requests(channel)
    assert channel.sent[-1] == {"event": "refused", "sentence": "the disk is full", "status": 3}


class Guest:
    """Stands in for a guest: yields events, then raises."""

    def __init__(self, events: list[Event], error: BaseException | None = None) -> None:
        self.events, self.error, self.closed = events, error, False

    def __call__(self, _order: RunRequest, release: str, **_: Any) -> Generator[Event]:
        assert release == "6.12.117"
        try:
            yield from self.events
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True


READY: Event = {"event": "ready", "kernel": "6.12.117", "probe": "fexit", "tried": []}
FIRST: list[Event] = [
    {"event": "begin", "scenario": "first"},
    {"event": "result", "row": {"scenario": "first", "outcome": "passed"}, "verdict": {}, "text": ""},
]


def execute(monkeypatch: pytest.MonkeyPatch, guest: Guest) -> run_session.RunSession:
    monkeypatch.setattr(archive, "fetch", lambda _spec, **_: SimpleNamespace(release="6.12.117"))
    monkeypatch.setattr(guest_run, "run_in_guest", guest)
    done = run_session.execute(request("first", "second", "third"), ProgressLines(io.StringIO()))
    assert guest.closed
    return done


def test_scenarios_that_a_guest_took_with_it_are_lost_and_neither_passed_nor_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dying = Guest([READY, *FIRST, {"event": "begin", "scenario": "second"}], GuestLost("the guest died", "panic"))
    done = execute(monkeypatch, dying)
    assert [row["outcome"] for row in done.rows] == ["passed", "lost", "lost"]
    assert [row.get("reason", "") for row in done.rows] == ["", "the guest died", ""]
    assert done.status(strict=False) == ExitStatus.LOST
    assert done.ending is not None
    assert done.ending.sentence == "the guest died\npanic"


def test_an_error_in_the_guest_is_the_sentence_and_status_that_it_has_here(monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = Guest([{"event": "refused", "sentence": "no probe works there", "status": 3}])
    done = execute(monkeypatch, refusing)
    assert done.rows == []
    assert done.ending == run_session.RunEnding("no probe works there", ExitStatus.UNABLE)


def test_ctrl_c_leaves_the_guest_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    done = execute(monkeypatch, Guest([READY, *FIRST], KeyboardInterrupt()))
    assert [row["outcome"] for row in done.rows] == ["passed"]
    assert done.status(strict=False) == ExitStatus.INTERRUPTED


def recorded(tmp_path: Path) -> Event:
    """What a guest sends that has recorded the first scenario."""
    path = record(name="first", rtt="40ms").save(tmp_path / "first.rttrec")
    row = {"scenario": "first", "outcome": "error", "guilty": "", "reason": "", "recording": str(path)}
    return {"event": "result", "row": row, "verdict": None, "text": "", "complaint": {}}


@pytest.mark.parametrize(
    ("error", "outcomes"), [(GuestLost("it died"), ["passed", "lost", "lost"]), (KeyboardInterrupt(), ["passed"])]
)
def test_what_was_recorded_before_an_early_end_is_judged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException, outcomes: list[str]
) -> None:
    monkeypatch.setattr(run_session, "LEAVE_S", 60.0)
    done = execute(monkeypatch, Guest([READY, FIRST[0], recorded(tmp_path)], error))
    assert [row["outcome"] for row in done.rows] == outcomes
    assert done.rows[0]["samples"] == 200


def test_an_interruption_does_not_wait_long_for_a_verdict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run_session, "LEAVE_S", 0.1)
    monkeypatch.setattr(judges, "COMMAND", (sys.executable, "-c", "import time; time.sleep(600)"))
    done = execute(monkeypatch, Guest([READY, FIRST[0], recorded(tmp_path)], KeyboardInterrupt()))
    assert done.rows == []
    assert done.ending == run_session.RunEnding("interrupted: 0 of 3 scenarios were done", ExitStatus.INTERRUPTED)


def test_a_guest_is_asked_to_judge_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[RunRequest] = []

    def guest(order: RunRequest, _release: str, **_: Any) -> Generator[Event]:
        asked.append(order)
        yield READY

    monkeypatch.setattr(archive, "fetch", lambda _spec, **_: SimpleNamespace(release="6.12.117"))
    monkeypatch.setattr(guest_run, "run_in_guest", guest)
    run_session.execute(request("first"), ProgressLines(io.StringIO()))
    assert [order.judge for order in asked] == [False]
