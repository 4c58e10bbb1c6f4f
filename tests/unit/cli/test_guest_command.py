"""`rttcheck guest`: what the launcher is asked for, and what becomes of the command there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rttcheck.cli import main
from rttcheck.cli.exit_status import ExitStatus
from rttcheck.kernels import launcher
from rttcheck.kernels.guest import GuestSettings


def test_the_launcher_is_asked_for_the_kernel_and_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []

    def boot(command_line: list[str]) -> int:
        asked.extend(command_line)
        return 7

    monkeypatch.setattr(launcher, "main", boot)
    words = ["guest", "debian:6.12", "--clock", "real", "--rw", str(tmp_path), "--", "ls", "-l", "--", "a b"]
    assert main(words) == 7
    settings = GuestSettings(kernel="debian:6.12", clock="real", rw=tmp_path)
    assert asked[: asked.index("--")] == ["--settings", settings.to_json()]
    assert asked[asked.index("--") :] == ["--", "-m", "rttcheck.cli.guest", "ls", "-l", "--", "a b"]


@pytest.mark.parametrize(
    ("kernel", "sentence"), [("host", "host is the running one"), ("6.12", "write debian:6.12"), ("/no/image", "nor a")]
)
def test_a_kernel_that_is_none_is_refused(kernel: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guest", kernel, "--", "true"]) == ExitStatus.USAGE
    assert sentence in capsys.readouterr().err


def there(*command: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "rttcheck.cli.guest", *command]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_takes_the_place_of_python_with_its_arguments_and_status() -> None:
    done = there("sh", "-c", 'echo "$1"; exit 9', "sh", "a  b")
    assert (done.returncode, done.stdout) == (9, "a  b\n")


def test_a_command_that_cannot_be_started_has_a_shells_status(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("no program")
    done = there("no-such-program")
    assert (done.returncode, done.stderr.count("\n")) == (127, 1)
    assert "no-such-program cannot be run there (No such file or directory)" in done.stderr
    assert there(str(tmp_path / "plain")).returncode == 126
