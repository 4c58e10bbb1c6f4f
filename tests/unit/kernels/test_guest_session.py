"""The session's shell text, run by a shell of this machine instead of the guest's init."""

from __future__ import annotations

import subprocess
from pathlib import Path

from rttcheck.kernels.session import GuestSession

# Programs of init's are printed in place of being run.
INIT = 'must() { "$@"; }\nB=echo\n'


def run(session: GuestSession, function: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", f"{INIT}{session.script()}\n{function}"], capture_output=True, text=True, check=False
    )


def test_arguments_and_environment_arrive_as_they_are(tmp_path: Path) -> None:
    awkward = 'it\'s "a" $HOME `x` \\ \n new line'
    session = GuestSession(
        argv=["printf", "%s|", awkward, ""], cwd=tmp_path, environment={"AWKWARD": awkward, "EMPTY": ""}
    )
    assert run(session, "session_command").stdout == f"{awkward}||"
    session = GuestSession(argv=["printenv", "AWKWARD"], cwd=tmp_path, environment={"AWKWARD": awkward})
    assert run(session, "session_command").stdout == f"{awkward}\n"


def test_the_status_is_the_commands(tmp_path: Path) -> None:
    assert run(GuestSession(argv=["sh", "-c", "exit 7"], cwd=tmp_path), "session_command").returncode == 7


def test_a_directory_that_is_not_there_is_no_success(tmp_path: Path) -> None:
    assert run(GuestSession(argv=["true"], cwd=tmp_path / "gone"), "session_command").returncode == 126


def test_the_hosts_files_are_read_only_and_cached(tmp_path: Path) -> None:
    mounts = run(GuestSession(argv=["true"], cwd=tmp_path), "session_root").stdout
    assert "cache=loose,ro /dev/root /lower" in mounts
    assert "lowerdir=/lower,upperdir=/scratch/upper" in mounts


def test_the_shared_directory_is_written_through_at_the_same_path(tmp_path: Path) -> None:
    shared = tmp_path / "with space"
    mounts = run(GuestSession(argv=["true"], cwd=tmp_path, rw=shared), "session_mounts").stdout
    assert f"cache=none,rw rttcheck.rw {shared}\n" in mounts


def test_bound_paths_are_mounted_at_their_places(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "a file").touch()
    place = tmp_path / "place"
    session = GuestSession(
        argv=["true"],
        cwd=place / "deep",
        rw=tmp_path / "there",
        rw_at=place / "written",
        binds=((tmp_path / "tests", place / "tests"), (tmp_path / "a file", place / "a file")),
    )
    place.mkdir()
    mounts = run(session, "session_mounts").stdout.splitlines()
    assert f"mkdir -p {place}/tests" in mounts
    assert f"mount -o bind {tmp_path}/tests {place}/tests" in mounts
    assert f"mount -o bind {tmp_path}/a file {place}/a file" in mounts
    assert (place / "a file").is_file()
    assert f"mkdir -p {place}/deep" in mounts
    assert mounts[-1].endswith(f"rttcheck.rw {place}/written")


def test_modprobe_finds_the_kernels_own_modules(tmp_path: Path) -> None:
    tree = Path("/cache/lib/modules/6.99-amd64")
    mounts = run(GuestSession(argv=["true"], cwd=tmp_path, modules=tree), "session_mounts").stdout
    assert f"ln -s {tree} /lib/modules/6.99-amd64\n" in mounts
