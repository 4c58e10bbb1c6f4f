"""The suite that is soaked: every named scenario as one test, as in the project's own suite.

Part of the package, so that an installed rttcheck can soak too.
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
