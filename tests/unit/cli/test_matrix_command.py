"""`rttcheck matrix`: which session of pytest its arguments come to."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from rttcheck.cli import build_parser, main
from rttcheck.cli.matrix import session_command


def command(*words: str) -> list[str]:
    return session_command(build_parser().parse_args(["matrix", *words]))


def pairs(words: list[str]) -> set[tuple[str, str]]:
    return set(pairwise(words))


def test_kernels_run_the_suite_that_comes_with_rttcheck() -> None:
    words = command("host", "debian:6.12")
    assert {("--rtt-kernel", "host"), ("--rtt-kernel", "debian:6.12"), ("-m", "rtt")} <= pairs(words)
    assert Path(words[-1]).exists()
    assert ("-c", os.devnull) in pairs(words)


def test_scenarios_are_chosen_by_name() -> None:
    words = command("host", "--scenario", "loss", "--scenario", "rtt-40ms")
    assert [word.rpartition("::")[2] for word in words[-2:]] == ["test_scenario[loss]", "test_scenario[rtt-40ms]"]


def test_a_scenario_that_is_not_there_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["matrix", "host", "--scenario", "rtt-40m"]) == 4
    assert "did you mean rtt-40ms" in capsys.readouterr().err


def test_own_tests_come_with_their_own_configuration() -> None:
    words = command("host", "--tests", "tests/far.py")
    assert words[-1] == "tests/far.py"
    assert "--noconftest" not in words


def test_own_tests_have_no_scenarios_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command("host", "--tests", "tests/far.py", "--scenario", "loss")
    assert ended.value.code == 4
    assert "--scenario" in capsys.readouterr().err


def test_every_option_is_one_that_pytest_has_with_the_plugin(pytester: pytest.Pytester) -> None:
    words = command(
        *("host", "--clock", "real", "--engine", "relay", "--probe", "sockops", "--jobs", "3", "--strict", "-v"),
        *("--recordings", "r", "--json", "j", "--markdown", "m", "--junit", "x", "--scenario", "loss"),
    )
    given = {("--rtt-clock", "real"), ("--rtt-jobs", "3"), ("--rtt-json", "j"), ("--rtt-markdown", "m")}
    given |= {("--junit-xml", "x"), ("--rtt-recordings", "r"), ("--rtt-engine", "relay"), ("--rtt-probe", "sockops")}
    assert given <= pairs(words)
    assert "--rtt-strict" in words
    result = pytester.runpytest_subprocess(*words[3:], "--collect-only")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*1 test*collected*"])
