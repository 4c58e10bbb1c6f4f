"""The scenarios that have a name: what `rttcheck run NAME` runs, as one test each."""

from __future__ import annotations

from rttcheck.suite.named_scenarios import test_scenario

__all__ = ["test_scenario"]
