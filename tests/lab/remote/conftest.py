"""Fixtures of the tests on other machines: whether this one can play another, and one that does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.other_machine import PROJECT, Elsewhere, elsewhere


@pytest.fixture(autouse=True)
def _equipped() -> None:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    for program in ("/usr/sbin/sshd", "ssh", "unshare", "ip"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt-get install openssh-server openssh-client iproute2")


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Elsewhere]:
    """A machine that has this one's Python and packages, and not its source."""
    with elsewhere(
        tmp_path / "elsewhere", hidden=tuple(PROJECT / name for name in ("rttcheck", "netns", "bpf", "tests"))
    ) as machine:
        yield machine
