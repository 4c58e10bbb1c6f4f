"""Guests for tests: whether this machine can boot any, and how one is run and watched."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rttcheck.doctor.capability import GUEST, missing
from rttcheck.doctor.equipment import equipment
from rttcheck.kernels.cache import cache_root
from rttcheck.kernels.guest import GuestSettings, launcher_command
from rttcheck.remote.agent import wait_for_exit

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]

Launch = Callable[..., "subprocess.Popen[bytes]"]
"""Settings and the arguments of the guest's Python in, a running launcher out."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is in this directory on a machine that cannot boot a guest, and say what it lacks."""
    ours = [item for item in items if HERE in item.path.parents]
    lacking = [f"{thing.name}: {thing.remedy}" for thing in missing(equipment(), GUEST)] if ours else []
    for item in ours:
        if lacking:
            item.add_marker(pytest.mark.skip(reason=f"no guest can be booted here ({'; '.join(lacking)})"))


@pytest.fixture
def settings(tmp_path: Path) -> GuestSettings:
    """A guest of the newest 6.12 in virtual time; it shares the test's directory, where its console is, too."""
    return GuestSettings(kernel="debian:6.12", console=tmp_path / "console", rw=tmp_path, boot_s=240.0, overall_s=420.0)


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Start a launcher, from the project's root, with pipes for its streams; it is killed when the test ends."""
    with ExitStack() as stack:

        def start(settings: GuestSettings, *arguments: str) -> subprocess.Popen[bytes]:
            process = stack.enter_context(
                subprocess.Popen(
                    [*launcher_command(settings), *arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    cwd=PROJECT,
                )
            )
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture
def show(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Write a line to the terminal at once: tests here take long, and a person wants to see them move."""
    reporter = pytestconfig.pluginmanager.getplugin("terminalreporter")
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def line(text: str) -> None:
        if reporter is not None and capture is not None:
            with capture.global_and_fixture_disabled():
                reporter.write_line(f"    {text}")

    return line


@pytest.fixture
def emulator_of() -> Callable[[int], int]:
    """Finds the process id of the QEMU that the launcher with the given process id runs."""
    return _emulator_of


@pytest.fixture
def is_gone() -> Callable[..., bool]:
    """Asks whether a process ends before a deadline: ``is_gone(pid, within_s=10.0)``."""
    return wait_for_exit


def _emulator_of(launcher: int) -> int:
    """The process id of the QEMU that the launcher with this process id runs."""
    name = f"rttcheck-{launcher}".encode()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"-name" in words and name in words:
            return int(process.parent.name)
    raise LookupError(f"launcher {launcher} runs no QEMU")


def own_kernels(cache: Path) -> None:
    """Make a cache with this machine's kernels, as links to the same files, and no frozen guest."""
    cache.mkdir()
    for name in ("kernels", "trees", "apt"):
        if (cache_root() / name).exists():
            shutil.copytree(cache_root() / name, cache / name, copy_function=os.link, symlinks=True)
