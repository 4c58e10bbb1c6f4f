"""The plugin inside a guest: only scenarios are run there."""

from __future__ import annotations

import os

import pytest

FIXTURES = frozenset({"rtt", "lab", "rtt_harness"})


def in_guest() -> bool:
    """Whether this process runs in a guest that rttcheck booted."""
    return os.environ.get("RTTCHECK_GUEST") == "1"


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
