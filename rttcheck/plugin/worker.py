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

_KERNEL = re.compile(r"@(host|debian:[^@\s\]]+|\.{0,2}/[^@\]]*)\]$")


def in_guest() -> bool:
    """Whether this process runs in a guest that rttcheck booted."""
    return os.environ.get("RTTCHECK_GUEST") == "1"


def kernel_of(config: pytest.Config) -> str | None:
    """What the kernel that this process runs on was called by the user; None where none was asked for."""
    given: str | None = getattr(config, "workerinput", {}).get(KERNEL_INPUT)
    return given


def with_kernel(nodeid: str, kernel: str) -> str:
    """A test's id as a session of several kernels shows it: ``t.py::test_x[a@debian:6.1]``, ``t.py::test_x[@host]``.

    The kernel is told as a parameter is, for to pytest and to who reads its reports it is one.
    """
    if nodeid.endswith("]"):
        return f"{nodeid[:-1]}@{kernel}]"
    return f"{nodeid}[@{kernel}]"


def without_kernel(nodeid: str) -> str:
    """The id that pytest collects for what `with_kernel` shows; anything else as it is."""
    path, colons, test = nodeid.partition("::")
    found = _KERNEL.search(test)
    if found is None:
        return nodeid
    bare = test[: found.start()]
    return f"{path}{colons}{bare[:-1] if bare.endswith('[') else bare + ']'}"


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
