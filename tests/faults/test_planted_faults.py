"""Faults planted in true recordings: each fails, the guilty layer first; the truth itself passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rttcheck.judge.findings import Outcome
from rttcheck.judge.verdict import judge
from rttcheck.recording import Recording
from tests.faults.catalogue import Case, Judged, all_cases, ticking
from tests.faults.kernel import Kernel
from tests.faults.table import part_of, planted_tables
from tests.faults.truth import KEYWORDS, truth

DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"


@pytest.mark.parametrize("scenario", KEYWORDS)
def test_the_truth_passes(scenario: str) -> None:
    assert judge(truth(scenario)).outcome is Outcome.PASSED


@pytest.mark.parametrize("scenario", KEYWORDS)
def test_a_kernel_without_a_fault_relives_the_truth_as_it_was(scenario: str) -> None:
    true, relived = truth(scenario), Kernel().relive(ticking(scenario))
    names = [name for name in true.events.dtype.names or () if name != "jiffies"]
    assert [name for name in names if (true.events[name] != relived.events[name]).any()] == []
    assert np.abs(np.diff([true.events["jiffies"], relived.events["jiffies"]], axis=0).view(np.int32)).max() <= 1
    assert relived.flows == true.flows
    assert {unit: table.tolist() for unit, table in relived.histograms.items()} == {
        unit: table.tolist() for unit, table in true.histograms.items()
    }
    assert judge(relived).outcome is Outcome.PASSED


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_a_planted_fault_fails_and_its_layer_comes_first(case: Case) -> None:
    judged = Judged.of(case.recording())
    assert (judged.outcome, judged.guilty) == (Outcome.FAILED, case.fault.layer), judged.first
    assert case.fault.says in judged.first.message


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_a_planted_fault_changes_what_was_recorded_and_not_the_truth(case: Case) -> None:
    before = _content(ticking(case.scenario))
    assert _content(case.recording()) != before
    assert _content(ticking(case.scenario)) == before


def test_the_documents_table_is_the_one_that_the_judge_makes_today() -> None:
    assert part_of(DOCUMENT.read_text(), "planted") == planted_tables(), "run `make faults` and look at what changed"


def _content(recording: Recording) -> tuple[object, ...]:
    tables = (recording.events, recording.wire, recording.control, *recording.histograms.values())
    return (*(table.tobytes() for table in tables), recording.flows, recording.lost, dict(recording.kernel_log))
