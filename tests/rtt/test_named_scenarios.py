"""The scenarios that have a name: what `rttcheck run NAME` runs, as one test each."""

from __future__ import annotations

import pytest

from rttcheck.plugin import Runner
from rttcheck.scenario.library import NAMED


@pytest.mark.rtt
@pytest.mark.parametrize("name", NAMED)
def test_scenario(rtt: Runner, name: str) -> None:
    rtt(NAMED[name])
