"""`rttcheck matrix`: which session of pytest its arguments come to."""

from __future__ import annotations

import argparse
import json
import os
from itertools import pairwise
from pathlib import Path

import pytest

from rttcheck.cli import build_parser, main
from rttcheck.cli.matrix import session_command
from rttcheck.kernels.archive import fetch
from rttcheck.kernels.spec import KernelSpec


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
        *("--recordings", "r", "--json", "j", "--markdown", "m", "--junit", "x", "--scenario", "loss", "--on", "a@b"),
        *("--allow-splats", "k"),
    )
    given = {("--rtt-clock", "real"), ("--rtt-jobs", "3"), ("--rtt-json", "j"), ("--rtt-markdown", "m")}
    given |= {
        ("--rtt-on", "a@b"),
        ("--junit-xml", "x"),
        ("--rtt-recordings", "r"),
        ("--rtt-engine", "relay"),
        ("--rtt-probe", "sockops"),
        ("--rtt-allow-splats", "k"),
    }
    assert given <= pairs(words)
    assert "--rtt-strict" in words
    result = pytester.runpytest_subprocess(*words[3:], "--collect-only")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*1 test*collected*"])


def cache(root: Path, *releases: str) -> None:
    for release in releases:
        kernel = root / "kernels" / release
        kernel.mkdir(parents=True)
        (kernel / "kernel.json").write_text(json.dumps({"release": release, "package": "p", "version": "1"}))


def test_nothing_named_is_the_newest_cached_of_each_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTTCHECK_CACHE", str(tmp_path))
    cache(tmp_path, "6.1.0-9-amd64", "6.1.0-56-amd64", "6.12.9+deb13-amd64", "6.12.117+deb13-amd64", "5.10.0-46-amd64")
    cache(tmp_path, "6.12.200+deb13-rt-amd64")
    kernels = [value for option, value in pairs(command()) if option == "--rtt-kernel"]
    assert sorted(kernels) == ["debian:5.10.0-46", "debian:6.1.0-56", "debian:6.12.117+deb13"]
    words = command()
    assert words.index("debian:5.10.0-46") < words.index("debian:6.1.0-56") < words.index("debian:6.12.117+deb13")
    # Each is at hand: nobody has to be asked for it.
    assert all(KernelSpec.parse(kernel).release for kernel in kernels)
    assert fetch("debian:6.1.0-56").release == "6.1.0-56-amd64"


def test_nothing_named_and_nothing_cached_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RTTCHECK_CACHE", str(tmp_path))
    assert main(["matrix"]) == 4
    assert "none is cached in" in capsys.readouterr().err


def test_all_series_are_those_of_the_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rttcheck.kernels.series.offered", lambda: ("debian:5.10", "debian:6.12"))
    words = command("host", "--kernel", "debian:6.12", "--all-series")
    found = [value for option, value in pairwise(words) if option == "--rtt-kernel"]
    assert found == ["host", "debian:6.12", "debian:5.10"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["no/such/bzImage"], "no/such/bzImage"),
        (["6.12"], "write debian:6.12"),
        (["host", "--junit", "/proc/no/such.xml"], "--junit /proc/no/such.xml cannot be written"),
    ],
)
def test_what_cannot_be_is_told_before_the_session(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["matrix", *words]) in (3, 4)
    assert sentence in capsys.readouterr().err


def test_the_command_becomes_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, words: began.append(words))
    args = build_parser().parse_args(["matrix", "host", "--scenario", "loss"])
    args.run(args)
    assert began == [session_command(args)]


def test_a_named_scenario_of_the_suite_is_reproduced_by_its_name(pytester: pytest.Pytester) -> None:
    plugin = """
import pytest
from types import SimpleNamespace

@pytest.fixture(scope="session")
def rtt_harness():
    def run(scenario, *, reproduce):
        print(f"again: {reproduce}")
        return SimpleNamespace(
            row=lambda: {"scenario": scenario.name, "outcome": "passed"},
            outcome=SimpleNamespace(value="passed"),
            verdict=SimpleNamespace(outcome=SimpleNamespace(value="passed"), blind=()),
        )
    return SimpleNamespace(run=run)
"""
    pytester.makeconftest(plugin)
    pytester.makepyfile(test_own="import pytest\n\n@pytest.mark.rtt(rtt='1ms')\ndef test_mine(rtt):\n    rtt()\n")
    pytester.makepyfile(test_named="from rttcheck.suite.named_scenarios import test_scenario\n")
    suite = f"{command('host', '--scenario', 'loss')[-1]}"
    result = pytester.runpytest(
        *("-p", "no:cacheprovider", "-s", "--rootdir", str(pytester.path), "-c", os.devnull),
        *(suite, "test_own.py", "test_named.py", "-k", "loss or mine"),
    )
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        [
            "*again: rttcheck run loss --kernel host",
            "*again: pytest 'test_own.py::test_mine' --rtt-kernel host",
            "*again: pytest 'test_named.py::test_scenario[[]loss[]]' --rtt-kernel host",
        ]
    )


def test_compare_is_the_command_of_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[argparse.Namespace] = []

    def compared(args: argparse.Namespace) -> int:
        seen.append(args)
        return 1

    monkeypatch.setattr("rttcheck.cli.compare.run", compared)
    words = ["matrix", "--compare", "debian:6.1", "debian:6.12", "--scenario", "loss", "--clock", "real"]
    assert main(words) == 1
    assert (seen[0].what, seen[0].clock) == (["debian:6.1", "debian:6.12", "loss"], "real")


@pytest.mark.parametrize("words", [["debian:6.1"], ["--strict"], ["--json", "x"]])
def test_what_compare_does_not_take_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["matrix", *words, "--compare", "debian:6.1", "debian:6.12"])
    assert ended.value.code == 4
    assert "--compare takes two kernels" in capsys.readouterr().err
