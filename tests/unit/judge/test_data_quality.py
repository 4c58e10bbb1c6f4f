"""Damage to a recording turns a failure into *inconclusive* where the check needs undamaged data, and only there."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from rttcheck.judge.check import Quality
from rttcheck.judge.checks import CHECKS
from rttcheck.judge.data_quality import apply_data_quality, reason_of
from rttcheck.judge.evidence import CLOCK_STEP_NS, Evidence
from rttcheck.judge.findings import Finding, Outcome
from tests.support.planted_wire import FACTS, with_packets


def damaged(**changes: Any) -> Evidence:
    return Evidence.of(dataclasses.replace(with_packets(), **changes))


def dropping(point: str) -> dict[str, Any]:
    return {"wire_facts": {**FACTS, "points": {point: {**FACTS["points"]["client"], "dropped": 7}}}}


def clock_set(step_ns: int) -> dict[str, Any]:
    return {"wire_facts": {**FACTS, "clock_step_ns": step_ns}}


def failures(*, control: bool = False) -> list[Finding]:
    return [
        dataclasses.replace(check.finding(Outcome.FAILED, "it fails", "", "", 1), control=control) for check in CHECKS
    ]


def inconclusive(evidence: Evidence, *, control: bool = False) -> set[str]:
    """Ids of checks whose failure becomes inconclusive."""
    return {
        one.check
        for one in apply_data_quality(failures(control=control), evidence)
        if one.outcome is Outcome.INCONCLUSIVE
    }


def of(*qualities: Quality) -> set[str]:
    return {check.id for check in CHECKS if check.quality in qualities}


BOTH = (Quality.PACKETS_AND_EVENTS, Quality.END_CAPTURES)
LINK = (Quality.LINK_CAPTURES, Quality.RELAY_ACCOUNT)


def test_nothing_is_excused_in_a_recording_that_is_whole() -> None:
    evidence = Evidence.of(with_packets())
    assert inconclusive(evidence) == inconclusive(evidence, control=True) == set()


@pytest.mark.parametrize(
    ("changes", "qualities", "reason"),
    [
        (dropping("client"), BOTH, "the captures dropped 7 packets"),
        (
            clock_set(2 * CLOCK_STEP_NS),
            (*BOTH, Quality.LINK_CAPTURES, Quality.RELAY_ACCOUNT),
            "was set by 200000 ns during the run",
        ),
        (clock_set(CLOCK_STEP_NS), (), ""),
        ({"lost": 3}, BOTH, "3 events were lost"),
        ({"scenario": {**with_packets().scenario, "corrupt": "1%"}}, BOTH, "corrupts packets"),
    ],
    ids=["dropped", "clock set", "clock read", "lost", "corrupt"],
)
def test_damage_makes_failures_of_the_affected_checks_inconclusive(
    changes: dict[str, Any], qualities: tuple[Quality, ...], reason: str
) -> None:
    evidence = damaged(**changes)
    assert inconclusive(evidence) == of(*qualities)
    assert all(reason in reason_of(evidence, quality) for quality in qualities)


def test_the_link_is_judged_by_its_own_captures() -> None:
    at_the_end, at_the_link = (
        reason_of(damaged(**dropping(point)), Quality.LINK_CAPTURES) for point in ("client", "link_near")
    )
    assert (at_the_end, at_the_link) == ("", "the link's captures dropped 7 packets")


def test_an_incomplete_relay_account_affects_the_checks_that_use_it() -> None:
    assert inconclusive(damaged(relay_facts={"unrecorded": 3, "clock_set": 0})) == of(Quality.RELAY_ACCOUNT)
    assert inconclusive(damaged(relay_facts={"unrecorded": 0, "clock_set": 1})) == of(*LINK)
    assert inconclusive(damaged(relay_facts={"unrecorded": 0, "clock_set": 0})) == set()


def test_only_its_own_lost_events_affect_the_control_run() -> None:
    lost = damaged(control_lost=2)
    assert inconclusive(lost) == set()
    assert "sample.exact" in inconclusive(lost, control=True)
    assert inconclusive(damaged(lost=3), control=True) == set()
