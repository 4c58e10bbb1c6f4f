"""Faults of a kernel that only the packets reveal, and the guilty layer of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.machine.hop import MOST_NS
from rttcheck.judge.pairing.wire_times import WireTimes
from rttcheck.judge.sample.overhead_check import ENOUGH
from rttcheck.judge.verdict import Verdict, judge
from rttcheck.record.event import Owned
from rttcheck.record.packet import Point
from rttcheck.record.recording import Recording
from tests.support.planted import overheads, record
from tests.support.planted_wire import FACTS, FLOWS, OVERHEAD_US, PlantedWire, with_packets

FIELDS = ("first_rtt_us", "last_rtt_us", "rs_rtt_us", "sample_us")


def finding(verdict: Verdict, check: str) -> Finding:
    return next(found for found in verdict.findings if found.key == check)


def shifted(by: int) -> Callable[[np.ndarray], None]:
    def fault(events: np.ndarray) -> None:
        for field in FIELDS:
            events[field] += by

    return fault


@pytest.mark.parametrize("stamped", [False, True])
@pytest.mark.parametrize("clock", ["virtual", "real"])
def test_a_sound_kernel_passes(clock: str, stamped: bool) -> None:
    verdict = judge(with_packets(clock=clock, stamped=stamped))
    assert verdict.outcome is Outcome.PASSED, verdict.render()
    of_run = [found for found in verdict.findings if found.layer is Layer.SAMPLE and not found.control]
    assert len(of_run) == 8
    assert any(f"kernel minus wire time, 202 samples: {OVERHEAD_US:.1f} to" in note for note in verdict.notes)
    assert dict(verdict.figures)["over_wire_max_us"] == OVERHEAD_US


@pytest.mark.parametrize("clock", ["virtual", "real"])
def test_a_kernel_that_adds_200_us_is_the_stack_at_fault(clock: str) -> None:
    verdict = judge(with_packets(fault=shifted(200), clock=clock))
    assert verdict.outcome is Outcome.FAILED
    assert verdict.guilty is Layer.SAMPLE
    assert "before" in verdict.findings[0].message
    assert finding(verdict, "sample.stamp-on-departure").outcome is Outcome.FAILED


def test_half_of_one_sides_samples_above_what_is_usual_is_a_failure() -> None:
    """Less than the limit for a single value, on the server's side only."""

    def fault(events: np.ndarray) -> None:
        for field in FIELDS:
            events[field][events["sport"] == 5_000] += 20

    verdict = judge(with_packets(fault=fault))
    assert verdict.guilty is Layer.SAMPLE
    assert (
        "half of the server's 101 samples are stamped 23.0 us or more before they leave; the work on one packet "
        "takes at most 12.0 us" in verdict.findings[0].message
    )


def test_a_kernel_that_cuts_to_milliseconds_is_the_stack_at_fault() -> None:
    def fault(events: np.ndarray) -> None:
        for field in FIELDS:
            events[field] = events[field] // 1_000 * 1_000

    verdict = judge(with_packets(fault=fault))
    assert verdict.guilty is Layer.SAMPLE
    assert "are below their wire time" in verdict.findings[0].message


def test_first_and_last_swapped_are_the_stack_at_fault() -> None:
    truth = [20_000 + overhead for overhead in overheads(100)]

    def fault(events: np.ndarray) -> None:
        events["first_rtt_us"], events["last_rtt_us"] = events["last_rtt_us"].copy(), events["first_rtt_us"].copy()
        events["sample_us"], events["rs_rtt_us"] = events["first_rtt_us"], events["last_rtt_us"]

    last = [value - 20 for value in truth]
    assert judge(with_packets(client=truth, client_last=last)).outcome is Outcome.PASSED
    verdict = judge(with_packets(fault=fault, client=truth, client_last=last))
    assert verdict.guilty is Layer.SAMPLE
    assert "of sample" in verdict.findings[0].message
    assert "of rtt" in verdict.findings[0].message


def test_a_sample_without_packets_is_the_stack_at_fault() -> None:
    def fault(events: np.ndarray) -> np.ndarray:
        invented = events[100:101].copy()
        invented["timestamp_ns"] += 1_000
        invented["tcp_mstamp_us"] += 1
        return np.concatenate((events[:101], invented, events[101:]))

    verdict = judge(with_packets(fault=fault))
    assert verdict.guilty is Layer.ELIGIBILITY
    assert verdict.findings[0].key == "eligibility.none-undue"
    assert finding(verdict, "sample.paired").message.startswith("1 of 203 samples lack packets, the first is event 101")


@pytest.mark.parametrize("clock", ["virtual", "real"])
def test_a_single_sample_below_the_wire_is_a_failure_with_either_clock(clock: str) -> None:
    def fault(events: np.ndarray) -> None:
        for field in FIELDS:
            events[field][7] -= OVERHEAD_US + 1

    verdict = judge(with_packets(fault=fault, clock=clock))
    assert verdict.guilty is Layer.SAMPLE
    assert "1 of 202 values of sample" in verdict.findings[0].message


def test_cutting_two_stamps_to_microseconds_excuses_999_ns_and_no_more() -> None:
    for surplus_ns, outcome in ((999, Outcome.PASSED), (1_000, Outcome.FAILED)):
        recording = with_packets()
        wire, control = recording.wire.copy(), recording.control_wire.copy()
        for table in (wire, control):
            table["time_ns"][table["outgoing"] == 1] -= OVERHEAD_US * 1_000
        wire["time_ns"][np.flatnonzero(wire["outgoing"] == 1)[5]] -= surplus_ns
        verdict = judge(dataclasses.replace(recording, wire=wire, control_wire=control))
        assert finding(verdict, "sample.not-below-wire").outcome is outcome, surplus_ns


def test_captures_that_dropped_packets_are_inconclusive_and_report_how_many() -> None:
    client = {**FACTS["points"]["client"], "captured": 893, "dropped": 7}
    facts = {**FACTS, "points": {"client": client}}
    verdict = judge(dataclasses.replace(with_packets(), wire_facts=facts))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.guilty is Layer.SAMPLE
    assert "client dropped 7 of 900" in verdict.findings[0].message
    faulty = dataclasses.replace(with_packets(fault=shifted(200)), wire_facts=facts)
    found = finding(judge(faulty), "sample.stamp-on-departure")
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.message.endswith("but the captures dropped 7 packets")


def test_a_wall_clock_that_was_set_makes_the_wire_no_witness() -> None:
    verdict = judge(dataclasses.replace(with_packets(), wire_facts={**FACTS, "clock_step_ns": -2_000_000}))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "was set by -2000000 ns" in finding(verdict, "sample.captures-whole").message


def test_a_recording_without_packets_notes_that_nothing_was_compared() -> None:
    verdict = judge(record())
    assert verdict.outcome is Outcome.PASSED
    assert not any(found.layer is Layer.SAMPLE for found in verdict.findings)
    assert any("samples are not compared with wire times" in note for note in verdict.notes)


def test_a_capture_that_saw_nothing_is_not_passed() -> None:
    recording = with_packets()
    verdict = judge(dataclasses.replace(recording, wire=recording.wire[:0]))
    assert verdict.outcome is Outcome.FAILED
    assert "202 of 202 samples lack packets" in finding(verdict, "sample.paired").message


def test_in_real_time_a_few_late_samples_are_noise() -> None:
    def fault(events: np.ndarray) -> None:
        for field in FIELDS:
            events[field][:3] += 300

    assert (
        finding(judge(with_packets(fault=fault, clock="real")), "sample.stamp-on-departure").outcome is Outcome.PASSED
    )
    assert finding(judge(with_packets(fault=fault)), "sample.stamp-on-departure").outcome is Outcome.FAILED


def test_a_preemptible_kernel_may_preempt_a_few_senders_and_not_many() -> None:
    def aside(count: int, version: str, model: str = "") -> Finding:
        def fault(events: np.ndarray) -> None:
            for field in FIELDS:
                events[field][1 : 1 + count] += 300

        machine = {"kernel_version": version, "preemption": model}
        return finding(
            judge(dataclasses.replace(with_packets(fault=fault), machine=machine)), "sample.stamp-on-departure"
        )

    few = aside(3, "#1 SMP PREEMPT_RT Debian 6.12.117-1")
    assert few.outcome is Outcome.INCONCLUSIVE
    assert "PREEMPT_RT preemption can explain this" in few.message
    assert aside(3, "#1 SMP PREEMPT_DYNAMIC Debian 6.12.117-1").outcome is Outcome.FAILED
    assert aside(12, "#1 SMP PREEMPT_RT Debian 6.12.117-1").outcome is Outcome.FAILED
    for model, outcome in (
        ("lazy", Outcome.INCONCLUSIVE),
        ("full", Outcome.INCONCLUSIVE),
        ("voluntary", Outcome.FAILED),
    ):
        assert aside(3, "#1 SMP PREEMPT_DYNAMIC Debian 7.3.4-1", model).outcome is outcome
    assert aside(12, "#1 SMP PREEMPT_DYNAMIC Debian 7.3.4-1", "lazy").outcome is Outcome.FAILED


def test_in_real_time_cold_caches_are_no_early_stamp_and_a_whole_round_trip_is_one() -> None:
    def early(by_us: int) -> Outcome:
        def fault(events: np.ndarray) -> None:
            for field in FIELDS:
                events[field][3:] += by_us

        return finding(judge(with_packets(fault=fault, clock="real")), "sample.stamp-on-departure").outcome

    # Three microseconds pass between stamp and departure; no work on a packet takes 100.
    assert early(90) is Outcome.PASSED
    assert early(100) is Outcome.FAILED


def test_samples_from_timestamps_may_be_a_millisecond_too_short_and_no_more() -> None:
    for value_us, allowed in ((20_000, True), (18_000, False)):
        planted = PlantedWire()
        planted.handshake()
        planted.sent(100, 1, 10, tsval=7)
        planted.sent(30_000, 1, 10, tsval=37)
        planted.came(50_500, 11, tsecr=37)
        planted.event(50_503, 11, coarse=value_us)
        wire_times = WireTimes.of(planted.events, planted.wire, FLOWS)
        assert (int(wire_times.coarse.over_ns[0]) > -wire_times.coarse.grain_ns) is allowed


def late(recording: Recording, chosen: slice, by_us: int, owned: Owned) -> Recording:
    """The ACKs of some of the client's samples processed later than they came: their packets passed earlier."""
    events = recording.events.copy()
    mine = np.flatnonzero((events["sport"] == 40_000) & (events["taken"] != 0))[1:][chosen]
    events["owned"][mine] = owned
    acks = {int(number) for number in events["snd_una"][mine]}
    wire = recording.wire.copy()
    ends = {number - 10 for number in acks}
    moved = [
        (row["outgoing"] == 0 and int(row["ack"]) in acks) or (row["outgoing"] == 1 and int(row["seq"]) in ends)
        for row in wire
    ]
    wire["time_ns"][np.array(moved) & (wire["point"] == Point.CLIENT)] -= by_us * 1_000
    return dataclasses.replace(recording, events=events, wire=wire)


def lag(recording: Recording) -> Finding:
    return finding(judge(recording), "sample.ack-on-arrival")


def test_an_ack_may_wait_for_the_thread_that_owns_its_socket() -> None:
    waited = late(with_packets(), slice(10, 13), 150, Owned.YES)
    verdict = judge(waited)
    assert verdict.outcome is Outcome.PASSED, verdict.render()
    note = next(note for note in verdict.notes if "backlog" in note)
    assert note.startswith("3 of 202 ACKs waited in the backlog for the thread that owned their socket")
    assert "152.0 to 152.0 us" in note


def test_an_ack_that_nothing_keeps_waiting_is_taken_at_once() -> None:
    recording = late(with_packets(), slice(10, 11), 150, Owned.NO)
    assert lag(recording).outcome is Outcome.INCONCLUSIVE
    found = lag(late(recording, slice(20, 21), 150, Owned.NO))
    assert found.outcome is Outcome.FAILED
    assert found.message.startswith("2 of 202 ACKs that did not wait were processed late, the worst 152.0 us after")


def test_half_of_the_acks_later_than_usual_is_a_failure() -> None:
    found = lag(late(with_packets(), slice(0, 60), 11, Owned.NO))
    assert found.outcome is Outcome.FAILED
    assert "half of the client's 101 samples have their ACK processed 13.0 us or more after it came in" in found.message


def test_who_owned_the_socket_must_be_known() -> None:
    assert lag(late(with_packets(), slice(10, 11), 0, Owned.UNKNOWN)).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("by_us", [-4, 4])
def test_the_kernels_now_lies_between_the_acks_arrival_and_the_call(by_us: int) -> None:
    recording = with_packets()
    events = recording.events.copy()
    events["tcp_mstamp_us"][7] = int(events["tcp_mstamp_us"][7]) + by_us
    verdict = judge(dataclasses.replace(recording, events=events))
    assert verdict.guilty is Layer.SAMPLE
    found = "later than the call that used it" if by_us > 0 else "earlier than the ACK's arrival"
    assert found in verdict.findings[0].message


def led(by_us: int, *, clock: str = "virtual", hop_us: int = 0) -> Finding:
    """All values begin so much earlier than 3 us before their segment leaves."""
    return finding(
        judge(over_a_pair(with_packets(fault=shifted(by_us), clock=clock), hop_us)), "sample.stamp-on-departure"
    )


def over_a_pair(recording: Recording, hop_us: int) -> Recording:
    """With what the other end of the client's pair saw of the client's packets, so much later; nothing if that is 0."""
    if not hop_us:
        return recording
    left = recording.wire[(recording.wire["point"] == Point.CLIENT) & (recording.wire["outgoing"] != 0)].copy()
    left["point"], left["outgoing"] = Point.LINK_NEAR, 0
    left["time_ns"] += hop_us * 1_000
    wire = np.concatenate((recording.wire, left))
    return dataclasses.replace(recording, wire=wire[np.lexsort((wire["time_ns"], wire["point"]))])


def test_in_virtual_time_half_obey_12_us_on_any_machine() -> None:
    assert led(9).outcome is Outcome.PASSED
    found = led(10)
    assert found.outcome is Outcome.FAILED
    assert "13.0 us or more before they leave; the work on one packet takes at most 12.0 us" in found.message
    # Two microseconds a hop change nothing: four of them are less.
    assert led(10, hop_us=2).outcome is Outcome.FAILED


def test_in_virtual_time_half_obey_four_hops_where_these_are_longer() -> None:
    assert led(17, hop_us=5).outcome is Outcome.PASSED
    assert "takes at most 20.0 us" in led(18, hop_us=5).message


def test_a_slow_hop_grants_100_us_and_no_more() -> None:
    assert led(97, hop_us=400).outcome is Outcome.PASSED
    assert led(98, hop_us=400).outcome is Outcome.FAILED


def test_half_are_a_measure_from_eight_values_on() -> None:
    def half_of(count: int) -> Outcome:
        """A client that took so many samples, half of them and one more too early, and a server that took none."""
        recording = with_packets()
        rows = np.flatnonzero(recording.events["sport"] == 40_000)[1:][:count]
        events = recording.events[rows].copy()
        for field in FIELDS:
            events[field][: count // 2 + 1] += 20
        made = dataclasses.replace(recording, events=events)
        return finding(judge(made), "sample.stamp-on-departure").outcome

    assert ENOUGH == 8
    assert half_of(7) is Outcome.PASSED
    assert half_of(8) is Outcome.FAILED


def alone(recording: Recording) -> Recording:
    """The client's side only, without other packets."""
    return dataclasses.replace(
        recording,
        events=recording.events[recording.events["sport"] == 40_000],
        wire=recording.wire[recording.wire["point"] == Point.CLIENT],
    )


def test_in_virtual_time_none_waits_for_over_100_us_in_which_no_packet_passed() -> None:
    def fault(by_us: int) -> Callable[[np.ndarray], None]:
        def early(events: np.ndarray) -> None:
            for field in FIELDS:
                events[field][events["sport"] == 40_000] += by_us * (np.arange(101) % 4 == 1)

        return early

    assert MOST_NS == 100_000
    assert (
        finding(judge(alone(with_packets(fault=fault(97), pause_ns=1_000_000))), "sample.stamp-on-departure").outcome
        is Outcome.PASSED
    )
    found = finding(judge(alone(with_packets(fault=fault(98), pause_ns=1_000_000))), "sample.stamp-on-departure")
    assert found.outcome is Outcome.FAILED
    assert "25 of 101 values of sample" in found.message
    assert "its stamp is 101.0 us before the segment left" in found.message


def test_a_pause_that_explains_one_value_does_not_excuse_all_the_others() -> None:
    """Of all values that begin 101 us too early only one is in a gap without other packets."""
    found = led(98, hop_us=400)
    assert found.outcome is Outcome.FAILED
    assert "half of the client's 101 samples are stamped 101.0 us or more before they leave" in found.message


def test_in_real_time_half_obey_100_us_whatever_a_hop_takes() -> None:
    for hop_us in (0, 2, 400):
        assert led(97, clock="real", hop_us=hop_us).outcome is Outcome.PASSED
        found = led(98, clock="real", hop_us=hop_us)
        assert found.outcome is Outcome.FAILED
        assert "takes at most 100.0 us" in found.message


def test_the_control_run_obeys_the_same_limits() -> None:
    for by_us, outcome in ((9, Outcome.PASSED), (10, Outcome.FAILED)):
        verdict = judge(with_packets(control_fault=shifted(by_us)))
        found = next(each for each in verdict.findings if each.key == "control:sample.stamp-on-departure")
        assert found.outcome is outcome
        assert found.message.startswith("at zero delay: ")


def test_stamps_are_what_a_lead_is_measured_from_where_they_are_known() -> None:
    def early(stamps: np.ndarray) -> None:
        stamps["stamp_ns"] -= 10_000

    verdict = judge(with_packets(stamped=True, stamp_fault=early))
    assert "13.0 us or more before they leave" in finding(verdict, "sample.stamp-on-departure").message
    assert (
        finding(judge(with_packets(stamped=True, fault=shifted(10))), "sample.stamp-on-departure").outcome
        is Outcome.PASSED
    )
