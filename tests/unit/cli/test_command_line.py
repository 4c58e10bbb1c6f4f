"""`rttcheck` as a person types it: help that teaches, sentences instead of tracebacks, statuses as pytest's."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Never

import pytest

from rttcheck.cli import build_parser, doctor, main
from rttcheck.cli.exit_status import ExitStatus
from rttcheck.errors import CapabilityError, GuestLost, KernelError, RecordingError, ScenarioError
from rttcheck_netns import NetnsError

COMMANDS = ("doctor", "run", "matrix", "judge", "packets", "soak", "trace", "guest")


def help_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_the_help_names_every_command_with_examples_and_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys)
    for command in COMMANDS:
        assert f"rttcheck {command} " in text
    for status in ExitStatus:
        assert f"\n  {int(status):<3} " in text


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_every_help_has_its_statuses_and_examples_that_parse(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    text = help_of(capsys, *command)
    assert "exit status" in text
    examples = re.findall(r"^  (?:sudo )?rttcheck (.+?)(?:  .*| \|.*)?$", text.partition("examples:")[2], re.MULTILINE)
    assert len(examples) >= 2
    for example in examples:
        assert build_parser().parse_args(shlex.split(example)).run is not None


def test_arguments_that_make_no_sense_end_with_pytests_status_for_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["bogus"], ["run", "--bogus"], ["doctor", "extra"], ["trace", "--port", "x"], []):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == ExitStatus.USAGE
        assert "--help" in capsys.readouterr().err


def test_the_statuses_that_pytest_has_too_are_the_same() -> None:
    ours = (ExitStatus.FAILED, ExitStatus.INTERRUPTED, ExitStatus.UNABLE, ExitStatus.USAGE)
    pytests = (
        pytest.ExitCode.TESTS_FAILED,
        pytest.ExitCode.INTERRUPTED,
        pytest.ExitCode.INTERNAL_ERROR,
        pytest.ExitCode.USAGE_ERROR,
    )
    assert [int(status) for status in ours] == [int(status) for status in pytests]


def raising(error: BaseException) -> Callable[..., Never]:
    def run(*_: object) -> Never:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (CapabilityError("no BTF: get one"), ExitStatus.UNABLE, "no BTF: get one"),
        (RecordingError("the disk is full"), ExitStatus.UNABLE, "the disk is full"),
        (NetnsError("no namespace: run as root"), ExitStatus.UNABLE, "no namespace: run as root"),
        (ScenarioError('write rtt="40ms"'), ExitStatus.USAGE, 'write rtt="40ms"'),
        (KernelError("there is no such kernel"), ExitStatus.USAGE, "there is no such kernel"),
        (GuestLost("the guest died", "panic\nend"), ExitStatus.LOST, "the guest died\npanic\nend"),
        (KeyboardInterrupt(), ExitStatus.INTERRUPTED, "interrupted"),
        (ModuleNotFoundError("No module named 'rich'", name="rich"), ExitStatus.UNABLE, "'rich' is required"),
    ],
)
def test_what_goes_wrong_is_a_sentence_and_a_status(
    error: BaseException,
    status: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(doctor, "run", raising(error))
    assert main(["doctor"]) == status
    told = capsys.readouterr().err
    assert told.startswith("rttcheck: ")
    assert sentence in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    "bug", [ZeroDivisionError(), ModuleNotFoundError("No module named 'rttcheck.x'", name="rttcheck.x")]
)
def test_a_bug_is_not_dressed_up_as_a_sentence(bug: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "run", raising(bug))
    with pytest.raises(type(bug)):
        main(["doctor"])


def rttcheck(*words: str, out: int, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rttcheck.cli", *words],
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **settings},
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [("run", "--list"), ("--help",), ("run", "--help")])
def test_a_full_disk_behind_standard_output_is_one_sentence(words: tuple[str, ...], unbuffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = rttcheck(*words, out=full.fileno(), PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == ExitStatus.UNABLE
    assert done.stderr.splitlines() == [
        "rttcheck: standard output cannot be written (No space left on device): free some space, or send it elsewhere"
    ]


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [("run", "--list"), ("--help",)])
def test_a_reader_that_went_away_ends_it_without_a_word(words: tuple[str, ...], unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = rttcheck(*words, out=writing, PYTHONUNBUFFERED=unbuffered)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (ExitStatus.INTERRUPTED, "")


def test_an_encoding_without_the_characters_is_no_error(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as file:
        done = rttcheck("doctor", out=file.fileno(), PYTHONIOENCODING="latin-1", NO_COLOR="1")
    assert "Traceback" not in done.stderr
    assert "auto " in (tmp_path / "out").read_text("latin-1")


def test_the_guests_side_imports_neither_rich_nor_anything_else_of_the_hosts() -> None:
    imported = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, rttcheck.cli as cli; cli.build_parser(); import rttcheck.cli.local_run, rttcheck.cli.request, "
            "rttcheck.harness; print(*sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.split()
    heavy = {"rich", "requests", "scapy", "pytest", "execnet", "xdist", "subprocess", "urllib.request"}
    assert "rttcheck.harness" in imported
    assert heavy.intersection(imported) == set()
