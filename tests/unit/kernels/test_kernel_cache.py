"""The cache has no incomplete entries."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rttcheck.errors import KernelError
from rttcheck.kernels.cache import cache_root, exclusive, staged


def ignore(_line: str) -> None:
    """Progress that is not checked."""


def test_what_was_made_stands_at_its_place(tmp_path: Path) -> None:
    with staged(tmp_path / "kernels" / "one") as staging:
        (staging / "file").write_text("whole")
        assert not (tmp_path / "kernels" / "one").exists()
    assert (tmp_path / "kernels" / "one" / "file").read_text() == "whole"
    assert [found.name for found in (tmp_path / "kernels").iterdir()] == ["one"]


def half_made(target: Path, interruption: type[BaseException]) -> None:
    with staged(target) as staging:
        (staging / "file").write_text("half")
        raise interruption


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_an_interruption_leaves_nothing(tmp_path: Path, interruption: type[BaseException]) -> None:
    with pytest.raises(interruption):
        half_made(tmp_path / "one", interruption)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match=r"the disk of .* is full; free some space"), staged(tmp_path / "one"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_session_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".one.leftover").mkdir()
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "damaged").touch()
    with staged(tmp_path / "one") as staging:
        (staging / "file").touch()
    assert sorted(str(found.relative_to(tmp_path)) for found in tmp_path.rglob("*")) == ["one", "one/file"]


def test_a_second_session_waits_with_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rttcheck.kernels.cache.QUIET_S", 0.01)
    messages: list[str] = []
    with (
        exclusive(tmp_path, progress=ignore),
        pytest.raises(KernelError, match="set RTTCHECK_CACHE to another directory"),
        exclusive(tmp_path, progress=messages.append, deadline_s=0.05),
    ):
        pass
    assert messages == [f"waiting for another session that is writing to {tmp_path}"]


def test_a_lock_dies_with_its_owner(tmp_path: Path) -> None:
    holder = (
        "import sys; from pathlib import Path; from rttcheck.kernels.cache import exclusive\n"
        "with exclusive(Path(sys.argv[1]), progress=print):\n    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        process.kill()
        messages: list[str] = []
        with exclusive(tmp_path, progress=messages.append, deadline_s=20.0):
            assert process.wait() == -9


def test_its_place_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("RTTCHECK_CACHE", raising=False)
    assert cache_root() == tmp_path / "rttcheck"
    monkeypatch.setenv("RTTCHECK_CACHE", str(tmp_path / "own"))
    assert cache_root() == tmp_path / "own"
    monkeypatch.delenv("RTTCHECK_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path.home() / ".cache/rttcheck"
