"""Recordings outlive versions: one of each schema loads, is judged as far as it goes, and says what was not run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rttcheck.judge.findings import Outcome
from rttcheck.judge.sample.cause_check import CAUSED
from rttcheck.judge.sample.stamp_check import STAMPED
from rttcheck.judge.verdict import judge
from rttcheck.record.archive import SCHEMA
from rttcheck.record.event import EVENT, EVENT_ALWAYS
from rttcheck.record.packet import WIRE
from rttcheck.record.recording import Recording
from tests.faults.sample_faults import resampled

TESTS = Path(__file__).parents[2]
OF_SCHEMA = {
    2: TESTS / "data" / "recordings" / "schema-2.rttrec",
    3: TESTS / "data" / "comparison" / "rtt-100ms-1.rttrec",
    4: TESTS / "data" / "recordings" / "schema-4.rttrec",
    5: TESTS / "faults" / "recordings" / "ping-pong.rttrec",
}
STAMPS = {f"{whose}{check}" for whose in ("", "control:") for check in (STAMPED.id, CAUSED.id)}
BEFORE_STAMPS = (2, 3, 4)


@pytest.fixture(scope="module", params=sorted(OF_SCHEMA))
def schema(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def old(schema: int) -> Recording:
    return Recording.load(OF_SCHEMA[schema])


def test_there_is_one_of_every_schema_with_packets() -> None:
    assert sorted(OF_SCHEMA) == list(range(2, SCHEMA + 1))


def test_every_table_has_the_columns_of_today(old: Recording) -> None:
    assert (old.events.dtype, old.wire.dtype) == (EVENT, WIRE)
    assert len(old.events)
    assert len(old.wire)
    assert len(old.control_wire)
    assert old.absent == frozenset()


def test_it_passes_and_names_what_was_not_run(schema: int, old: Recording) -> None:
    verdict = judge(old)
    assert verdict.outcome is Outcome.PASSED, verdict.render()
    assert {finding.key for finding in verdict.blind} == (STAMPS if schema in BEFORE_STAMPS else set())
    assert all(finding.outcome is Outcome.INCONCLUSIVE for finding in verdict.blind)


def test_a_late_sample_is_found_in_each(schema: int, old: Recording) -> None:
    late = resampled(lambda us: us + 200)(old)
    failed = {finding.key for finding in judge(late).findings if finding.outcome is Outcome.FAILED}
    assert ("sample.stamp-on-departure" if schema in BEFORE_STAMPS else STAMPED.id) in failed


def test_it_is_written_again_as_of_today(old: Recording, tmp_path: Path) -> None:
    again = Recording.load(old.save(tmp_path / "again.rttrec"))
    assert judge(again).as_dict() == judge(old).as_dict()


def without(table: np.ndarray, *names: str) -> np.ndarray:
    """The table as a version had it that did not know these columns, and had them in another order."""
    layout = [column for column in reversed(table.dtype.descr) if column[0] not in names]
    older = np.zeros(len(table), dtype=layout)
    for name in older.dtype.names or ():
        older[name] = table[name]
    return older


def reloaded(now: Recording, path: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> Recording:
    """Load what a version wrote whose events did not have these columns."""
    tables = Recording._tables
    monkeypatch.setattr(Recording, "_tables", lambda self: {**tables(self), "events": without(self.events, *names)})
    loaded = Recording.load(now.save(path / "older.rttrec"))
    assert loaded.absent == {f"events.{name}" for name in names}
    return loaded


def test_checks_that_need_a_column_that_is_absent_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = Recording.load(OF_SCHEMA[SCHEMA])
    loaded = reloaded(now, tmp_path, monkeypatch, "sack_rtt_us", "backoff")
    assert not loaded.view.sees("backoff")
    assert loaded.events["sample_us"].tolist() == now.events["sample_us"].tolist()
    blind = {finding.key for finding in judge(loaded).blind}
    assert {"arithmetic.rto", "eligibility.karn"} <= blind
    assert "sample.exact" not in blind


@pytest.mark.parametrize("name", sorted(set(EVENT.names or ()) - EVENT_ALWAYS))
def test_no_column_of_events_is_missed_by_a_check_that_does_not_say_that_it_needs_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = reloaded(Recording.load(OF_SCHEMA[SCHEMA]), tmp_path, monkeypatch, name)
    verdict = judge(loaded)
    assert not [finding.key for finding in verdict.findings if finding.outcome is Outcome.FAILED]
