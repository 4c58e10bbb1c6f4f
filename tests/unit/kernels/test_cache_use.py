"""A session marks what it uses with a lock that ends with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rttcheck.kernels.use import in_use, is_used, last_used, touch, unused


def test_what_is_in_use_cannot_be_had_for_removal(tmp_path: Path) -> None:
    with in_use(tmp_path, "6.12"):
        assert is_used(tmp_path, "6.12")
        with unused(tmp_path, "6.12") as free:
            assert not free
        with unused(tmp_path, "6.1") as other:
            assert other
    assert not is_used(tmp_path, "6.12")
    with unused(tmp_path, "6.12") as free:
        assert free


def test_two_sessions_use_one_kernel(tmp_path: Path) -> None:
    with in_use(tmp_path, "6.12"):
        with in_use(tmp_path, "6.12"):
            pass
        assert is_used(tmp_path, "6.12")


def test_a_use_is_remembered(tmp_path: Path) -> None:
    assert last_used(tmp_path, "6.12") is None
    touch(tmp_path, "6.12")
    os.utime(tmp_path / "use/6.12", (1000, 1000))
    assert last_used(tmp_path, "6.12") == 1000
    touch(tmp_path, "6.12")
    used = last_used(tmp_path, "6.12")
    assert used is not None
    assert used > 1000


def test_a_killed_session_uses_nothing(tmp_path: Path) -> None:
    holder = (
        "import sys; from pathlib import Path; from rttcheck.kernels.use import in_use\n"
        "with in_use(Path(sys.argv[1]), '6.12'):\n    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert is_used(tmp_path, "6.12")
        process.kill()
        process.wait()
        assert not is_used(tmp_path, "6.12")


def test_a_cache_that_cannot_be_written_is_used_without_a_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with in_use(tmp_path, "6.12"):
        assert last_used(tmp_path, "6.12") is None
