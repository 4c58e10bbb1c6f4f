"""`rttcheck soak` as a person types it: its arguments, its exit statuses, its report whatever the end."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from rttcheck.cli import main
from rttcheck.cli import soak as command
from rttcheck.cli.exit_status import ExitStatus
from rttcheck.errors import RttcheckError, ScenarioError
from rttcheck.scenario.library import NAMED
from rttcheck.soak import soak as soak_module
from rttcheck.soak.condition import Condition
from rttcheck.soak.display import SuiteLines, shown_soak, summary
from rttcheck.soak.session import SuiteRequest
from rttcheck.soak.suite import ScenarioRun, SuiteResult
from tests.support.soaked import BAD, GONE, GOOD, QUIET, UNSURE, suite

Soak = Callable[..., int]


@pytest.fixture
def orders() -> list[SuiteRequest]:
    """The suites that a soak asked for."""
    return []


@pytest.fixture
def soak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, orders: list[SuiteRequest]) -> Soak:
    """Run `rttcheck soak` with suites that come to the given runs, or to the given error."""
    monkeypatch.setattr(command, "_fetch", lambda _: None)
    monkeypatch.setenv("COLUMNS", "100")

    def rttcheck(*words: str, runs: Sequence[ScenarioRun] = (GOOD,), error: BaseException | None = None) -> int:
        def run(order: SuiteRequest) -> SuiteResult:
            orders.append(order)
            if error is not None and order.number == 2:
                raise error
            return suite(order.number, runs, condition=order.condition)

        run_soak = soak_module.run_soak
        with monkeypatch.context() as patch:
            patch.setattr(
                soak_module, "run_soak", lambda plan, ledger, display: run_soak(plan, ledger, display, run=run)
            )
            output = tmp_path / "soak.json"
            return main(["soak", "--kernel", "debian:6.12", "--output", str(output), *words])

    return rttcheck


@pytest.mark.parametrize(
    ("runs", "status"),
    [
        ((GOOD,), ExitStatus.PASSED),
        ((GOOD, UNSURE), ExitStatus.PASSED),
        ((GOOD, BAD), ExitStatus.FAILED),
        ((GOOD, GONE), ExitStatus.LOST),
        ((BAD, GONE), ExitStatus.FAILED),
    ],
)
def test_the_exit_status_is_of_the_worst(soak: Soak, runs: Sequence[ScenarioRun], status: ExitStatus) -> None:
    assert soak("--runs", "1", runs=runs) == status


def test_the_report_is_printed_and_kept(soak: Soak, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soak("--runs", "2", "--clock", "virtual", runs=[GOOD, BAD])
    told = capsys.readouterr()
    assert "FAILED loss" in told.out
    assert told.err.splitlines() == [
        f"rttcheck: suite {number} of 4 (debian:6.12, virtual time, load {load}): 1 of 2 scenarios passed, 40 checks, "
        "1 failed; 12 s"
        for number, load in ((1, "none"), (2, "busy"), (3, "none"), (4, "busy"))
    ]
    assert len(json.loads((tmp_path / "soak.json").read_text())["suites"]) == 4


def test_ctrl_c_ends_with_the_report_so_far(soak: Soak, capsys: pytest.CaptureFixture[str]) -> None:
    assert soak("--runs", "2", error=KeyboardInterrupt()) == ExitStatus.INTERRUPTED
    told = capsys.readouterr()
    assert told.err.splitlines()[-1] == "rttcheck: interrupted: 1 of 8 suites were done"
    assert "debian:6.12  virtual  none       1" in told.out
    assert soak("--runs", "2", "--resume") == ExitStatus.PASSED
    assert "suite 2 of 8" in capsys.readouterr().err


def test_what_cannot_be_done_is_told_after_the_report(soak: Soak, capsys: pytest.CaptureFixture[str]) -> None:
    assert soak("--runs", "2", error=RttcheckError("no disk: buy one")) == ExitStatus.UNABLE
    told = capsys.readouterr()
    assert told.err.splitlines()[-1] == "rttcheck: no disk: buy one"
    assert told.out.startswith("kernel")


def test_a_second_soak_into_one_file_is_refused(soak: Soak, capsys: pytest.CaptureFixture[str]) -> None:
    assert soak("--runs", "1") == ExitStatus.PASSED
    assert soak("--runs", "1") == ExitStatus.USAGE
    assert "--resume" in capsys.readouterr().err


def test_options_reach_the_suites(soak: Soak, orders: list[SuiteRequest]) -> None:
    words = ("--scenario", "step", "--scenario", "loss", "--boot", "fresh", "--clock", "real", "--load", "busy")
    soak("--runs", "1", *words)
    (order,) = orders
    assert (order.scenarios, order.boot, order.condition) == (
        ("loss", "step"),
        "fresh",
        Condition("debian:6.12", "real", "busy"),
    )


def test_all_scenarios_are_the_library_s() -> None:
    assert command.chosen([]) == tuple(NAMED)
    with pytest.raises(ScenarioError, match="--scenario 'rtt-41ms' is not a named scenario: choose from rtt-1ms"):
        command.chosen(["rtt-41ms"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--runs", "0"], "is not a number of suites"),
        (["--runs", "many"], "is not a number of suites"),
        (["--for", "90"], "write a number and a unit"),
        (["--for", "0m"], "write a number and a unit"),
        (["--load", "some"], "invalid choice"),
    ],
)
def test_arguments_that_make_no_sense_are_usage(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["soak", *words])
    assert ended.value.code == ExitStatus.USAGE
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("90m", 5400), ("1.5 h", 5400), ("2min", 120)])
def test_times_have_units(text: str, seconds: float) -> None:
    assert command._seconds(text) == seconds


def test_the_running_kernel_in_virtual_time_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["soak", "--kernel", "host", "--clock", "virtual", "--output", str(tmp_path / "soak.json")]
    assert main(words) == ExitStatus.USAGE
    assert "whose time is real" in capsys.readouterr().err
    assert not (tmp_path / "soak.json").exists()


def test_a_line_says_what_did_not_pass() -> None:
    to = io.StringIO()
    SuiteLines(to, 9).end(suite(3, [GOOD, BAD, GONE, UNSURE]))
    assert to.getvalue() == f"rttcheck: {summary(suite(3, [GOOD, BAD, GONE, UNSURE]), 9)}\n"
    assert "1 of 4 scenarios passed, 60 checks, 1 failed, 1 inconclusive, 1 lost; 12 s" in to.getvalue()


def test_on_a_terminal_only_what_did_not_pass_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    to = io.StringIO()
    monkeypatch.setattr("sys.stderr", to)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    with shown_soak(9, 2, terminal=True) as display:
        display.begin(3, QUIET)
        display.end(suite(3))
        display.end(suite(4, [GOOD, BAD]))
        display.begin(5, QUIET)
    lines = to.getvalue().splitlines()
    assert any(
        "4/9" in line and "suite 5: debian:6.12, virtual time, load none; 1 failed checks" in line for line in lines
    )
    assert any(line.strip().endswith(summary(suite(4, [GOOD, BAD]), 9)) for line in lines)
    assert not any(summary(suite(3), 9) in line for line in lines)
