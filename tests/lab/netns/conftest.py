"""Fixtures of the tests that build networks: whether this machine may, and whether its kernel has netem."""

from __future__ import annotations

import os
from functools import cache

import pytest

from rttcheck_netns import Netem, UnsupportedByKernel, routed


@pytest.fixture(autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")


@cache
def _lacking_netem() -> str:
    try:
        with routed(out=Netem(delay_ns=1)):
            return ""
    except UnsupportedByKernel as lacking:
        return str(lacking)


@pytest.fixture
def netem_in_kernel() -> None:
    """Skip, with the reason, where the kernel has no netem; found out by trying."""
    if _lacking_netem():
        pytest.skip(_lacking_netem())


@pytest.fixture
def no_netem_in_kernel() -> None:
    """Skip where the kernel has netem."""
    if not _lacking_netem():
        pytest.skip("this kernel has netem")
