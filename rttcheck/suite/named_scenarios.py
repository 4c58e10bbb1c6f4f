"""The scenarios that have a name: what `rttcheck run NAME` runs, as one test each.

Part of the package, so that an installed rttcheck can ask kernels without a clone of the project.
"""

from __future__ import annotations

import pytest

from rttcheck.plugin import Runner
from rttcheck.scenario.library import NAMED


@pytest.mark.rtt
@pytest.mark.parametrize("name", NAMED)
def test_scenario(rtt: Runner, name: str) -> None:
    """One named scenario must pass."""
    rtt(NAMED[name])
