"""Links that lose, duplicate, send ahead or reorder other packets than configured."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import numpy as np
import pytest

from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Outcome
from rttcheck.judge.link.counts import most_waiting, packets_waiting
from rttcheck.judge.link.way import Way
from rttcheck_netns.netem import Netem
from tests.support.planted_link import Fate, checked, facts, failed, finding, linked, netem_by_hand, shifted

MS = 1_000_000
LOST, DOUBLED, AHEAD, ORDER = "link.loss", "link.duplicates", "link.reordered", "link.order"


def test_loss_that_is_not_configured_is_found_in_one_packet() -> None:
    def link(netem: Netem, packets: list[tuple[int, int]], dice: random.Random) -> list[Fate]:
        fates = netem_by_hand(netem, packets, dice)
        return [*fates[:50], (), *fates[51:]]

    found = finding(checked(linked(link=link)), LOST)
    assert found.outcome is Outcome.FAILED
    assert found.message.startswith("out: 1 of 120 packets were lost, where the settings give 0.0 in the mean")


@pytest.mark.parametrize(
    ("asked", "real", "outcome"),
    [("5%", "0%", Outcome.FAILED), ("5%", "15%", Outcome.FAILED), ("5%", "5%", Outcome.PASSED),
     ("5%", "4%", Outcome.PASSED)],
)  # fmt: skip
def test_shares_of_loss_are_tested_statistically(asked: str, real: str, outcome: Outcome) -> None:
    found = finding(checked(linked(loss=asked, truth={"rtt": "20ms", "loss": real}, count=400)), LOST)
    assert found.outcome is outcome
    assert found.samples == 800
    assert "both ways 13 to 75 of 800 (false alarm in 1 of 1,000,000 runs)" in found.expected


def test_one_direction_that_loses_nothing_is_found_beside_one_that_does() -> None:
    truth = {"rtt": None, "out": {"delay": "10ms", "loss": "5%"}, "back": "10ms"}
    found = finding(checked(linked(loss="5%", truth=truth, count=400)), LOST)
    assert found.outcome is Outcome.FAILED
    assert found.message.startswith("back: 0 of 400 packets were lost, where the settings give 20.0 in the mean")


def test_no_loss_in_few_packets_is_inconclusive_and_in_very_few_noted() -> None:
    def none_lost(count: int, share: str) -> Any:
        return checked(linked(loss=share, truth={"rtt": "20ms"}, count=count))

    suspicious = finding(none_lost(120, "5%"), LOST)
    assert suspicious.outcome is Outcome.INCONCLUSIVE
    assert "that happens by chance in 1 of 221,991 runs" in suspicious.message
    checks = none_lost(60, "1%")
    assert finding(checks, LOST).outcome is Outcome.PASSED
    assert any("too few packets to detect a link on which none is lost: out 60" in note for note in checks.notes)


def test_stateful_loss_is_tested_against_its_own_model() -> None:
    """Bursts of three packets, 9 % in all."""
    model = {"model": "gilbert-elliott", "p": "3%", "r": "30%"}
    for real, outcome in (({"loss": model}, Outcome.PASSED), ({"loss": "0%"}, Outcome.FAILED),
                          ({"loss": "30%"}, Outcome.FAILED)):  # fmt: skip
        found = finding(checked(linked(loss=model, truth={"rtt": "20ms", **real}, count=600)), LOST)
        assert found.outcome is outcome


def test_a_hit_default_limit_of_the_queue_is_named() -> None:
    checks = checked(linked(count=1_500, apart_us=5, rtt="20ms"))
    assert failed(checks) == ["link.loss"]
    assert "the queue's default limit of 1000 packets was hit" in finding(checks, LOST).message
    assert "500 out with 1000 waiting" in finding(checks, LOST).message


def test_a_configured_limit_explains_its_own_drops_only() -> None:
    keywords: dict[str, Any] = {"count": 300, "apart_us": 1_000, "rtt": "40ms", "limit": 8}
    asked = finding(checked(linked(**keywords)), LOST)
    assert asked.outcome is Outcome.PASSED
    assert "by the configured limit" in asked.message
    smaller = linked(**keywords, truth={"rtt": "40ms", "limit": 5})
    assert finding(checked(smaller), LOST).outcome is Outcome.FAILED


def test_a_limit_smaller_than_configured_is_recognised() -> None:
    checks = checked(linked(count=300, apart_us=1_000, rtt="40ms", truth={"rtt": "40ms", "limit": 12}))
    assert failed(checks) == ["link.loss"]
    assert (
        "all found 12 packets waiting, which looks like a queue's limit (configured: 1000)"
        in finding(checks, LOST).message
    )


@pytest.mark.parametrize(
    ("real", "outcome"), [("0%", Outcome.FAILED), ("40%", Outcome.FAILED), ("10%", Outcome.PASSED)]
)
def test_shares_of_duplicates_are_tested_statistically(real: str, outcome: Outcome) -> None:
    found = finding(checked(linked(duplicate="10%", truth={"rtt": "20ms", "duplicate": real}, count=300)), DOUBLED)
    assert found.outcome is outcome


def test_a_copy_that_is_not_configured_is_found() -> None:
    checks = checked(linked(truth={"rtt": "20ms", "duplicate": "3%"}))
    assert failed(checks) == ["link.duplicates"]


def test_copies_are_lost_like_all_others() -> None:
    """20 % loss and 30 % duplication: 14 % vanish and 19.2 % leave twice."""
    keywords: dict[str, Any] = {"loss": "20%", "duplicate": "30%", "count": 1_000}
    checks = checked(linked(**keywords))
    assert failed(checks) == []
    assert (
        "where the settings give 140.0 in the mean"
        in finding(checked(linked(**keywords, truth={"rtt": "20ms"})), LOST).message
    )
    without = checked(linked(**keywords, truth={"rtt": "20ms", "loss": "20%"}))
    assert finding(without, DOUBLED).outcome is Outcome.FAILED
    assert finding(without, LOST).outcome is Outcome.FAILED  # 20 % vanish, where copies should have saved some


def test_packets_that_never_came_in_are_found() -> None:
    recording = linked()
    wire = recording.wire.copy()
    wire["window"][np.flatnonzero(wire["outgoing"] == 1)[7]] += 1
    found = finding(checked(dataclasses.replace(recording, wire=wire)), DOUBLED)
    assert found.outcome is Outcome.FAILED
    assert found.message == "packets left the link that had not come in: 1 back"


@pytest.mark.parametrize(
    ("asked", "real", "outcome"),
    [
        ({"reorder": "20%"}, {"reorder": "20%"}, Outcome.PASSED),
        ({"reorder": "20%"}, {}, Outcome.FAILED),
        ({"reorder": "20%"}, {"reorder": "40%"}, Outcome.FAILED),
        ({"reorder": "60%", "gap": 5}, {"reorder": "60%", "gap": 5}, Outcome.PASSED),
        ({"reorder": "60%", "gap": 5}, {"reorder": "60%", "gap": 2}, Outcome.FAILED),
        ({"reorder": "60%", "gap": 2}, {"reorder": "60%", "gap": 5}, Outcome.FAILED),
    ],
)
def test_packets_sent_ahead_are_tested_statistically(
    asked: dict[str, Any], real: dict[str, Any], outcome: Outcome
) -> None:
    checks = checked(linked(**asked, truth={"rtt": "20ms", **real}, count=400))
    assert finding(checks, AHEAD).outcome is outcome


def test_a_packet_sent_again_without_timestamps_may_have_been_sent_ahead() -> None:
    """The first of each two that are alike is lost, 40 ms before the second, which is sent ahead or is not."""

    def link(netem: Netem, packets: list[tuple[int, int]], dice: random.Random) -> list[Fate]:
        fates = netem_by_hand(netem, packets, dice)
        return [fate if place % 40 >= 20 else () for place, fate in enumerate(fates)]

    recording = linked(reorder="20%", count=400, link=link)
    wire = recording.wire.copy()
    wire["tsval"] -= 20 * (wire["tsval"] % 40 >= 20).astype(np.uint32)
    wire["seq"] = 1 + 1_448 * wire["tsval"]
    checks = checked(dataclasses.replace(recording, wire=wire))
    assert failed(checks) == ["link.loss"]


def test_sent_ahead_without_a_setting_is_too_early() -> None:
    checks = checked(linked(truth={"rtt": "20ms", "reorder": "5%"}, count=100))
    assert "link.never-early" in failed(checks)
    assert not [each for each in checks.findings if AHEAD in each.key]


def test_a_packet_that_overtakes_another_of_its_connection_is_found() -> None:
    recording = linked(apart_us=50)
    overtaken = shifted(recording, "out", lambda rows, _: 60_000 * (rows["tsval"] == 30))
    found = finding(checked(overtaken), ORDER)
    assert found.outcome is Outcome.FAILED
    assert "1 of 120 out" in found.message
    in_real_time = dataclasses.replace(overtaken, clock="real")
    assert finding(checked(in_real_time), ORDER).outcome is Outcome.INCONCLUSIVE


def test_packets_of_different_connections_may_overtake_each_other() -> None:
    recording = linked(apart_us=50)
    wire = recording.wire.copy()
    wire["sport"][wire["tsval"] % 2 == 1] += 1
    wire["dport"][wire["tsval"] % 2 == 1] += 1
    apart = dataclasses.replace(recording, wire=wire)
    overtaken = shifted(apart, "out", lambda rows, _: 60_000 * (rows["tsval"] == 30))
    assert finding(checked(overtaken), ORDER).outcome is Outcome.PASSED


def test_random_delays_may_reorder_packets() -> None:
    checks = checked(linked(rtt="40ms", jitter="8ms"))
    assert not [each for each in checks.findings if ORDER in each.key]


@pytest.mark.parametrize(
    ("keywords", "what"),
    [
        ({"loss": "5%", "loss_correlation": "25%"}, "0 of 120 packets lost, not judged"),
        ({"loss": "5%", "ecn": True}, "0 of 120 packets lost, not judged"),
        ({"corrupt": "5%"}, "0 of 120 packets lost, not judged"),
        ({"duplicate": "5%", "duplicate_correlation": "25%"}, "0 of 120 packets duplicated, not judged"),
        ({"reorder": "5%", "reorder_correlation": "25%"}, "0 of 120 packets sent ahead, not judged"),
        ({"loss": {"model": "gilbert-elliott", "p": "1%"}, "duplicate": "5%"}, "0 of 120 packets lost, not judged"),
    ],
)
def test_settings_that_netem_does_not_implement_as_named_are_noted_and_not_judged(
    keywords: dict[str, Any], what: str
) -> None:
    checks = checked(linked(**keywords, truth={"rtt": "20ms"}))
    assert failed(checks) == []
    assert any(what in note for note in checks.notes)


def test_dropped_captures_make_losses_inconclusive() -> None:
    recording = linked(truth={"rtt": "20ms", "loss": "20%"})
    found = finding(checked(dataclasses.replace(recording, wire_facts=facts(dropped=9))), LOST)
    assert found.outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("settings", [{}, {"loss": "5%"}, {"jitter": "5ms"}, {"rate": "1mbit"}, {"count": 1}])
def test_no_packet_finds_more_waiting_than_the_bound_that_saves_counting(settings: dict[str, Any]) -> None:
    evidence = Evidence.of(linked(**settings))
    for name in ("out", "back"):
        way = Way.of(evidence, name)
        waiting = packets_waiting(way)
        assert waiting.max() <= most_waiting(way) <= len(waiting)
