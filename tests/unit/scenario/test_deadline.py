"""How long traffic may take: what is asked for, or what its link makes of the default."""

from __future__ import annotations

from typing import Any

import pytest

from rttcheck.scenario.model import Scenario


@pytest.mark.parametrize(
    ("keywords", "seconds"),
    [
        ({"rtt": "0ms"}, 30.0),
        ({"rtt": "300ms", "count": 100}, 30 + 3 * 100 * 0.3),
        ({"rtt": "300ms", "jitter": "50ms", "count": 10}, 30 + 3 * 10 * 0.4),
        ({"rtt": "20ms", "count": 90, "steps": [{"after": 30, "rtt": "2s"}]}, 30 + 3 * 90 * 2),
        ({"rtt": "100ms", "traffic": "connections", "count": 20}, 30 + 3 * 3 * 20 * 0.1),
        ({"rtt": "40ms", "traffic": "paced", "interval": "1s", "count": 60}, 90.0),
        ({"rtt": "300ms", "traffic": {"kind": "pingpong", "deadline": "5s"}}, 5.0),
    ],
)
def test_traffic_may_take_what_its_link_costs(keywords: dict[str, Any], seconds: float) -> None:
    assert Scenario.make(**keywords).deadline_s == pytest.approx(seconds)


def test_a_long_round_trip_does_not_change_the_control_run() -> None:
    assert Scenario.make(rtt="300ms").control().traffic == Scenario.make(rtt="1ms").control().traffic
