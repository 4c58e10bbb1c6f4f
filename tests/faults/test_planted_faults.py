"""Faults planted in true recordings: each fails, the guilty layer first; the truth itself passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rttcheck.judge.findings import Layer, Outcome
from rttcheck.judge.sample.cause_check import CAUSED
from rttcheck.judge.sample.stamp_check import STAMPED
from rttcheck.judge.verdict import judge
from rttcheck.record.packet import FIN, SYN
from rttcheck.record.recording import Recording
from tests.faults import probe_faults, stamp_faults
from tests.faults.catalogue import Case, all_cases, judge_case, ticking
from tests.faults.fault import Culprit, Fault
from tests.faults.kernel import Kernel
from tests.faults.plant import in_both_runs, planted, seen_by_second
from tests.faults.sample_faults import resampled
from tests.faults.table import part_of, planted_tables
from tests.faults.truth import KEYWORDS, tables, truth

DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"

COMPARED = (
    "sk", "sport", "dport", "netns", "tcp_mstamp_us", "snd_una", "delivered", "sample_us", "srtt_us", "mdev_us",
    "mdev_max_us", "rttvar_us", "rtt_seq", "min_rtt", "snd_nxt", "taken", "hook", "first_rtt_us", "flag",
)  # fmt: skip

UNFOUND = {
    "5 ms too long, no packets": "without packets nothing judges the control run, and its 5 ms are granted",
}
"""Faults by name that the judge does not find, or puts down to another layer, and why."""


def known(case: Case) -> object:
    """The case as a parameter, which is expected to fail where the judge is known not to find it."""
    reason = UNFOUND.get(case.fault.name)
    marks = [pytest.mark.xfail(reason=reason, raises=AssertionError)] if reason else []
    return pytest.param(case, id=case.name, marks=marks)


@pytest.mark.parametrize("scenario", KEYWORDS)
def test_the_truth_passes(scenario: str) -> None:
    assert judge(truth(scenario)).outcome is Outcome.PASSED


@pytest.mark.parametrize("scenario", KEYWORDS)
def test_a_kernel_without_a_fault_relives_both_runs_as_they_were(scenario: str) -> None:
    true, relived = truth(scenario), in_both_runs(Kernel().relive, ticking(scenario))
    for before, after in ((true.events, relived.events), (true.control, relived.control)):
        names = [name for name in before.dtype.names or () if name != "jiffies"]
        assert [name for name in names if (before[name] != after[name]).any()] == []
        assert np.abs(np.diff([before["jiffies"], after["jiffies"]], axis=0).view(np.int32)).max() <= 1
    same = set(tables(true)) - {"events", "control"}
    assert [name for name in same if tables(true)[name].tobytes() != tables(relived)[name].tobytes()] == []
    assert (relived.flows, relived.control_flows) == (true.flows, true.control_flows)
    assert relived.control_runs == true.control_runs
    assert judge(relived).outcome is Outcome.PASSED


@pytest.mark.parametrize("scenario", KEYWORDS)
def test_what_a_second_probe_would_have_shown_is_what_it_showed(scenario: str) -> None:
    true = truth(scenario)
    made = seen_by_second(true)
    assert len(made) == len(true.second) > 0
    assert [name for name in COMPARED if (made[name] != true.second[name]).any()] == []
    assert judge(replace(true, second=made)).outcome is Outcome.PASSED


@pytest.mark.parametrize("case", [known(case) for case in all_cases()])
def test_a_planted_fault_fails_and_its_layer_comes_first(case: Case) -> None:
    judged = judge_case(case)
    assert (judged.outcome, judged.guilty) == (Outcome.FAILED, case.fault.layer), judged.first
    assert case.fault.says in judged.first.message


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_a_planted_fault_shows_in_all_that_a_real_one_would_touch(case: Case) -> None:
    true = ticking(case.scenario)
    before, faulty = _content(true), case.recording()
    changed = _changed(true, faulty)
    assert changed
    assert ("second" in changed) <= (case.fault.culprit is Culprit.STACK)
    assert ("stamps" in changed) == ("control_stamps" in changed)
    assert ("wire" in changed) == ("control_wire" in changed)
    assert _content(ticking(case.scenario)) == before


def test_a_kernels_fault_shows_in_both_runs_and_to_both_probes() -> None:
    true = ticking("ping-pong")
    longer = resampled(lambda us: us + 30_000)
    faulty = planted(Fault(name="", layer=Layer.SAMPLE, what="", scenarios=(), apply=longer), true)
    assert _changed(true, faulty) == {"events", "control", "second", "us", "ms", "flows"}
    for before, after in ((true.events, faulty.events), (true.control, faulty.control)):
        assert (after["first_rtt_us"] - before["first_rtt_us"] == 30_000).all()
        assert (after["sample_us"] - before["sample_us"] == 30_000).all()
        assert ((after["srtt_us"] - before["srtt_us"]) >> 3 == 30_000).all()
    assert faulty.second["sample_us"].tolist() == faulty.events["sample_us"].tolist()
    assert faulty.flows[0]["client_info"]["rtt_us"] == true.flows[0]["client_info"]["rtt_us"] + 30_000


def test_a_probes_fault_shows_in_both_runs_and_in_nothing_that_others_saw() -> None:
    true = ticking("ping-pong")
    fault = next(fault for fault in probe_faults.FAULTS if fault.name == "unit x1000")
    faulty = planted(fault, true)
    assert _changed(true, faulty) == {"events", "control", "us", "ms"}
    for before, after in ((true.events, faulty.events), (true.control, faulty.control)):
        assert (after["sample_us"] == 1_000 * before["sample_us"]).all()


@pytest.mark.parametrize("scenario", KEYWORDS)
def test_early_stamps_show_in_stamps_and_in_samples_alike(scenario: str) -> None:
    true = ticking(scenario)
    fault = next(fault for fault in stamp_faults.FAULTS if fault.name == "stamps 200 us early")
    faulty = planted(fault, true)
    for before, after in ((true.stamps, faulty.stamps), (true.control_stamps, faulty.control_stamps)):
        moved = before["stamp_ns"] - after["stamp_ns"]
        assert set(moved.tolist()) == {0, 200_000}
        assert ((moved == 0) == ((before["payload"] == 0) & ((before["flags"] & (SYN | FIN)) == 0))).all()
    for before, after in ((true.events, faulty.events), (true.control, faulty.control)):
        told = before["first_rtt_us"] >= 0
        assert (after["first_rtt_us"][told] - before["first_rtt_us"][told] == 200).all()
        assert (after["tcp_mstamp_us"] == before["tcp_mstamp_us"]).all()
    # A sample is its stamp's: what does not follow from it is not found, and the fault is another one than planted.
    failed = [finding for finding in judge(faulty).findings if finding.outcome is Outcome.FAILED]
    assert [finding for finding in failed if STAMPED.id in finding.key] == []
    assert {finding.key for finding in failed} >= {CAUSED.id, f"control:{CAUSED.id}"}


@pytest.mark.parametrize("name", ["TCP's now 150 us ahead", "TCP's clock 150 us ahead"])
def test_a_clock_that_is_ahead_of_the_call_is_named_as_one(name: str) -> None:
    fault = next(fault for fault in stamp_faults.FAULTS if fault.name == name)
    said = [finding.message for finding in judge(planted(fault, ticking("ping-pong"))).findings]
    assert any("in 63 of 64 samples the kernel's now (tcp_mstamp) is later than the call" in words for words in said)


def test_the_documents_table_is_the_one_that_the_judge_makes_today() -> None:
    assert part_of(DOCUMENT.read_text(), "planted") == planted_tables(), "run `make faults` and look at what changed"


def _changed(before: Recording, after: Recording) -> set[str]:
    was, now = _content(before), _content(after)
    return {name for name in was if was[name] != now[name]}


def _content(recording: Recording) -> dict[str, object]:
    known = {name: table.tobytes() for name, table in tables(recording).items()}
    return {**known, "flows": recording.flows, "lost": recording.lost, "log": dict(recording.kernel_log)}
