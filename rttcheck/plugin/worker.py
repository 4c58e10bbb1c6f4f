"""The plugin where tests run, in a guest or on the running kernel: test selection, and kernels in test ids."""

from __future__ import annotations

import os
import re

import pytest

FIXTURES = frozenset({"rtt", "lab", "rtt_harness"})

KERNEL_INPUT = "rttcheck_kernel"
"""The key in xdist's ``workerinput`` of the user's name of the worker's kernel."""

_KERNEL = re.compile(r"@(host|debian:[^@\s\]]+|\.{0,2}/[^@\]]*)\]$")


def in_guest() -> bool:
    """Return whether this process runs in a guest of rttcheck."""
    return os.environ.get("RTTCHECK_GUEST") == "1"


def kernel_of(config: pytest.Config) -> str | None:
    """Return the user's name of the kernel that this process runs on; None in a session without workers."""
    given: str | None = getattr(config, "workerinput", {}).get(KERNEL_INPUT)
    return given


def with_kernel(nodeid: str, kernel: str) -> str:
    """Return a test's id with its kernel: ``t.py::test_x[a@debian:6.1]``, ``t.py::test_x[@host]``.

    The kernel has the form of a parameter, so that pytest and readers of its reports treat it as one.
    """
    if nodeid.endswith("]"):
        return f"{nodeid[:-1]}@{kernel}]"
    return f"{nodeid}[@{kernel}]"


def without_kernel(nodeid: str) -> str:
    """Return the id without its kernel, as pytest collects it."""
    path, colons, test = nodeid.partition("::")
    found = _KERNEL.search(test)
    if found is None:
        return nodeid
    bare = test[: found.start()]
    return f"{path}{colons}{bare[:-1] if bare.endswith('[') else bare + ']'}"


class Worker:
    """Deselects, in a guest, all tests but scenarios: only they need its kernel."""

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
