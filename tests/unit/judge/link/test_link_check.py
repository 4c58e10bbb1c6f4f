"""Faults of a link's times that single packets show, and a link without faults."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from rttcheck.judge.findings import Layer, Outcome
from rttcheck.record.packet import Point
from rttcheck.record.recording import Recording
from tests.support.planted import record
from tests.support.planted_link import (
    START_NS,
    WAYS,
    checked,
    facts,
    failed,
    finding,
    in_order,
    linked,
    shifted,
    stepped,
    timed,
)
from tests.support.planted_wire import with_packets

MS = 1_000_000
SOONER, LATER = "link.never-early", "link.never-late"

TRUTHFUL: dict[str, dict[str, Any]] = {
    "constant": {"rtt": "20ms"},
    "short": {"rtt": "750us"},
    "uniform": {"rtt": "40ms", "jitter": "8ms"},
    "normal": {"rtt": "80ms", "jitter": "5ms", "distribution": "normal"},
    "pareto": {"rtt": "80ms", "jitter": "4ms", "distribution": "pareto"},
    "rate": {"rtt": "10ms", "rate": "2mbit", "payload": lambda place: 1_448 if place % 3 else 0},
    "both": {"rtt": "40ms", "jitter": "4ms", "rate": "2mbit", "payload": lambda _: 900},
    "loss": {"rtt": "20ms", "loss": "5%", "count": 400},
    "gemodel": {"rtt": "20ms", "loss": {"model": "gilbert-elliott", "p": "3%", "r": "30%"}, "count": 400},
    "double": {"rtt": "20ms", "duplicate": "10%", "loss": "5%", "count": 400},
    "reorder": {"rtt": "20ms", "reorder": "20%", "count": 400},
    "gap": {"rtt": "20ms", "reorder": "60%", "gap": 4, "count": 400},
    "asymmetric": {"rtt": None, "out": "35ms", "back": {"delay": "5ms", "jitter": "1ms"}},
}


@pytest.mark.parametrize("name", TRUTHFUL)
@pytest.mark.parametrize("clock", ["virtual", "real"])
def test_a_link_as_configured_passes(name: str, clock: str) -> None:
    checks = checked(linked(clock=clock, **TRUTHFUL[name]))
    assert [each.message for each in checks.findings if each.outcome is not Outcome.PASSED] == []
    assert {each.layer for each in checks.findings} == {Layer.LINK}
    assert len(checks.findings) >= 4


def test_one_nanosecond_too_early_fails() -> None:
    def early(by_ns: int) -> list[str]:
        # Packet 9 leaves 4.5 us after it was due.
        truthful = linked()
        return failed(checked(shifted(truthful, "back", lambda rows, _: -by_ns * (rows["tsval"] == 9))))

    assert early(4_500) == []
    assert early(4_501) == ["link.never-early"]


@pytest.mark.parametrize("clock", ["virtual", "real"])
@pytest.mark.parametrize("asked", ["21ms", "22ms"])
def test_a_delay_shorter_than_configured_is_found(asked: str, clock: str) -> None:
    found = finding(checked(linked(rtt=asked, truth={"rtt": "20ms"}, clock=clock)), SOONER)
    assert found.outcome is Outcome.FAILED
    assert found.message.startswith("120 of 120 packets out passed earlier than the link allows")


@pytest.mark.parametrize(
    ("asked", "real"), [("20ms", "21ms"), ("20ms", "22ms"), ("300us", "330us"), ("750us", "780us")]
)
def test_a_delay_longer_than_configured_is_found_in_virtual_time(asked: str, real: str) -> None:
    checks = checked(linked(rtt=asked, truth={"rtt": real}))
    assert failed(checks) == ["link.never-late"]
    assert "half of the 120 packets out left" in finding(checks, LATER).message


def test_one_direction_doubled_is_found_and_named() -> None:
    checks = checked(linked(rtt="20ms", truth={"rtt": None, "out": "10ms", "back": "20ms"}))
    assert failed(checks) == ["link.never-late"]
    assert " packets back left " in finding(checks, LATER).message


@pytest.mark.parametrize("way", ["out", "back"])
def test_the_median_may_be_late_by_one_and_a_half_of_forwarding_plus_timer(way: str) -> None:
    """Forwarded in 4.0 us (control run, no qdisc), timers 6 us late: 15 us, of which 4.9 are the planted machine's."""

    def late(by_us: int) -> Outcome:
        return finding(
            checked(shifted(linked(), way, lambda rows, _: 1_000 * by_us + 0 * rows["tsval"])), LATER
        ).outcome

    assert late(9) is Outcome.PASSED
    assert late(11) is Outcome.FAILED


def test_slow_forwarding_or_waking_does_not_excuse_netem() -> None:
    def late(by_us: int, forward_us: int, timer_us: int) -> Outcome:
        recording = timed(linked(), lambda _: 1_000 * timer_us)
        control = recording.control_wire.copy()
        control["time_ns"][control["outgoing"] == 1] += 1_000 * forward_us
        recording = shifted(recording, "out", lambda rows, _: 1_000 * by_us + 0 * rows["tsval"])
        return finding(checked(dataclasses.replace(recording, control_wire=in_order([control]))), LATER).outcome

    assert late(40, 20, 25) is Outcome.PASSED
    assert late(80, 20, 25) is Outcome.FAILED
    assert late(80, 20, 10_000) is Outcome.FAILED
    assert late(80, 10_000, 25) is Outcome.FAILED


@pytest.mark.parametrize(("late_us", "outcome"), [(90, Outcome.PASSED), (110, Outcome.FAILED)])
def test_late_timers_of_an_idle_kernel_are_found(late_us: int, outcome: Outcome) -> None:
    found = finding(checked(timed(linked(), lambda _: 1_000 * late_us)), "link.timers")
    assert found.outcome is outcome
    assert f"{late_us}.0 us late" in found.message


def test_without_timers_forwarding_counts_twice() -> None:
    """As in older recordings, whose control run went through a netem without delay."""
    recording = dataclasses.replace(linked(), timers=linked().timers[:0])
    assert failed(checked(recording)) == []
    assert not [each for each in checked(recording).findings if "timers" in each.key]
    late = shifted(recording, "out", lambda rows, _: 20_000 + 0 * rows["tsval"])
    assert failed(checked(late)) == ["link.never-late"]


@pytest.mark.parametrize("bump_us", [20, 200])
def test_a_bump_for_large_packets_alone_is_found(bump_us: int) -> None:
    recording = linked(payload=lambda place: 0 if place % 5 else 1_448)
    bumped = shifted(recording, "out", lambda rows, _: 1_000 * bump_us * (rows["payload"] > 1_000))
    assert failed(checked(recording)) == []
    found = finding(checked(bumped), LATER)
    assert found.outcome is Outcome.FAILED
    assert "half of the 24 packets out of 724 bytes or more left" in found.message


def test_a_bump_for_large_packets_is_found_among_smaller_ones() -> None:
    recording = linked(payload=lambda place: (1_448, 100, 100, 100, 0, 0)[place % 6])
    bumped = shifted(recording, "back", lambda rows, _: 20_000 * (rows["payload"] > 1_000))
    found = finding(checked(bumped), LATER)
    assert found.outcome is Outcome.FAILED
    assert "half of the 20 packets back of 724 bytes or more left" in found.message


def test_behind_a_rate_identical_packets_do_not_surely_delay_others() -> None:
    """The third may be the first, sent again: then it came before the second, or after."""
    recording = linked(rtt="40ms", rate="2mbit", payload=lambda _: 1_448, apart_us=7_000)
    wire = recording.wire.copy()
    for name in ("seq", "tsval"):
        again = wire["tsval"] == 22 if name == "tsval" else wire["seq"] == 1 + 1_448 * 22
        wire[name][again] = 20 if name == "tsval" else 1 + 1_448 * 20
    checks = checked(dataclasses.replace(recording, wire=wire))
    assert failed(checks) == []


def late_ones(recording: Recording, by_us: float, *which: int) -> Outcome:
    """What the check comes to when these packets out leave so much later."""
    shift = shifted(recording, "out", lambda rows, _: 1_000 * by_us * np.isin(rows["tsval"], which))
    return finding(checked(shift), LATER).outcome


def test_single_packets_may_be_late_by_the_machine_and_few_by_a_tenth_of_a_millisecond() -> None:
    """20 us, of which the planted machine takes up to 5.2. What one pause explains is no failure."""
    assert late_ones(linked(), 14, *range(0, 100, 10)) is Outcome.PASSED
    assert late_ones(linked(), 20, 9, 40) is Outcome.PASSED
    assert late_ones(linked(), 20, 9, 40, 70) is Outcome.FAILED
    assert late_ones(linked(), 90, 9, 40) is Outcome.PASSED
    assert late_ones(linked(), 110, 9) is Outcome.INCONCLUSIVE
    assert late_ones(linked(), 110, 9, 40) is Outcome.FAILED


APART = "20600us"
"""Delays of each way such that no packet comes in just when others are due: the processor is idle then."""


def at_work(which: range, apart_ns: int, answered: bool) -> Recording:
    """A packet arrives at the client just before these packets out are due, and it answers ``apart_ns`` later."""
    recording = linked(rtt=APART)
    wire = recording.wire.copy()
    due = wire[(wire["point"] == WAYS["out"][1]) & (wire["outgoing"] == 1) & np.isin(wire["tsval"], which)]
    came, went = due.copy(), due.copy()
    came["time_ns"] -= 6_000
    went["time_ns"] += apart_ns - 6_000
    for rows, outgoing in ((came, 0), (went, int(answered))):
        rows["point"], rows["outgoing"], rows["tsval"] = Point.CLIENT, outgoing, 500 + rows["tsval"]
    return dataclasses.replace(recording, wire=in_order([wire, came, went]))


def test_a_packet_waits_for_the_work_on_arrivals_at_an_end() -> None:
    """The processor surely works until it answers; a packet that only passes is a unit of 10 us."""
    which = range(0, 100, 10)
    assert late_ones(at_work(which, 90_000, answered=True), 95, *which) is Outcome.PASSED
    assert late_ones(at_work(which, 90_000, answered=False), 95, *which) is Outcome.FAILED
    assert late_ones(at_work(which, 20_000, answered=True), 95, *which) is Outcome.FAILED


def test_work_of_an_end_without_an_answer_is_not_visible() -> None:
    """A few packets may wait for it, up to 150 us; three are significant, and packets on the link do not count."""

    def late(by_us: int, *which: int, point: Point = Point.SERVER) -> Outcome:
        recording = linked(rtt=APART)
        wire = recording.wire.copy()
        due = wire[(wire["point"] == WAYS["out"][1]) & (wire["outgoing"] == 1) & np.isin(wire["tsval"], which)]
        due["time_ns"] -= 2_000
        due["point"], due["outgoing"], due["tsval"] = point, 0, 500 + due["tsval"]
        return late_ones(dataclasses.replace(recording, wire=in_order([wire, due])), by_us, *which)

    assert late(110, 9, 40) is Outcome.PASSED
    assert late(110, 9, 40, point=Point.LINK_NEAR) is Outcome.FAILED
    assert late(110, 9, 40, 70) is Outcome.FAILED
    assert late(280, 9, 40) is Outcome.FAILED


def test_later_packets_do_not_make_a_processor_busy() -> None:
    recording = linked(rtt=APART)
    wire = recording.wire.copy()
    due = wire[(wire["point"] == WAYS["out"][1]) & (wire["outgoing"] == 1)]
    extra = np.concatenate([due] * 3)
    extra["time_ns"] += np.repeat((16_000, 17_000, 18_000), len(due))
    extra["point"], extra["tsval"] = Point.CLIENT, 500 + extra["tsval"]
    busy = dataclasses.replace(recording, wire=in_order([wire, extra]))
    assert late_ones(busy, 0) is Outcome.PASSED
    assert late_ones(busy, 20, *range(120)) is Outcome.FAILED


def test_under_preempt_rt_few_packets_may_wait_for_a_preempted_thread() -> None:
    recording = dataclasses.replace(linked(), machine={"kernel_version": "#1 SMP PREEMPT_RT Debian"})
    assert late_ones(recording, 300, 9, 40) is Outcome.INCONCLUSIVE
    assert late_ones(recording, 300, *range(0, 120, 8)) is Outcome.FAILED
    assert late_ones(recording, 20, *range(120)) is Outcome.FAILED


def test_one_pause_of_each_direction_is_two() -> None:
    recording = linked()
    for way in ("out", "back"):
        recording = shifted(recording, way, lambda rows, _: 300_000 * (rows["tsval"] == 9))
    found = finding(checked(recording), LATER)
    assert found.outcome is Outcome.FAILED
    assert found.message.startswith("of 240 packets 1 out and 1 back left later")


def test_packets_due_at_once_wait_for_each_other() -> None:
    """Sixty packets due at once leave one after the other, each 4 us after the one before."""

    def burst(recording: Any, apart_ns: int) -> Outcome:
        wire = recording.wire.copy()
        here = (wire["tsval"] < 60) & (wire["src"][:, 15] == 2) & (wire["src"][:, 14] == 1)
        order = wire["tsval"].astype(np.int64)
        wire["time_ns"][here] = START_NS + order[here]
        left = here & (wire["outgoing"] == 1)
        wire["time_ns"][left] = START_NS + 10 * MS + 4_500 + apart_ns * order[left]
        return finding(checked(dataclasses.replace(recording, wire=wire)), LATER).outcome

    assert burst(linked(), 4_000) is Outcome.PASSED
    assert burst(linked(), 40_000) is Outcome.INCONCLUSIVE
    assert burst(linked(), 140_000) is Outcome.FAILED  # no pause is so long


def test_a_delay_that_changes_in_mid_run_is_found() -> None:
    recording = linked()
    changed = shifted(recording, "out", lambda _, left: MS * (left > START_NS + 200 * MS))
    assert failed(checked(changed)) == ["link.never-late"]


def test_each_packet_is_judged_by_the_setting_at_its_arrival() -> None:
    steps = [{"after": 20, "rtt": "80ms"}]
    at_ns = START_NS + 120 * 1_000 * 1_000
    early = linked(traffic="pingpong", steps=steps)
    late = linked(traffic="pingpong", steps=steps, truth={"rtt": "80ms"})
    wire = np.concatenate(
        [early.wire[early.wire["tsval"] < 50], late.wire[late.wire["tsval"] >= 61]]
    )  # what comes in up to 100 ms, and from 122 ms on: at 120 ms the link is empty, and changed
    recording = stepped(dataclasses.replace(early, wire=wire), at_ns)
    assert failed(checked(recording)) == []
    later = finding(checked(stepped(dataclasses.replace(early, wire=wire), START_NS + 200 * MS)), LATER)
    assert later.outcome is Outcome.FAILED
    sooner = finding(checked(stepped(dataclasses.replace(early, wire=wire), START_NS + 60 * MS)), SOONER)
    assert sooner.outcome is Outcome.FAILED


def test_packets_in_flight_during_a_change_are_left_out_and_counted() -> None:
    recording = stepped(linked(count=80, steps=[{"after": 20, "rtt": "20ms"}]), START_NS + 101 * MS)
    checks = checked(recording)
    assert failed(checks) == []
    assert any("10 packets were in flight while the link was changed" in note for note in checks.notes)


def test_behind_a_rate_each_packet_is_due_when_those_before_it_are_through() -> None:
    keywords: dict[str, Any] = {"rtt": "10ms", "rate": "2mbit", "payload": lambda _: 1_448, "apart_us": 5_000}
    assert failed(checked(linked(**keywords))) == []
    faster = linked(**keywords, truth={"rtt": "10ms", "rate": "2.1mbit"})
    assert finding(checked(faster), SOONER).outcome is Outcome.FAILED
    slower = linked(**keywords, truth={"rtt": "10ms", "rate": "1.95mbit"})
    assert finding(checked(slower), LATER).outcome is Outcome.FAILED


def test_packets_neither_delayed_nor_sent_ahead_are_found() -> None:
    recording = linked(reorder="20%", count=400)
    halfway = shifted(recording, "out", lambda rows, _: -5 * MS * (rows["tsval"] == 17))
    found = finding(checked(halfway), SOONER)
    assert found.outcome is Outcome.FAILED
    assert "neither sent ahead nor delayed as configured" in found.message


def test_without_a_control_run_late_packets_are_inconclusive() -> None:
    recording = linked()
    found = finding(checked(dataclasses.replace(recording, control_wire=recording.control_wire[:0])), LATER)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "control run" in found.message


def test_captures_that_dropped_packets_are_inconclusive() -> None:
    recording = linked(rtt="21ms", truth={"rtt": "20ms"})
    checks = checked(dataclasses.replace(recording, wire_facts=facts(dropped=3)))
    found = finding(checks, SOONER)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.message.endswith("but the link's captures dropped 3 packets")


def test_a_link_that_nothing_passed_is_not_passed() -> None:
    recording = linked()
    found = finding(checked(dataclasses.replace(recording, wire=recording.wire[:0])), SOONER)
    assert found.outcome is Outcome.INCONCLUSIVE


def test_a_link_that_was_not_captured_gives_a_note_and_no_finding() -> None:
    # As in recordings of older versions: since then packets are seen before netem, and the link is judged.
    points = linked().wire_facts["points"]
    at_the_ends = {"points": {name: point for name, point in points.items() if not name.startswith("link")}}
    for recording, words in (
        (with_packets(), "no packets were captured at the link"),
        (dataclasses.replace(linked(topology="direct"), wire_facts=at_the_ends), "netem runs at the ends"),
        (dataclasses.replace(linked(), engine="carrier pigeons"), "no model of the engine carrier pigeons"),
    ):
        checks = checked(recording)
        assert checks.findings == ()
        assert any(words in note for note in checks.notes), words
    assert checked(record()).notes == ()


def test_a_link_at_the_ends_is_judged_like_one_in_the_middle() -> None:
    found = checked(linked(topology="direct")).findings
    assert found
    assert {finding.check: finding.outcome for finding in found} == {
        finding.check: finding.outcome for finding in checked(linked()).findings
    }


def test_slots_have_a_lower_bound_only() -> None:
    recording = linked(slot={"min": "2ms", "max": "4ms"})
    late = shifted(recording, "out", lambda rows, _: 3 * MS + 0 * rows["tsval"])
    late = shifted(late, "back", lambda rows, _: 3 * MS + 0 * rows["tsval"])
    checks = checked(late)
    assert failed(checks) == []
    assert any("only the lower bound is checked" in note for note in checks.notes)
    assert failed(checked(shifted(late, "out", lambda rows, _: -4 * MS * (rows["tsval"] == 5)))) != []


def test_figures_name_each_direction() -> None:
    figures = dict(checked(linked(rtt=None, out="35ms", back="5ms")).figures)
    assert (figures["link_out_packets"], figures["link_out_median_us"], figures["link_back_median_us"]) == (
        120, 35_005, 5_005,
    )  # fmt: skip


def swapped(clock: str, apart_ns: int) -> list[str]:
    """A link of 2 Mbit/s that is handed every second packet before the one that was captured ``apart_ns`` earlier."""
    truthful = linked(rtt="10ms", rate="2mbit", payload=lambda _: 1_000, apart_us=100, count=60, clock=clock)
    wire = truthful.wire.copy()
    for first, _ in WAYS.values():
        came = np.flatnonzero((wire["point"] == first) & (wire["outgoing"] == 0))
        # Served in the order 0, 1, 2, ...: 1 is captured after 2, 3 after 4, and so on.
        wire["time_ns"][came[1:-1:2]] = wire["time_ns"][came[2::2]] + apart_ns
    return failed(checked(dataclasses.replace(truthful, wire=in_order([wire]))))


def test_two_processors_may_enqueue_in_another_order_than_they_capture() -> None:
    # 3.6 us is what the control run's quickest packet takes from one side to the other.
    assert swapped("real", 1_000) == []
    # A virtual machine has one processor, and no two of anything at once.
    assert "link.never-early" in swapped("virtual", 1_000)
    assert "link.never-early" in swapped("real", 30_000)


def test_packets_within_the_forwarding_time_of_one_may_leave_in_reverse_order() -> None:
    def overtaken(clock: str, apart_ns: int) -> Outcome:
        truthful = linked(clock=clock, late_ns=4_500)
        wire = truthful.wire.copy()
        first, last = WAYS["out"]
        for point, outgoing in ((first, 0), (last, 1)):
            rows = np.flatnonzero((wire["point"] == point) & (wire["outgoing"] == outgoing))
            # Packet 30 comes just before packet 31, and leaves just after it.
            one, other = rows[30], rows[31]
            wire["time_ns"][one] = wire["time_ns"][other] + (apart_ns if point == last else -apart_ns)
        return finding(checked(dataclasses.replace(truthful, wire=in_order([wire]))), "link.order").outcome

    assert overtaken("real", 2_000) is Outcome.PASSED
    assert overtaken("real", 30_000) is Outcome.INCONCLUSIVE
    assert overtaken("virtual", 2_000) is Outcome.FAILED
