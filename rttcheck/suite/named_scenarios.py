"""The named scenarios, which `rttcheck run NAME` runs, one test each.

They are part of the package so that an installed rttcheck can check kernels without a clone of the project.
"""

from __future__ import annotations

import pytest

from rttcheck.plugin import Runner
from rttcheck.scenario.library import NAMED


@pytest.mark.rtt
@pytest.mark.parametrize("name", NAMED)
def test_scenario(rtt: Runner, name: str) -> None:
    """Run one named scenario."""
    rtt(NAMED[name])
