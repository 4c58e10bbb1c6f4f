"""The rows of a session's reports: every test of a scenario, in the requested order."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from rttcheck.plugin.kernel_run import KernelRun
from rttcheck.plugin.rows import SessionRows, reason_of
from rttcheck.plugin.worker import with_kernel

KERNELS = ("debian:8.2", "debian:8.1")
TESTS = ("t.py::test_scenario[near]", "t.py::test_scenario[far]")


def runs(*, collected: bool = True) -> list[KernelRun]:
    return [
        KernelRun(
            asked=kernel,
            release=kernel,
            name=kernel,
            collected=tuple(with_kernel(test, kernel) for test in TESTS) if collected else (),
        )
        for kernel in KERNELS
    ]


def report(
    test: str,
    kernel: str,
    outcome: Literal["passed", "failed", "skipped"] = "passed",
    *,
    when: Any = "call",
    longrepr: Any = None,
    properties: tuple[tuple[str, object], ...] = (),
    marker: str = "rtt",
) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=test if kernel in ("host", test) else with_kernel(test, kernel),
        location=("t.py", 1, "x"),
        keywords={marker: 1},
        outcome=outcome,
        longrepr=longrepr,
        when=when,
        user_properties=list(properties),
    )


def ran(name: str, kernel: str, outcome: str = "passed", **more: object) -> tuple[tuple[str, object], ...]:
    row = {"scenario": name, "outcome": outcome, "asked": kernel, "injected": "1ms", **more}
    return tuple((f"rtt.{key}", value) for key, value in row.items())


def lost(test: str, kernel: str) -> pytest.TestReport:
    properties = (("rtt.outcome", "lost"), ("rtt.asked", kernel))
    why = "the guest was lost: it hung; the end of its console (x.log):\nBUG: here\nCode: 00"
    return report(test, kernel, "failed", when="???", longrepr=why, properties=properties)


def test_rows_are_in_the_order_of_the_request_and_of_the_collection() -> None:
    rows = SessionRows(runs())
    for kernel in reversed(KERNELS):
        for name, test in reversed(list(zip(("near", "far"), TESTS, strict=True))):
            rows.add(report(test, kernel, properties=ran(name, kernel)))
    assert [(row["asked"], row["scenario"], row["test"]) for row in rows.ordered()] == [
        ("debian:8.2", "near", TESTS[0]),
        ("debian:8.2", "far", TESTS[1]),
        ("debian:8.1", "near", TESTS[0]),
        ("debian:8.1", "far", TESTS[1]),
    ]


def test_a_lost_test_is_called_as_on_other_kernels_and_has_a_sentence_without_the_console() -> None:
    rows = SessionRows(runs())
    rows.add(lost("t.py::test_x", KERNELS[0]))
    rows.add(report("t.py::test_x", KERNELS[1], properties=ran("a name", KERNELS[1])))
    row = rows.ordered()[0]
    assert (row["scenario"], row["outcome"], row["asked"]) == ("a name", "lost", KERNELS[0])
    assert row["reason"] == "the guest was lost: it hung"


def test_a_test_that_no_kernel_came_to_has_its_own_name() -> None:
    rows = SessionRows(runs())
    rows.add(lost(TESTS[0], KERNELS[0]))
    rows.add(lost("t.py::test_x[a]", KERNELS[0]))
    assert [row["scenario"] for row in rows.ordered()] == ["near", "test_x[a]"]


def test_a_kernel_that_was_lost_before_its_first_test_has_one_row_without_a_scenario() -> None:
    rows = SessionRows(runs(collected=False))
    rows.add(lost(KERNELS[0], KERNELS[0]))
    assert [(row["scenario"], row["test"], row["asked"]) for row in rows.ordered()] == [("", "", KERNELS[0])]


@pytest.mark.parametrize("when", ["setup", "call"])
@pytest.mark.parametrize(("outcome", "expected"), [("failed", "error"), ("skipped", "skipped")])
def test_a_test_that_came_to_no_scenario_is_no_empty_cell(when: str, outcome: Any, expected: str) -> None:
    rows = SessionRows(runs())
    why: Any = ("t.py", 1, "Skipped: no probe") if outcome == "skipped" else "no probe\nmore"
    rows.add(report(TESTS[0], KERNELS[1], outcome, when=when, longrepr=why))
    (row,) = rows.ordered()
    assert (row["asked"], row["outcome"], row["reason"], row["scenario"]) == (KERNELS[1], expected, "no probe", "near")


def test_passed_setups_and_teardowns_and_other_tests_have_no_row() -> None:
    rows = SessionRows(runs())
    rows.add(report(TESTS[0], KERNELS[0], when="setup"))
    rows.add(report(TESTS[0], KERNELS[0], when="teardown"))
    rows.add(report("t.py::test_other", "host", "failed", longrepr="no", marker="slow"))
    assert rows.ordered() == []


def test_a_test_that_fails_though_its_scenario_passed_has_failed() -> None:
    rows = SessionRows(runs())
    properties = (*ran("near", KERNELS[0]), *ran("near again", KERNELS[0]))
    rows.add(report(TESTS[0], KERNELS[0], "failed", longrepr="assert 1 == 2", properties=properties))
    first, last = rows.ordered()
    assert first["outcome"] == "passed"
    assert (last["outcome"], last["check"]) == ("failed", "the test's own")
    assert last["reason"] == "the scenario passed and its test did not: assert 1 == 2"


def test_strict_is_the_reason_where_it_is() -> None:
    rows = SessionRows(runs())
    properties = ran("near", KERNELS[0], not_run=3)
    rows.add(report(TESTS[0], KERNELS[0], "failed", longrepr="RttFailure: \nPASSED near", properties=properties))
    assert rows.ordered()[0]["reason"] == "3 checks were not run, which --rtt-strict does not let pass"


def test_a_verdict_is_not_overruled_by_its_test() -> None:
    rows = SessionRows(runs())
    properties = ran("near", KERNELS[0], "inconclusive", reason="noise")
    rows.add(report(TESTS[0], KERNELS[0], "failed", longrepr="strict", properties=properties))
    assert (rows.ordered()[0]["outcome"], rows.ordered()[0]["reason"]) == ("inconclusive", "noise")


def test_what_fails_after_the_test_is_its_kernels_and_no_other() -> None:
    rows = SessionRows(runs())
    for kernel in KERNELS:
        rows.add(report(TESTS[0], kernel, properties=ran("near", kernel)))
    rows.add(report(TESTS[0], KERNELS[0], "failed", when="teardown", longrepr="WARNING: in net/ipv4"))
    assert [(row["asked"], row["outcome"]) for row in rows.ordered()] == [
        (KERNELS[0], "failed"),
        (KERNELS[1], "passed"),
    ]


def test_the_running_kernel_alone_has_no_name_in_ids() -> None:
    rows = SessionRows([KernelRun(asked="host", release="6.18", name="host")])
    rows.add(report(TESTS[0], "host", "skipped", when="setup", longrepr=("t.py", 1, "Skipped: no root")))
    assert rows.ordered()[0]["asked"] == "host"


def test_an_empty_report_has_no_reason() -> None:
    assert reason_of(report(TESTS[0], "host", "failed", longrepr="\n  \n")) == "it gave no reason"
