"""A small soak with real guests: from the command line to the counts, and an end by Ctrl-C that can be gone on from."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from rttcheck.cli.exit_status import ExitStatus
from rttcheck.soak.code import PACKAGE
from tests.support.console_marks import read_marks

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def soak(tmp_path: Path) -> Iterator[Start]:
    """Start `rttcheck soak` on the newest 6.12 in virtual time, into soak.json; it is killed when the test ends."""
    with ExitStack() as stack:

        def rttcheck(*words: str) -> subprocess.Popen[str]:
            asked = ("soak", "--kernel", "debian:6.12", "--clock", "virtual", "--output", "soak.json", *words)
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "rttcheck.cli", *asked],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    cwd=tmp_path,
                    # A soak is of one code: this one, wherever another may be installed.
                    env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
                )
            )
            stack.callback(process.kill)
            return process

        yield rttcheck


def descendants(pid: int) -> list[int]:
    """Process ids of all that ``pid`` has started, and they."""
    try:
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
    return [*children, *(one for child in children for one in descendants(child))]


def wait_for_guest(process: subprocess.Popen[str], console: Path) -> None:
    """Until the kernel of a guest runs, whose launcher marks it in a file in ``console``."""
    deadline = time.monotonic() + 240.0
    while not any(event == "init" for log in console.glob("*.log") for _, event in read_marks(log)):
        assert time.monotonic() < deadline, "no guest has booted"
        with suppress(subprocess.TimeoutExpired):
            pytest.fail(f"the soak ended by itself with status {process.wait(0.2)}")


def test_a_suite_of_two_scenarios_is_counted_check_by_check(soak: Start, tmp_path: Path) -> None:
    process = soak("--runs", "1", "--load", "none", "--scenario", "rtt-5ms", "--scenario", "step")
    out, err = process.communicate(timeout=400)
    assert process.returncode == ExitStatus.PASSED, out + err
    told = json.loads((tmp_path / "soak.json").read_text())
    (suite,) = told["suites"]
    assert suite["release"].startswith("6.12.")
    assert [(run["scenario"], run["outcome"], run["constant"]) for run in suite["runs"]] == [
        ("rtt-5ms", "passed", True),
        ("step", "passed", False),
    ]
    assert 5_000 <= suite["runs"][0]["median_us"] <= 5_100
    # Every layer is counted, and each check in both scenarios.
    assert {check["layer"] for check in suite["checks"]} >= {"sample", "arithmetic", "observer", "nominal"}
    (condition,) = told["report"]["conditions"]
    assert condition["checks"] == sum(check["passed"] for check in suite["checks"]) >= 20
    assert condition["failed_checks"] == condition["inconclusive_checks"] == condition["lost"] == 0
    assert "all results are in" in out
    assert not (tmp_path / "soak.recordings" / "0001").exists()


def test_ctrl_c_under_load_leaves_no_process_and_a_soak_to_go_on_with(
    soak: Start, is_gone: Callable[..., bool], tmp_path: Path
) -> None:
    words = ("--runs", "1", "--load", "busy", "--scenario", "rtt-1ms", "--boot", "fresh")
    process = soak(*words)
    console = tmp_path / "soak.recordings" / "0001" / "consoles"
    wait_for_guest(process, console)
    started = descendants(process.pid)
    assert len(started) >= len(os.sched_getaffinity(0)) + 3, "load, pytest, launcher, QEMU"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == ExitStatus.INTERRUPTED, out + err
    assert err.splitlines()[-1] == "rttcheck: interrupted: 0 of 1 suites were done"
    assert all(is_gone(pid, within_s=10.0) for pid in started)
    assert not console.exists()
    process = soak(*words, "--resume")
    out, err = process.communicate(timeout=500)
    assert process.returncode == ExitStatus.PASSED, out + err
    assert json.loads((tmp_path / "soak.json").read_text())["ending"] == ""
