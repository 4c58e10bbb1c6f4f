"""Another machine, through a real sshd: what is brought there, what is left there, how one knows that it is gone."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import execnet
import pytest

from rttcheck.errors import RemoteError
from rttcheck.kernels.guest import GuestSettings
from rttcheck.remote.agent import wait_for_exit
from rttcheck.remote.destination import GONE_S, Destination
from rttcheck.remote.machine import LEASE_S, RemoteMachine, open_machine
from tests.support.other_machine import Elsewhere, elsewhere

SLACK_S = 10.0
"""Beside the deadlines that are tested: a busy machine's time for starting processes."""

WAITING = """
import os, pathlib, signal, sys
pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()}\\n")
print("up", flush=True)
signal.pause()
"""


@contextmanager
def opened(other: Elsewhere, root: Path, **changes: str) -> Iterator[RemoteMachine]:
    destination = replace(Destination.parse(other.destination, config=other.config), **changes)  # type: ignore[arg-type]
    with other.here.entered(), open_machine(destination, root=root, cwd=root, say=lambda _: None) as machine:
        yield machine


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    (made / "test_it.py").write_text("def test_it(): pass\n")
    (made / ".git").mkdir()
    return made


def test_the_code_is_brought_there_and_nothing_is_left(other: Elsewhere, root: Path) -> None:
    with opened(other, root) as machine:
        there = other.ssh(f"cd {machine.directory} && find root package -maxdepth 2 | sort").split()
        assert {"root/test_it.py", "package/rttcheck_netns", "package/rttcheck/plugin"} <= set(there)
        assert "root/.git" not in there
        assert machine.cores == len(os.sched_getaffinity(0))
        assert machine.notes == ()
        machine.require()
    assert other.ssh(f"ls {machine.directory}").strip().endswith("No such file or directory")


def place(tmp_path: Path) -> GuestSettings:
    return GuestSettings(kernel="debian:6.12", console=tmp_path / "console", rw=tmp_path / "recordings")


def test_what_a_guest_leaves_comes_home_whole(other: Elsewhere, root: Path, tmp_path: Path) -> None:
    with opened(other, root) as machine:
        left = machine.directory / "guests" / "guest0"
        other.ssh(
            f"mkdir -p {left}/recordings/6.12 && echo seen > {left}/recordings/6.12/a && echo up > {left}/console"
        )
        other.ssh(f"ln -s /etc/passwd {left}/recordings/6.12/link; echo no > {left}/stray")
        machine.fetch_files(place(tmp_path), name="guest0")
        assert not Path(left).exists()
    assert (tmp_path / "console").read_text() == "up\n"
    assert [path.name for path in (tmp_path / "recordings").rglob("*")] == ["6.12", "a"]
    assert (tmp_path / "recordings" / "6.12" / "a").read_text() == "seen\n"


def test_a_guest_that_never_began_left_nothing(other: Elsewhere, root: Path, tmp_path: Path) -> None:
    with opened(other, root) as machine:
        machine.fetch_files(place(tmp_path), name="guest0")
    assert not (tmp_path / "console").exists()


def test_a_machine_that_is_switched_off_is_known_to_be_gone(other: Elsewhere, root: Path, tmp_path: Path) -> None:
    with opened(other, root) as machine:
        other.switch_off()
        began = time.monotonic()
        with pytest.raises(RemoteError, match="the machine elsewhere does not answer"):
            machine.fetch_files(place(tmp_path), name="guest0")
        assert time.monotonic() - began < GONE_S + SLACK_S


def test_a_cable_that_is_pulled_is_noticed_on_both_sides(other: Elsewhere, root: Path) -> None:
    with opened(other, root) as machine:
        # This stands for a launcher; the agent ends it, though nothing of the pulled cable is told to sshd.
        guest = machine.directory / "guests" / "guest0"
        waits = shlex.join([sys.executable, "-c", WAITING, f"{guest}/pid"])
        up = other.ssh(f"mkdir -p {guest}; mkfifo {guest}/up; {waits} > {guest}/up 2>/dev/null & head -n 1 {guest}/up")
        assert up == "up\n"
        launcher = _pid_of(f"{guest}/pid")
        began = time.monotonic()
        other.unplug()
        with pytest.raises(RemoteError, match="does not answer"):
            machine.require()
        assert time.monotonic() - began < GONE_S + SLACK_S
        assert wait_for_exit(launcher, within_s=LEASE_S + SLACK_S)


def test_a_session_that_is_killed_leaves_nothing_there(other: Elsewhere, root: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from rttcheck.remote.destination import Destination\n"
        "from rttcheck.remote.machine import open_machine\n"
        "to = Destination.parse(sys.argv[1], config=Path(sys.argv[2]))\n"
        "with open_machine(to, root=Path(sys.argv[3]), cwd=Path('/'), say=lambda _: None) as machine:\n"
        "    print(machine.directory, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, other.destination, str(other.config), str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=other.inside(),
    ) as session:
        assert session.stdout is not None
        directory = session.stdout.readline().strip()
        assert "root" in other.ssh(f"ls {directory}")
        session.send_signal(signal.SIGKILL)
    # The agent lets go of its lock when all else is gone.
    left = other.ssh(f"(exec 9<{directory}/.lock && flock -w {int(SLACK_S)} 9) 2>/dev/null; ls {directory}")
    assert left.strip().endswith("No such file or directory")


def test_a_python_without_the_requirements_is_told_what_to_install(other: Elsewhere, root: Path) -> None:
    if json.loads(other.ssh("/usr/bin/python3 -c 'import json,sys; print(json.dumps(sys.version_info[:2]))'")) < [
        3,
        11,
    ]:
        pytest.skip("this machine's own python3 is older than 3.11")
    with (
        pytest.raises(RemoteError, match=r"python3 on elsewhere lacks execnet==[^;]*: install them"),
        opened(other, root, python="/usr/bin/python3"),
    ):
        pass


def test_a_python_that_is_not_there_is_named(other: Elsewhere, root: Path) -> None:
    with pytest.raises(RemoteError, match="/no/python does not run there"), opened(other, root, python="/no/python"):
        pass


def test_a_key_that_is_not_welcome_is_ssh_s_to_tell(other: Elsewhere, root: Path) -> None:
    (other.config.parent / "authorized").write_text("")
    with pytest.raises(RemoteError, match=r"ssh reports .*Permission denied.*without a prompt"), opened(other, root):
        pass


def test_a_shell_that_talks_at_login_is_told_of(tmp_path: Path, root: Path) -> None:
    forced = 'command="echo welcome; sh -c \\"$SSH_ORIGINAL_COMMAND\\"" '
    with (
        elsewhere(tmp_path / "talker", authorized=forced) as talker,
        pytest.raises(RemoteError, match="the shell there prints 'welcome'"),
        opened(talker, root),
    ):
        pass


def test_execnet_reaches_what_the_spec_names(other: Elsewhere, root: Path, tmp_path: Path) -> None:
    with opened(other, root) as machine:
        settings = replace(place(tmp_path), kernel="/no/such kernel")
        spec = execnet.XSpec(machine.gateway_spec(settings, name="guest0"))
        assert spec.id == "guest0"
        assert spec.ssh_config == str(other.config)
        said = other.ssh(f"{spec.python} -c pass; ls {machine.directory}/guests/guest0")
        assert said.splitlines()[:3] == ["console", "pid", "recordings"]
        assert "rttcheck: kernel '/no/such kernel' is neither" in said


def _pid_of(path: str) -> int:
    """The process, seen from outside of the machine, of which an argument is the file."""
    for found in Path("/proc").glob("[0-9]*/cmdline"):
        with_name = found.read_bytes().split(b"\0") if found.exists() else []
        if path.encode() in with_name:
            return int(found.parent.name)
    raise LookupError(path)
