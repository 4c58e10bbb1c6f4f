"""Sessions with guests elsewhere: the same tests, the same report, also when the machine goes away in mid-run.

A Python of the machine stands in for the guest's; that a guest boots there is tested with a real one.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from rttcheck.kernels.guest import EXIT_LOST
from rttcheck.remote.destination import GONE_S
from tests.support.other_machine import PROJECT, Elsewhere

STAND_IN = """
import sys
from types import SimpleNamespace

import rttcheck.kernels.archive
import rttcheck.plugin.slots
import rttcheck.remote.machine

def fetch(spec, **kwargs):
    return SimpleNamespace(release=f"{spec.series}.9-amd64")

def gateway_spec(settings, *, name):
    return f"popen//id={name}//python={sys.executable}"

def launcher_command(settings, *, python):
    # In a guest the root is seen at this very path; here it is there all the same.
    recording = f"echo {settings.kernel} > {settings.rw}/seen; echo up > {settings.console}; exec \\"$@\\""
    return ["env", "-C", str(settings.cwd), "sh", "-c", recording, "sh", python]

rttcheck.kernels.archive.fetch = fetch
rttcheck.plugin.slots.gateway_spec = gateway_spec
rttcheck.remote.machine.launcher_command = launcher_command
"""

TESTS = """
import os
import pathlib
import signal

import pytest

pytestmark = pytest.mark.rtt

@pytest.mark.parametrize("number", [1, 2])
def test_somewhere(number):
    print("elsewhere" if "ELSEWHERE" in os.environ else "here")

def test_deadly():
    if "ELSEWHERE" in os.environ and pathlib.Path("WAIT").exists():
        open("BEGUN", "w").close()
        signal.pause()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    (made / "conftest.py").write_text(STAND_IN)
    (made / "test_it.py").write_text(TESTS.replace("BEGUN", str(tmp_path / "begun")))
    (made / "pytest.ini").write_text("[pytest]\n")
    return made


def start(other: Elsewhere, root: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pytest", "-m", "rtt", "-v", "-rA", "-p", "no:cacheprovider"]
    command += ["--rtt-on", other.destination, "--rtt-ssh-config", str(other.config), "--rtt-json", "out.json"]
    return subprocess.Popen(
        [*command, *arguments],
        cwd=root,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(PROJECT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=other.inside(),
    )


def said(session: subprocess.Popen[str], *, within_s: float = 120.0) -> str:
    try:
        return session.communicate(timeout=within_s)[0]
    finally:
        session.kill()


def is_opened(fifo: Path, *, within_s: float) -> bool:
    """Whether somebody opens the other end before the deadline."""
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return bool(select.select([reader], [], [], within_s)[0])
    finally:
        os.close(reader)


def kernels(root: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((root / "out.json").read_text())["kernels"]
    return found


def test_the_report_is_as_if_it_had_been_here(other: Elsewhere, root: Path) -> None:
    session = start(other, root, "--rtt-kernel", "debian:9.9", "--rtt-jobs", "0", "test_it.py::test_somewhere")
    text = said(session)
    assert session.returncode == 0, text
    assert "PASSED test_it.py::test_somewhere[1@debian:9.9]" in text
    assert "PASSED test_it.py::test_somewhere[2@debian:9.9]" in text
    assert "booting debian:9.9 on elsewhere" in text
    # The very kernel that was found here, whatever is the newest of its series there.
    assert (root / ".rttcheck/recordings/seen").read_text() == "debian:9.9.9\n"
    assert (root / ".rttcheck/consoles/9.9.9-amd64.log").read_text() == "up\n"
    assert [kernel["where"] for kernel in kernels(root)] == ["elsewhere"]
    assert other.ssh("ls $RTTCHECK_CACHE/sessions | wc -l").strip() == "0"


def test_two_kernels_use_two_machines(other: Elsewhere, root: Path) -> None:
    session = start(
        other, root, "--rtt-kernel", "debian:9.8", "--rtt-kernel", "debian:9.9", "--rtt-jobs", "1", "test_it.py"
    )
    text = said(session)
    assert session.returncode == 0, text
    assert {kernel["where"] for kernel in kernels(root)} == {"", "elsewhere"}
    assert "6 passed" in text


@pytest.mark.parametrize("jobs", ["1", "0"])
def test_work_of_a_machine_that_goes_away_is_given_to_another(other: Elsewhere, root: Path, jobs: str) -> None:
    (root / "WAIT").touch()
    os.mkfifo(root.with_name("begun"))
    names = (
        ["--rtt-kernel", "debian:9.8", "--rtt-kernel", "debian:9.9"] if jobs == "1" else ["--rtt-kernel", "debian:9.9"]
    )
    session = start(other, root, *names, "--rtt-jobs", jobs, "test_it.py")
    assert is_opened(root.with_name("begun"), within_s=60), said(session, within_s=1)
    other.switch_off()
    text = said(session, within_s=GONE_S + 60)
    moved = next(kernel for kernel in kernels(root) if kernel["departures"])
    assert "the machine elsewhere does not answer" in text
    if jobs == "1":
        assert session.returncode == 0, text
        assert "6 passed" in text
        assert (moved["where"], moved["losses"], moved["lost"]) == ("", [], 0)
        assert "was given to another machine, which ran its tests" in text
    else:
        assert session.returncode == EXIT_LOST, text
        assert "no machine is left that can run it" in text
        assert "2 passed" in text
        assert "1 lost" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--rtt-kernel", "debian:9.9", "--rtt-on=-oProxyCommand=x"], "is no machine"),
        (["--rtt-kernel", "debian:9.9", "--rtt-on", "no-such-host"], "ssh reports"),
        (["--rtt-kernel", "host", "--rtt-jobs", "0"], "is on this machine only"),
        (
            ["--rtt-kernel", "debian:9.9", "test_it.py", "/usr/lib/python3/dist-packages"],
            "is not under the tests' root",
        ),
    ],
)
def test_what_makes_no_sense_is_one_sentence(other: Elsewhere, root: Path, arguments: list[str], sentence: str) -> None:
    session = start(other, root, "--rootdir", str(root), *arguments)
    text = said(session)
    assert session.returncode == 4, text
    assert sentence in " ".join(text.split())
    assert "Traceback" not in text
