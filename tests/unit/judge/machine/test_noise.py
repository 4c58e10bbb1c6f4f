"""Noise explains values that are late as often and by as much as the machine was, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from rttcheck.judge.findings import Finding, Outcome
from rttcheck.judge.machine.noise import Account, Late, Noise
from rttcheck.judge.verdict import Verdict, judge
from rttcheck.record.recording import Recording
from rttcheck.record.tick import TICK
from rttcheck_netns.relay.line import Fate
from rttcheck_netns.relay.packets import PACKET
from tests.support.planted import SECOND, overheads, record
from tests.support.planted_link import checked, linked
from tests.support.planted_link import finding as link_finding
from tests.support.planted_wire import with_packets

US, MS = 1_000, 1_000_000
ABOVE, LEAD = "nominal.data-not-above", "sample.stamp-on-departure"

Lateness = Callable[[int], int]
"""How late the n-th of something is, in nanoseconds."""


def rare_peaks(number: int) -> int:
    return 20 * MS if number % 100 == 0 else 40 * US


def nearly_always(late_ns: int) -> Lateness:
    return lambda number: late_ns if number % 10 else 40 * US


def noisy(recording: Recording, late: Lateness, *, from_ns: int = 99 * SECOND, seconds: int = 130) -> Recording:
    """The recording with timers on two cores; the second is always in time."""
    ticks = np.zeros(2 * seconds * 1_000, dtype=TICK)
    of_one = np.arange(len(ticks) // 2)
    ticks["cpu"][len(of_one) :] = 1
    ticks["due_ns"] = from_ns + np.tile(of_one, 2) * MS
    ticks["late_ns"][: len(of_one)] = [late(number) for number in of_one.tolist()]
    ticks["late_ns"][len(of_one) :] = 12 * US
    return dataclasses.replace(recording, noise=ticks)


def relayed(recording: Recording, late: Lateness, *, count: int = 13_000) -> Recording:
    """The recording with the relay's account of packets, one every 10 ms."""
    packets = np.zeros(count, dtype=PACKET)
    packets["taken_ns"] = 99 * SECOND + np.arange(count) * 10 * MS
    packets["due_ns"] = packets["taken_ns"] + 10 * MS
    packets["released_ns"] = packets["due_ns"] + [late(number) for number in range(count)]
    packets["fate"] = Fate.PASSED
    return dataclasses.replace(recording, relay=packets)


def shifted_by(shift_us: int) -> Recording:
    """All samples of both sides are too long by so much, in real time."""
    values = [20_000 + overhead + shift_us for overhead in overheads(100)]
    return record(client=values, server=values, clock="real")


def finding(verdict: Verdict, check: str) -> Finding:
    (found,) = [each for each in verdict.findings if each.key == check]
    return found


def slow_stamps(events: np.ndarray) -> None:
    """The kernel adds 200 us to each sample."""
    for name in ("first_rtt_us", "last_rtt_us", "sample_us"):
        events[name] += 200


def test_a_shift_of_all_samples_is_not_explained_by_rare_peaks_however_high() -> None:
    verdict = judge(noisy(shifted_by(4_000), rare_peaks))
    assert finding(verdict, ABOVE).outcome is Outcome.FAILED
    assert verdict.outcome is Outcome.FAILED


def test_a_shift_of_all_samples_is_explained_by_a_machine_that_is_as_late_all_the_time() -> None:
    verdict = judge(noisy(shifted_by(4_000), nearly_always(5 * MS)))
    found = finding(verdict, ABOVE)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "but timers on core 0 ran 5000 us late (half of them)" in found.message
    assert verdict.outcome is Outcome.INCONCLUSIVE


def test_a_shift_is_not_explained_by_a_machine_that_is_always_less_late() -> None:
    # Six waits of 400 us are 2.4 ms.
    verdict = judge(noisy(shifted_by(4_000), nearly_always(400 * US)))
    assert finding(verdict, ABOVE).outcome is Outcome.FAILED


def test_noise_before_and_after_the_samples_explains_nothing() -> None:
    recording = shifted_by(4_000)
    before = noisy(recording, nearly_always(5 * MS), from_ns=90 * SECOND, seconds=9)
    assert finding(judge(before), ABOVE).outcome is Outcome.FAILED
    after = noisy(recording, nearly_always(5 * MS), from_ns=200 * SECOND, seconds=9)
    assert finding(judge(after), ABOVE).outcome is Outcome.FAILED


def test_a_fault_of_200_us_in_every_sample_stays_failed_among_rare_peaks() -> None:
    recording = with_packets(fault=slow_stamps, clock="real")
    assert finding(judge(recording), LEAD).outcome is Outcome.FAILED
    assert finding(judge(noisy(recording, rare_peaks)), LEAD).outcome is Outcome.FAILED
    # All are late: with one timer in ten in time, of 202 samples some would be.
    assert finding(judge(noisy(recording, nearly_always(300 * US))), LEAD).outcome is Outcome.FAILED
    excused = finding(judge(noisy(recording, lambda _: 300 * US)), LEAD)
    assert excused.outcome is Outcome.INCONCLUSIVE
    assert "timers on core 0" in excused.message


def test_a_late_relay_is_no_reason_for_a_stamp_to_be_early() -> None:
    recording = relayed(with_packets(fault=slow_stamps, clock="real"), lambda _: 5 * MS)
    assert finding(judge(recording), LEAD).outcome is Outcome.FAILED


def test_a_late_relay_is_a_reason_for_long_samples() -> None:
    found = finding(judge(relayed(shifted_by(4_000), nearly_always(5 * MS))), ABOVE)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "but the relay let packets go 5000 us late" in found.message
    assert finding(judge(relayed(shifted_by(4_000), rare_peaks)), ABOVE).outcome is Outcome.FAILED


def test_no_noise_explains_samples_that_are_too_short() -> None:
    short = record(client=[19_000] * 100, server=[19_000] * 100, clock="real")
    verdict = judge(noisy(short, nearly_always(500 * MS)))
    assert finding(verdict, "nominal.data-not-below").outcome is Outcome.FAILED


def test_virtual_time_has_no_noise() -> None:
    values = [24_000 + overhead for overhead in overheads(100)]
    verdict = judge(noisy(record(client=values, server=values), nearly_always(5 * MS)))
    assert finding(verdict, ABOVE).outcome is Outcome.FAILED
    assert "noise_max_us" not in dict(verdict.figures)


def test_a_relay_does_not_excuse_itself_and_timers_do() -> None:
    far = linked(rtt="20ms", truth={"rtt": "26ms"}, clock="real")
    late = "link.never-late"
    assert link_finding(checked(far), late).outcome is Outcome.FAILED
    account = relayed(far, lambda _: 3_100 * US, count=12_000)
    assert link_finding(checked(account), late).outcome is Outcome.FAILED
    found = link_finding(checked(noisy(far, nearly_always(3_100 * US), from_ns=199 * SECOND)), late)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "but timers on core 0 ran 3100 us late" in found.message
    assert link_finding(checked(noisy(far, rare_peaks, from_ns=199 * SECOND)), late).outcome is Outcome.FAILED


def test_a_relay_that_lets_one_packet_go_early_fails_the_link() -> None:
    check = "link.relay-early"
    good = relayed(linked(clock="real"), lambda number: 3 * US + number)
    assert link_finding(checked(good), check).outcome is Outcome.PASSED
    found = link_finding(checked(relayed(good, lambda number: -1 if number == 700 else 3 * US)), check)
    assert found.outcome is Outcome.FAILED
    assert found.message.startswith("1 of 13000 packets")


def test_the_machines_figures_are_in_the_verdict() -> None:
    recording = relayed(noisy(record(clock="real"), rare_peaks), lambda number: -1 if number == 5 else 7 * US)
    verdict = judge(recording)
    figures = dict(verdict.figures)
    assert (figures["noise_p99_us"], figures["noise_max_us"]) == (240, 20_000)
    assert (figures["relay_p99_us"], figures["relay_max_us"], figures["relay_early"]) == (7, 7, 1)
    assert any(note.startswith("timers on core 0 ran 40 us late (half of them)") for note in verdict.notes)
    assert verdict.as_dict()["figures"]["relay_p99_us"] == 7


def test_why_there_is_no_noise_is_noted() -> None:
    verdict = judge(dataclasses.replace(record(clock="real"), noise_facts={"why_not": "no process could be started"}))
    assert "noise was not measured: no process could be started" in verdict.notes


@pytest.mark.parametrize(("second_us", "drift"), [(0, False), (4_500, True)])
def test_control_runs_that_differ_are_a_sign_of_noise(second_us: int, drift: bool) -> None:
    # 4.04 ms more than without delay, where the second control run takes 4.5 ms.
    values = [20_000 + overhead for overhead in overheads(100, 9_035, 9_060)]
    control = [*overheads(50, 30, 75), *[second_us + each for each in overheads(50, 30, 75)]]
    recording = dataclasses.replace(
        record(client=values, server=values, control=control, clock="real"), control_runs=(50, 50)
    )
    verdict = judge(recording)
    assert finding(verdict, ABOVE).outcome is (Outcome.INCONCLUSIVE if drift else Outcome.FAILED)
    assert any("the machine was not the same" in note for note in verdict.notes) is drift


def late(*excess_us: int, total: int, needs: int = 1) -> Late:
    count = len(excess_us)
    ends = SECOND + np.arange(count) * 10 * MS
    return Late(
        begin_ns=ends - 5 * MS, end_ns=ends, excess_ns=np.array(excess_us) * US, total=total, needs=needs
    )  # fmt: skip


def account(*late_us: int) -> Noise:
    every = np.array(late_us, dtype=np.int64)
    ticks = SECOND + np.arange(1_000) * MS
    one = Account(name="timers ran", due_ns=ticks, late_ns=np.resize(every, 1_000) * US)
    return Noise(cores=(one,))


def test_less_than_half_needs_no_explanation_and_gets_none() -> None:
    assert account(1_000).explains(late(*[500] * 50, total=100), relayed=True) == ""
    assert account(1_000).explains(late(*[500] * 51, total=100), relayed=True)


def test_an_outlier_beyond_all_noise_does_not_undo_an_explanation() -> None:
    assert account(1_000).explains(late(90_000, *[500] * 59, total=100), relayed=True)


def test_few_high_values_do_not_make_many_low_ones_explained() -> None:
    # Half of the timers are 1 ms late, none is 3 ms late; of the values all but one are.
    noise = account(1_000, 5)
    assert noise.explains(late(*[800] * 60, total=100), relayed=True)
    assert not noise.explains(late(10, *[3_000] * 99, total=100), relayed=True)


def test_waits_add_up() -> None:
    noise = account(1_000)
    assert not noise.explains(late(*[3_000] * 60, total=100, needs=2), relayed=True)
    assert noise.explains(late(*[3_000] * 60, total=100, needs=3), relayed=True)
