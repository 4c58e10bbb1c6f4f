"""Damage to a recording turns a failure into *inconclusive* where the check rests on it, and nowhere else."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from rttcheck.judge.check import Quality
from rttcheck.judge.checks import CHECKS
from rttcheck.judge.data_quality import reason_of, weighed
from rttcheck.judge.evidence import CLOCK_STEP_NS, Evidence
from rttcheck.judge.findings import Finding, Outcome
from tests.support.planted_wire import FACTS, witnessed


def damaged(**changes: Any) -> Evidence:
    return Evidence.of(dataclasses.replace(witnessed(), **changes))


def dropping(point: str) -> dict[str, Any]:
    return {"wire_facts": {**FACTS, "points": {point: {**FACTS["points"]["client"], "dropped": 7}}}}


def clock_set(step_ns: int) -> dict[str, Any]:
    return {"wire_facts": {**FACTS, "clock_step_ns": step_ns}}


def failures(*, control: bool = False) -> list[Finding]:
    return [
        dataclasses.replace(check.finding(Outcome.FAILED, "it fails", "", "", 1), control=control) for check in CHECKS
    ]


def inconclusive(evidence: Evidence, *, control: bool = False) -> set[str]:
    """Checks whose failure proves nothing."""
    return {one.check for one in weighed(failures(control=control), evidence) if one.outcome is Outcome.INCONCLUSIVE}


def of(*qualities: Quality) -> set[str]:
    return {check.id for check in CHECKS if check.quality in qualities}


BOTH = (Quality.PACKETS_AND_EVENTS, Quality.END_CAPTURES)
LINK = (Quality.LINK_CAPTURES, Quality.RELAY_ACCOUNT)


def test_nothing_is_excused_in_a_recording_that_is_whole() -> None:
    evidence = Evidence.of(witnessed())
    assert inconclusive(evidence) == inconclusive(evidence, control=True) == set()


@pytest.mark.parametrize(
    ("changes", "qualities", "reason"),
    [
        (dropping("client"), BOTH, "the captures dropped 7 packets"),
        (
            clock_set(2 * CLOCK_STEP_NS),
            (*BOTH, Quality.LINK_CAPTURES, Quality.RELAY_ACCOUNT),
            "was set by 200000 ns meanwhile",
        ),
        (clock_set(CLOCK_STEP_NS), (), ""),
        ({"lost": 3}, BOTH, "3 events were lost"),
        ({"scenario": {**witnessed().scenario, "corrupt": "1%"}}, BOTH, "corrupts packets"),
    ],
    ids=["dropped", "clock set", "clock read", "lost", "corrupt"],
)
def test_damage_excuses_what_rests_on_it(changes: dict[str, Any], qualities: tuple[Quality, ...], reason: str) -> None:
    evidence = damaged(**changes)
    assert inconclusive(evidence) == of(*qualities)
    assert all(reason in reason_of(evidence, quality) for quality in qualities)


def test_the_link_is_judged_by_its_own_captures() -> None:
    at_the_end, at_the_link = (
        reason_of(damaged(**dropping(point)), Quality.LINK_CAPTURES) for point in ("client", "link_near")
    )
    assert (at_the_end, at_the_link) == ("", "the link's captures dropped 7 packets")


def test_what_the_relays_account_lacks_excuses_what_rests_on_it() -> None:
    assert inconclusive(damaged(relay_facts={"unrecorded": 3, "clock_set": 0})) == of(Quality.RELAY_ACCOUNT)
    assert inconclusive(damaged(relay_facts={"unrecorded": 0, "clock_set": 1})) == of(*LINK)
    assert inconclusive(damaged(relay_facts={"unrecorded": 0, "clock_set": 0})) == set()


def test_the_control_run_is_excused_by_its_own_losses_only() -> None:
    lost = damaged(control_lost=2)
    assert inconclusive(lost) == set()
    assert "sample.exact" in inconclusive(lost, control=True)
    assert inconclusive(damaged(lost=3), control=True) == set()
