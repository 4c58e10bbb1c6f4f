"""A recording from before stamps were read is judged as far as it goes, and what needs stamps is said not to be run."""

from __future__ import annotations

from pathlib import Path

import pytest

from rttcheck.judge.findings import Outcome
from rttcheck.judge.sample.cause_check import CAUSED
from rttcheck.judge.sample.stamp_check import STAMPED
from rttcheck.judge.verdict import judge
from rttcheck.record.event import EVENT
from rttcheck.record.recording import Recording
from tests.faults.sample_faults import resampled

OLD = Path(__file__).parents[2] / "data" / "schema-4" / "ping-pong.rttrec"
NOT_RUN = {f"{whose}{check}" for whose in ("", "control:") for check in (STAMPED.id, CAUSED.id)}


@pytest.fixture(scope="module")
def old() -> Recording:
    return Recording.load(OLD)


def test_what_it_does_not_hold_is_empty(old: Recording) -> None:
    assert old.events.dtype == EVENT
    assert [len(table) for table in (old.stamps, old.control_stamps, old.writes, old.control_writes, old.timers)] == [
        0
    ] * 5
    assert old.stamp_facts == {}
    assert len(old.wire)
    assert len(old.control_wire)


def test_it_passes_and_names_what_was_not_run(old: Recording) -> None:
    verdict = judge(old)
    assert verdict.outcome is Outcome.PASSED, verdict.render()
    assert {finding.key for finding in verdict.blind} == NOT_RUN
    assert all(finding.outcome is Outcome.INCONCLUSIVE for finding in verdict.blind)
    assert all(finding.message == "not run: the recording has no stamps of packets" for finding in verdict.blind)
    assert "4 not run" in verdict.render()


def test_without_stamps_a_late_sample_is_found_by_its_packets_alone(old: Recording) -> None:
    late = resampled(lambda us: us + 200)(old)
    failed = [finding for finding in judge(late).findings if finding.outcome is Outcome.FAILED]
    assert "sample.stamp-on-departure" in [finding.key for finding in failed]
    assert NOT_RUN.isdisjoint(finding.key for finding in failed)


def test_it_is_written_again_as_of_today(old: Recording, tmp_path: Path) -> None:
    again = Recording.load(old.save(tmp_path / "again.rttrec"))
    assert judge(again).as_dict() == judge(old).as_dict()
