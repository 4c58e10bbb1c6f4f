"""Samples against the stamps on their packets, to the microsecond."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.observation import Observation
from rttcheck.judge.sample.stamp_check import ONE_SEGMENT, STAMPED, check_stamps
from rttcheck.judge.verdict import Verdict, judge
from rttcheck.record.event import FLAG_SYN_ACKED, Hook, Owned
from rttcheck.record.packet import ACK, SYN
from tests.support.planted_wire import PlantedWire, with_packets

FIELDS = ("first_rtt_us", "last_rtt_us", "rs_rtt_us", "sample_us")
SYN_ACK = SYN | ACK


def stamped(observation: Observation) -> Finding:
    (found, _) = check_stamps(observation)
    assert (found.key, found.layer) == (STAMPED.id, Layer.SAMPLE)
    return found


def one_segment(observation: Observation) -> Finding:
    (_, found) = check_stamps(observation)
    assert (found.key, found.layer) == (ONE_SEGMENT.id, Layer.SAMPLE)
    return found


def sample(value_us: int, *, stamp_ns: int = 100_000, **fields: int) -> Observation:
    """One segment, stamped at a given time, and an ACK that the kernel processes at 20,105 us."""
    planted = PlantedWire()
    planted.handshake()
    planted.sent(103, 1, 10, stamp_ns=stamp_ns)
    planted.came(20_103, 11)
    planted.event(20_105, 11, **{"first": value_us, "last": value_us, **fields})
    return planted.observed()


def shifted(by_us: int, *fields: str) -> Callable[[np.ndarray], None]:
    def fault(events: np.ndarray) -> None:
        for field in fields or FIELDS:
            events[field] += by_us

    return fault


def found(verdict: Verdict, check: str) -> Finding:
    return next(finding for finding in verdict.findings if finding.key == check)


def test_a_sample_is_the_acks_time_less_its_segments_stamp() -> None:
    finding = stamped(sample(20_005))
    assert (finding.outcome, finding.message, finding.samples) == (
        Outcome.PASSED,
        "3 of 3 values, 3 of them exact",
        3,
    )


@pytest.mark.parametrize(
    ("by_us", "difference"), [(1, "1 us above it"), (-1, "1 us below it"), (200, "200 us above it")]
)
def test_a_microsecond_more_or_less_is_a_failure(by_us: int, difference: str) -> None:
    finding = stamped(sample(20_005 + by_us))
    assert finding.outcome is Outcome.FAILED
    assert finding.message.startswith("1 of 1 values of sample, 1 of 1 values of rtt, 1 of 1 values of rtt_min differ")
    assert f"the stamp gives 20005 us, the kernel is {difference}; the median is {difference}" in (finding.message)


@pytest.mark.parametrize(("stamp_ns", "value_us"), [(99_999, 20_006), (100_000, 20_005), (100_999, 20_005)])
def test_both_times_are_cut_to_microseconds(stamp_ns: int, value_us: int) -> None:
    assert stamped(sample(value_us, stamp_ns=stamp_ns)).outcome is Outcome.PASSED
    for wrong in (value_us - 1, value_us + 1):
        assert stamped(sample(wrong, stamp_ns=stamp_ns)).outcome is Outcome.FAILED


def test_a_stamp_after_the_acks_time_gives_nothing_below_zero() -> None:
    assert stamped(sample(0, stamp_ns=20_200_000)).outcome is Outcome.PASSED
    assert stamped(sample(1, stamp_ns=20_200_000)).outcome is Outcome.FAILED


@pytest.mark.parametrize("name", ["first", "last"])
def test_each_value_is_looked_at(name: str) -> None:
    finding = stamped(sample(20_005, **{name: 20_006}))
    assert finding.outcome is Outcome.FAILED
    assert ("of rtt_min" in finding.message) == (name == "last")


def handshake(value_us: int, *, kept_us: int = 0) -> Observation:
    """A SYN-ACK stamped at 10.9 us, its ACK's arrival at 60 us and the probe's call at 70.5 us."""
    planted = PlantedWire()
    planted.came(5, 0, flags=SYN)
    planted.sent(12, 0, 0, flags=SYN_ACK, stamp_ns=10_900)
    planted.came(60, 1)
    planted.event(0, 1, first=value_us, last=value_us, flag=FLAG_SYN_ACKED)
    planted.made[0]["timestamp_ns"] = planted.start_ns + 70_500
    planted.made[0]["tcp_mstamp_us"] = kept_us
    return planted.observed()


@pytest.mark.parametrize("kept_us", [0, 100_000_000 + 20])
def test_a_passive_handshake_lies_between_its_acks_arrival_and_the_call(kept_us: int) -> None:
    # A clock that TCP kept from another packet is not the one that the handshake was measured with.
    outcomes = [stamped(handshake(value_us, kept_us=kept_us)).outcome for value_us in (49, 50, 55, 60, 61)]
    assert outcomes == [Outcome.FAILED, Outcome.PASSED, Outcome.PASSED, Outcome.PASSED, Outcome.FAILED]


def test_an_active_handshake_is_exact() -> None:
    def opened(value_us: int) -> Outcome:
        planted = PlantedWire()
        planted.sent(12, 0, 0, flags=SYN, stamp_ns=10_900)
        planted.came(60, 1, flags=SYN_ACK)
        planted.event(63, 1, first=value_us, last=value_us, flag=FLAG_SYN_ACKED)
        return stamped(planted.observed()).outcome

    assert [opened(value_us) for value_us in (52, 53, 54)] == [Outcome.FAILED, Outcome.PASSED, Outcome.FAILED]


def coarse(value_us: int, *, sent_us: int = 30_000, stamp_ns: int = 29_999_000, came_us: int = 50_500) -> Finding:
    """A sample from timestamps, of a segment that was sent again."""
    planted = PlantedWire()
    planted.handshake()
    planted.sent(100, 1, 10, tsval=7, stamp_ns=98_000)
    planted.sent(sent_us, 1, 10, tsval=37, stamp_ns=stamp_ns)
    planted.came(came_us, 11, tsecr=37)
    planted.event(came_us + 3, 11, coarse=value_us)
    return stamped(planted.observed())


def test_a_sample_from_timestamps_is_whole_milliseconds_apart_exactly() -> None:
    # 50 less 29: both are cut, and not their difference.
    assert [coarse(value_us).outcome for value_us in (20_000, 20_999, 21_000, 21_001, 22_000)] == [
        Outcome.FAILED,
        Outcome.FAILED,
        Outcome.PASSED,
        Outcome.FAILED,
        Outcome.FAILED,
    ]
    assert "1 of 1 values of timestamp sample" in coarse(22_000).message


def test_a_sample_from_timestamps_is_a_millisecond_at_least() -> None:
    soon = {"sent_us": 50_100, "stamp_ns": 50_098_000, "came_us": 50_500}
    assert [coarse(value_us, **soon).outcome for value_us in (0, 1_000, 2_000)] == [
        Outcome.FAILED,
        Outcome.PASSED,
        Outcome.FAILED,
    ]


def several(known: int, total: int, *, wrong: int = 0) -> Finding:
    """Samples of which only the first ``known`` have a stamp, and the first ``wrong`` are a microsecond too long."""
    planted = PlantedWire()
    planted.handshake()
    for place in range(total):
        at_us = 100 + place * 1_000
        stamp_ns = (at_us - 3) * 1_000 if place < known else None
        planted.sent(at_us, 1 + 10 * place, 10, stamp_ns=stamp_ns)
        planted.came(at_us + 500, 11 + 10 * place)
        value_us = 505 + (place < wrong)
        planted.event(at_us + 502, 11 + 10 * place, first=value_us, last=value_us)
    return stamped(planted.observed())


def test_values_without_a_stamp_are_not_compared_and_counted() -> None:
    finding = several(6, 10)
    assert (finding.outcome, finding.message, finding.samples) == (
        Outcome.PASSED,
        "18 of 30 values, 18 of them exact",
        18,
    )


def test_half_of_the_stamps_are_enough_and_less_prove_nothing() -> None:
    assert several(5, 10).outcome is Outcome.PASSED
    finding = several(4, 10)
    assert finding.outcome is Outcome.INCONCLUSIVE
    assert finding.message == "18 of 30 values have no recorded stamp"


def test_a_wrong_value_fails_however_few_stamps_there_are() -> None:
    assert several(1, 10, wrong=1).outcome is Outcome.FAILED


def test_no_value_at_all_proves_nothing() -> None:
    planted = PlantedWire()
    planted.sent(100, 1, 10, stamp_ns=97_000)
    assert stamped(planted.observed()).outcome is Outcome.INCONCLUSIVE


def test_without_stamps_the_check_is_not_run() -> None:
    finding = several(0, 10)
    assert (finding.outcome, finding.blind) == (Outcome.INCONCLUSIVE, True)
    assert finding.message == "not run: the recording has no stamps of packets"


def acknowledged(first: int, last: int, *, sack: int = -1, lengths: tuple[int, ...] = (10,)) -> Finding:
    """Return the finding on an ACK of one segment, or of several, with these times."""
    planted = PlantedWire()
    planted.handshake()
    offset = 1
    for length in lengths:
        planted.sent(100 + offset, offset, length)
        offset += length
    planted.came(20_100, offset)
    planted.event(20_105, offset, first=first, last=last, sack=sack)
    return one_segment(planted.observed())


def test_an_ack_of_one_segment_has_one_time() -> None:
    assert acknowledged(20_005, 20_005).outcome is Outcome.PASSED
    finding = acknowledged(20_006, 20_005)
    assert finding.outcome is Outcome.FAILED
    assert finding.message == (
        "1 of 1 ACKs of one segment have two times, the first is event 0: 20006 us first-acked and 20005 us "
        "last-acked, of the same segment"
    )


def test_an_ack_of_several_segments_may_have_two_times() -> None:
    finding = acknowledged(20_005, 19_995, lengths=(10, 10))
    assert (finding.outcome, finding.samples) == (Outcome.PASSED, 0)


def test_where_something_was_sacked_as_well_the_last_time_is_of_that() -> None:
    finding = acknowledged(20_005, 19_000, sack=19_000)
    assert (finding.outcome, finding.samples) == (Outcome.PASSED, 0)


def test_one_time_alone_is_no_contradiction() -> None:
    assert acknowledged(20_005, -1).samples == 0
    assert acknowledged(-1, 20_005).samples == 0


@pytest.mark.parametrize("clock", ["virtual", "real"])
def test_a_sound_kernel_is_exact_with_either_clock(clock: str) -> None:
    verdict = judge(with_packets(stamped=True, clock=clock))
    assert verdict.outcome is Outcome.PASSED, verdict.render()
    assert verdict.blind == ()
    assert found(verdict, STAMPED.id).message == "606 of 606 values, 606 of them exact"


@pytest.mark.parametrize("clock", ["virtual", "real"])
@pytest.mark.parametrize("by_us", [1, 5, 20_000])
def test_a_lie_is_found_to_the_microsecond_with_either_clock(clock: str, by_us: int) -> None:
    verdict = judge(with_packets(stamped=True, fault=shifted(by_us), clock=clock))
    assert (verdict.outcome, verdict.guilty) == (Outcome.FAILED, Layer.SAMPLE)
    assert f"us, the kernel is {by_us} us above it" in found(verdict, STAMPED.id).message


def test_a_kernel_that_lies_in_the_control_run_alone_fails_the_scenario() -> None:
    verdict = judge(with_packets(stamped=True, control_fault=shifted(1)))
    assert (verdict.outcome, verdict.guilty) == (Outcome.FAILED, Layer.SAMPLE)
    first = verdict.findings[0]
    assert first.key == f"control:{STAMPED.id}"
    assert first.message.startswith("at zero delay: 100 of 100 values of sample, ")
    lost = judge(replace(with_packets(stamped=True, control_fault=shifted(1)), control_lost=2))
    assert found(lost, first.key).outcome is Outcome.INCONCLUSIVE
    assert found(lost, first.key).message.endswith("; but 2 events of the control run were lost")


def test_two_times_of_one_segment_in_the_control_run_fail_the_scenario() -> None:
    verdict = judge(with_packets(control_fault=shifted(1, "first_rtt_us", "sample_us")))
    finding = found(verdict, f"control:{ONE_SEGMENT.id}")
    assert finding.outcome is Outcome.FAILED
    assert finding.message.startswith("at zero delay: 100 of 100 ACKs of one segment have two")


def waited_together(*, owned: Owned, value_us: int) -> Observation:
    """Three segments; their ACKs waited in the backlog, and the call for the last one acknowledged all."""
    planted = PlantedWire()
    planted.handshake()
    for place, stamp_ns in enumerate((100_000, 600_000, 900_000)):
        planted.sent(stamp_ns // 1_000 + 3, 1 + 10 * place, 10, stamp_ns=stamp_ns)
    for place in range(3):
        planted.came(20_100 + place, 11 + 10 * place)
    planted.event(20_105, 31, first=value_us, last=19_205)
    planted.made[-1]["hook"], planted.made[-1]["owned"] = Hook.SOCKOPS, owned
    return planted.observed()


def test_acks_that_waited_together_are_one_to_a_probe_that_does_not_see_each_call() -> None:
    # Of the first segment, which an ACK before acknowledged that has no call of its own.
    assert stamped(waited_together(owned=Owned.YES, value_us=20_005)).outcome is Outcome.PASSED
    assert stamped(waited_together(owned=Owned.NO, value_us=20_005)).outcome is Outcome.FAILED
    assert stamped(waited_together(owned=Owned.YES, value_us=20_006)).outcome is Outcome.FAILED
