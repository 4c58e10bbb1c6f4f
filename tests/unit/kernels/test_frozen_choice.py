"""Which frozen guest a session gets: its own, an older one whose sources have changed since, or a new one."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rttcheck.kernels import frozen
from rttcheck.kernels.console import Console
from rttcheck.kernels.frozen import FrozenGuest
from rttcheck.kernels.machine import GuestMachine
from rttcheck.kernels.python_image import PythonImage

PYTHON = PythonImage(executable="/usr/bin/python3", environment={}, key="environment", sources="a" * 64)
RELEASE = "6.12.117+deb13-amd64"


class Cache:
    """A cache in which freezing only makes the files."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.frozen: list[str] = []
        self.starts = True
        self.lines: list[str] = []
        image = root / "vmlinuz"
        image.touch()
        self.machine = GuestMachine((str(image),), image=image, identity="initramfs")
        monkeypatch.setattr(frozen, "_freeze", self._freeze)

    def _freeze(self, _machine: GuestMachine, python: PythonImage, directory: Path, **_: Any) -> None:
        self.frozen.append(python.sources[:1])
        (directory / "state").touch()
        if self.starts:
            (directory / "python").touch()

    def session(self, python: PythonImage = PYTHON) -> FrozenGuest:
        return frozen.frozen_guest(
            self.machine,
            python,
            label=RELEASE,
            root=self.root,
            boot_s=1.0,
            console=Console(),
            progress=self.lines.append,
        )


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    return Cache(tmp_path, monkeypatch)


def test_a_guest_is_frozen_once(cache: Cache) -> None:
    one, two = cache.session(), cache.session()
    assert cache.frozen == ["a"]
    assert one == two
    assert (one.python, one.changed, one.machine.initramfs) == ("/usr/bin/python3", False, cache.machine.initramfs)


def test_changed_sources_use_the_older_guest_once_and_then_have_their_own(cache: Cache) -> None:
    own = cache.session()
    edited = replace(PYTHON, sources="b" * 64)
    first = cache.session(edited)
    assert (first.state, first.changed, cache.frozen) == (own.state, True, ["a"])
    second = cache.session(edited)
    assert (second.state != own.state, second.changed, cache.frozen) == (True, False, ["a", "b"])


def test_every_edit_of_a_busy_afternoon_uses_the_older_guest(cache: Cache) -> None:
    cache.session()
    for letter in "bcdef":
        assert cache.session(replace(PYTHON, sources=letter * 64)).changed
    assert cache.frozen == ["a"]


def test_another_environment_has_a_guest_of_its_own(cache: Cache) -> None:
    cache.session()
    assert not cache.session(replace(PYTHON, key="another environment", sources="b" * 64)).changed
    assert cache.frozen == ["a", "b"]


def test_a_guest_without_python_is_used_and_not_for_other_sources(cache: Cache) -> None:
    cache.starts = False
    assert cache.session().python == ""
    assert not cache.session(replace(PYTHON, sources="b" * 64)).changed
    assert cache.frozen == ["a", "b"]


def test_two_of_a_kernel_are_kept_the_last_used_ones(cache: Cache) -> None:
    for number, key in enumerate(("one", "two", "three"), start=1):
        state = cache.session(replace(PYTHON, key=key)).state
        os.utime(state.parent, (number, number))
    assert len(list((cache.root / "frozen").iterdir())) == 2
    cache.session(replace(PYTHON, key="three"))
    assert cache.frozen == ["a", "a", "a"]
