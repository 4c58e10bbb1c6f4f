"""The plugin where tests are run: in a guest's Python, or in a process on the running kernel.

Owns which tests a kernel is there for, and what it is called in their ids. It refuses to know who sends them.
"""

from __future__ import annotations

import os
import re

import pytest

FIXTURES = frozenset({"rtt", "lab", "rtt_harness"})

KERNEL_INPUT = "rttcheck_kernel"
"""The item of xdist's ``workerinput`` that says what a worker's kernel is called."""

_SUFFIX = re.compile(r"(?<=::).*?(@(?:host|debian:[^@\s]+|\.{0,2}/[^@]*))$")


def in_guest() -> bool:
    """Whether this process runs in a guest that rttcheck booted."""
    return os.environ.get("RTTCHECK_GUEST") == "1"


def kernel_of(config: pytest.Config) -> str | None:
    """What the kernel that this process runs on was called by the user; None where none was asked for."""
    given: str | None = getattr(config, "workerinput", {}).get(KERNEL_INPUT)
    return given


def with_kernel(nodeid: str, kernel: str) -> str:
    """A test's id as reports of a session of several kernels show it, each kernel's test being one of its own."""
    return f"{nodeid}@{kernel}"


def without_kernel(nodeid: str) -> str:
    """A test's id as pytest knows it, without the kernel that a report showed it with: ``t.py::test_x@debian:6.1``."""
    found = _SUFFIX.search(nodeid)
    return nodeid[: found.start(1)] if found else nodeid


class Worker:
    """Deselects, in a guest, what is no scenario: a guest is there for its kernel, and every other test has a host."""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keep items with the marker ``rtt`` or one of the plugin's fixtures."""
        if not in_guest():
            return
        kept = [item for item in items if _is_scenario(item)]
        dropped = [item for item in items if not _is_scenario(item)]
        if dropped:
            config.hook.pytest_deselected(items=dropped)
            items[:] = kept


def _is_scenario(item: pytest.Item) -> bool:
    if item.get_closest_marker("rtt") is not None:
        return True
    return bool(FIXTURES.intersection(getattr(item, "fixturenames", ())))
