"""`rttcheck run` and `rttcheck guest` with a real guest: from the command line to the verdict, and every early end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rttcheck.cli.exit_status import ExitStatus
from rttcheck.record.recording import Recording

SCENARIOS = """
[scenario.near]
rtt = "10ms"
count = 20

[scenario.edge]
rtt = "63.999ms"
count = 20

[scenario.long]
rtt = "300ms"
count = 2000
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `rttcheck` in a directory with scenarios.toml; it is killed when the test ends."""
    (tmp_path / "scenarios.toml").write_text(SCENARIOS)
    with ExitStack() as stack:

        def rttcheck(*words: str) -> subprocess.Popen[str]:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "rttcheck.cli", *words],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    cwd=tmp_path,
                )
            )
            stack.callback(process.kill)
            return process

        yield rttcheck


def wait_for(process: subprocess.Popen[str], words: str) -> None:
    """Read standard error until a line has ``words``."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if words in line:
            return
    pytest.fail(f"{words!r} was never said: {''.join(seen)}")


def launcher_of(process: subprocess.Popen[str]) -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0])


def test_scenarios_are_judged_on_another_kernel_and_recorded_here(start: Start, tmp_path: Path) -> None:
    process = start("run", "scenarios.toml:near", "scenarios.toml:edge", "--kernel", "debian:6.12", "--json")
    out, err = process.communicate(timeout=300)
    assert process.returncode == ExitStatus.FAILED, err
    document = json.loads(out)
    near, edge = document["results"]
    assert near["outcome"] == near["verdict"]["outcome"] == "passed"
    assert 10_000 <= near["min_us"] <= near["max_us"] <= 10_100
    assert (near["clock"], near["kernel"]) == ("virtual", document["release"])
    assert (edge["outcome"], edge["verdict"]) == ("error", None)
    assert "64ms" in edge["reason"]
    recording = Recording.load(Path(near["recording"]))
    assert recording.kernel == document["release"]
    assert tmp_path in Path(near["recording"]).parents


def test_ctrl_c_in_the_middle_of_a_scenario_leaves_no_guest(
    start: Start, emulator_of: Callable[[int], int], is_gone: Callable[..., bool], tmp_path: Path
) -> None:
    process = start("run", "scenarios.toml:long", "--kernel", "debian:6.12")
    wait_for(process, "long (1 of 1)")
    launcher = launcher_of(process)
    guest = emulator_of(launcher)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == ExitStatus.INTERRUPTED
    assert err.splitlines()[-1] == "rttcheck: interrupted: 0 of 1 scenarios were done"
    assert is_gone(launcher, within_s=10.0)
    assert is_gone(guest, within_s=10.0)
    assert list(tmp_path.rglob("*.rttrec*")) == []


def test_a_killed_guest_is_lost_and_what_was_done_before_is_told(
    start: Start, emulator_of: Callable[[int], int]
) -> None:
    process = start("run", "scenarios.toml:near", "scenarios.toml:long", "--kernel", "debian:6.12")
    wait_for(process, "long (2 of 2)")
    os.kill(emulator_of(launcher_of(process)), signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode == ExitStatus.LOST
    assert "1 passed, 1 lost" in out
    assert err.count("was killed on the host (SIGKILL)") >= 1
    assert "Traceback" not in err


def test_a_command_runs_there_with_its_own_status(start: Start) -> None:
    process = start("guest", "debian:6.12", "--", "sh", "-c", "uname -r; exit 7")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 7, err
    assert out.startswith("6.12.")


def test_doctor_finds_nothing_missing_in_debians_kernel(start: Start) -> None:
    process = start("guest", "debian:6.12", "--", sys.executable, "-m", "rttcheck.cli", "doctor", "--json")
    out, err = process.communicate(timeout=300)
    assert process.returncode == ExitStatus.PASSED, err
    assert json.loads(out)["auto"]["kernel"] == "host"
