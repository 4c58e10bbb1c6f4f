"""Stamps from before what made TCP send: found to the nanosecond, or to what two ways to read the clock may differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.judge.sample.cause_check import CAUSED, check_causes
from rttcheck.judge.verdict import Verdict, judge
from rttcheck.record import packet
from tests.support.planted_wire import LEAD_NS, WRITE_NS, PlantedWire, with_packets

SYN_ACK = packet.SYN | packet.ACK


def checked(planted: PlantedWire, *, control: bool = False, queued: bool = False) -> Finding:
    found = check_causes(planted.observed(control=control), queued=queued)
    assert (found.key, found.layer) == (CAUSED.id, Layer.SAMPLE)
    return found


def written(stamp_ns: int) -> PlantedWire:
    """A segment that leaves at 100 us and was written at 90 us."""
    planted = PlantedWire()
    planted.sent(0, 0, 0, flags=packet.SYN)
    planted.wrote(90_000, 11)
    planted.sent(100, 1, 10, stamp_ns=stamp_ns)
    return planted


def answered(stamp_ns: int) -> PlantedWire:
    """A SYN that comes at 7 us and is answered at 12 us."""
    planted = PlantedWire()
    planted.came(7, 0, flags=packet.SYN)
    planted.sent(12, 0, 0, flags=SYN_ACK, stamp_ns=stamp_ns)
    return planted


def after_an_ack(stamp_ns: int) -> PlantedWire:
    """An ACK processed at 90 us, before a segment that leaves at 100 us."""
    planted = PlantedWire()
    planted.sent(0, 0, 0, flags=packet.SYN)
    planted.came(50, 1, flags=SYN_ACK)
    planted.event(87, 1, first=50, last=50)
    planted.sent(100, 1, 10, stamp_ns=stamp_ns)
    return planted


def behind(stamp_ns: int) -> PlantedWire:
    """A segment that leaves at 100 us behind one that left at 90 us."""
    planted = PlantedWire()
    planted.sent(90, 1, 10, stamp_ns=80_000)
    planted.sent(100, 11, 10, stamp_ns=stamp_ns)
    return planted


KINDS = {
    "the application's write": (written, 90_000),
    "the SYN": (answered, 7_000),
    "the last ACK that its socket processed": (after_an_ack, 89_000),  # the clock's two readings: 1 us
    "the departure of the previous segment": (behind, 90_000),
}


@pytest.mark.parametrize("cause", KINDS)
def test_a_stamp_is_not_a_nanosecond_before_its_cause(cause: str) -> None:
    make, least_ns = KINDS[cause]
    assert checked(make(least_ns)).outcome is Outcome.PASSED
    finding = checked(make(least_ns - 1))
    assert finding.outcome is Outcome.FAILED
    expected = cause if cause != "the SYN" else "the application's write"
    assert finding.message.startswith("1 of 1 segments have a stamp from before ")
    assert f"from before {expected}, which made TCP send them" in finding.message


def test_how_much_too_early_is_reported() -> None:
    planted = written(40_000)
    planted.wrote(200_000, 21)
    planted.sent(210, 11, 10, stamp_ns=190_000)
    message = checked(planted).message
    assert "2 of 2 segments" in message
    assert message.endswith("the worst 50.0 us too early, half of these by 30.0 us or more")


def test_a_pass_reports_how_many_and_by_how_much() -> None:
    finding = checked(written(94_500))
    assert finding.message == "1 new segments, stamped 1 after the application's write, by at least 4.5 us"
    assert finding.samples == 1


def test_the_control_run_is_named() -> None:
    for stamp_ns, outcome in ((80_000, Outcome.FAILED), (95_000, Outcome.PASSED)):
        finding = checked(written(stamp_ns), control=True)
        assert finding.outcome is outcome
        assert finding.message.startswith("at zero delay: 1 ")


@pytest.mark.parametrize("make", [after_an_ack, behind])
def test_where_a_queue_delays_at_the_end_neither_ack_nor_segment_is_a_cause(
    make: Callable[[int], PlantedWire],
) -> None:
    finding = checked(make(0), queued=True)
    assert finding.outcome is Outcome.INCONCLUSIVE
    assert finding.message == "no segment with a stamp has a recorded cause"


def test_where_a_queue_delays_at_the_end_a_write_is_still_a_cause() -> None:
    assert checked(written(89_999), queued=True).outcome is Outcome.FAILED


def test_without_stamps_the_check_is_not_run() -> None:
    planted = PlantedWire()
    planted.wrote(90_000, 11)
    planted.sent(100, 1, 10)
    finding = checked(planted)
    assert (finding.outcome, finding.blind) == (Outcome.INCONCLUSIVE, True)
    assert finding.message == "not run: the recording has no stamps of packets"


def found(verdict: Verdict, check: str) -> Finding:
    return next(finding for finding in verdict.findings if finding.key == check)


def earlier(by_ns: int, *, only: slice = slice(None)) -> Verdict:
    """A kernel whose stamps are early and whose samples follow from them; the clock has no part in it."""

    def early(stamps: np.ndarray) -> None:
        stamps["stamp_ns"][only] -= by_ns

    def longer(events: np.ndarray) -> None:
        for field in ("first_rtt_us", "last_rtt_us", "rs_rtt_us", "sample_us"):
            events[field] += by_ns // 1_000

    return judge(with_packets(stamped=True, stamp_fault=early, fault=longer, control_fault=longer, clock="real"))


def test_stamps_that_are_early_with_the_samples_that_follow_from_them_are_found_by_their_causes() -> None:
    assert LEAD_NS < WRITE_NS < 5_000
    assert found(earlier(4_000), CAUSED.id).outcome is Outcome.PASSED
    verdict = earlier(5_000)
    assert (verdict.outcome, verdict.guilty) == (Outcome.FAILED, Layer.SAMPLE)
    assert found(verdict, CAUSED.id).message.startswith(
        "202 of 202 segments have a stamp from before the application's write, which made TCP send them, the worst "
        "1.0 us too early"
    )
    assert found(verdict, f"control:{CAUSED.id}").outcome is Outcome.FAILED


def test_one_early_stamp_is_enough() -> None:
    recording = with_packets(stamped=True)
    stamps = recording.stamps.copy()
    stamps["stamp_ns"][40] -= WRITE_NS + 1
    assert found(judge(replace(recording, stamps=stamps)), CAUSED.id).message.startswith("1 of 202 segments")


def test_no_cause_at_all_proves_nothing() -> None:
    planted = PlantedWire()
    planted.sent(100, 1, 10, stamp_ns=97_000)
    assert checked(planted).outcome is Outcome.INCONCLUSIVE
