"""The order of suites: conditions take turns, what was done is not done again, and every end keeps what there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from rttcheck.errors import KernelError, RttcheckError
from rttcheck.soak import soak as soak_module
from rttcheck.soak.code import code_digest
from rttcheck.soak.condition import Condition, conditions
from rttcheck.soak.ledger import Ledger, load
from rttcheck.soak.session import SuiteRequest
from rttcheck.soak.soak import SoakPlan, run_soak
from rttcheck.soak.suite import SuiteResult
from tests.support.soaked import BAD, BUSY, GOOD, QUIET, suite


class Told:
    """A display that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def begin(self, number: int, condition: Condition) -> None:
        self.lines.append(f"{number} {condition.load}")

    def end(self, suite: SuiteResult) -> None:
        self.lines.append(f"done {suite.number}")

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "soak.json", ("rtt-40ms",), "thawed")


def good(order: SuiteRequest) -> SuiteResult:
    return suite(order.number, condition=order.condition)


def failing_at(number: int, error: BaseException) -> Callable[[SuiteRequest], SuiteResult]:
    def run(order: SuiteRequest) -> SuiteResult:
        if order.number == number:
            raise error
        return good(order)

    return run


def test_conditions_take_turns(ledger: Ledger) -> None:
    told = Told()
    assert run_soak(SoakPlan(conditions=(QUIET, BUSY), runs=2), ledger, told, run=good) is None
    assert told.lines == ["1 none", "done 1", "2 busy", "done 2", "3 none", "done 3", "4 busy", "done 4"]
    assert len(load(ledger.path).suites) == 4


def test_each_suite_has_a_directory_of_its_own_beside_the_output(ledger: Ledger) -> None:
    orders: list[SuiteRequest] = []

    def run(order: SuiteRequest) -> SuiteResult:
        orders.append(order)
        return good(order)

    run_soak(SoakPlan(conditions=(QUIET,), runs=2), ledger, Told(), run=run)
    assert [order.directory for order in orders] == [
        ledger.path.parent / "soak.recordings" / "0001",
        ledger.path.parent / "soak.recordings" / "0002",
    ]
    assert {order.boot for order in orders} == {"thawed"}


def test_what_is_left_of_an_interrupted_soak_is_run_and_no_more(ledger: Ledger) -> None:
    plan = SoakPlan(conditions=(QUIET, BUSY), runs=3)
    ending = run_soak(plan, ledger, Told(), run=failing_at(4, KeyboardInterrupt()))
    assert isinstance(ending, KeyboardInterrupt)
    kept = load(ledger.path)
    assert (len(kept.suites), kept.ending) == (3, "interrupted")
    told = Told()
    assert run_soak(plan, kept, told, run=good) is None
    assert told.lines[::2] == ["4 busy", "5 none", "6 busy"]
    assert run_soak(plan, kept, told, run=failing_at(7, AssertionError("a suite too many"))) is None


def test_a_suite_that_cannot_be_run_ends_the_soak_with_its_sentence(ledger: Ledger) -> None:
    ending = run_soak(
        SoakPlan(conditions=(QUIET,), runs=3), ledger, Told(), run=failing_at(2, RttcheckError("no disk: buy one"))
    )
    assert str(ending) == "no disk: buy one"
    kept = load(ledger.path)
    assert (len(kept.suites), kept.ending) == (1, "no disk: buy one")


def test_when_time_is_up_no_suite_begins(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    hours: Iterator[float] = iter([0.0, 0.0, 3600.0, 7199.0, 7200.0])
    monkeypatch.setattr(soak_module, "time", SimpleNamespace(monotonic=lambda: next(hours)))
    told = Told()
    assert run_soak(SoakPlan(conditions=(QUIET,), runs=9, seconds=7200.0), ledger, told, run=good) is None
    assert len(ledger.suites) == 3
    assert told.lines[-1] == "time is up: 3 of 9 suites are done"


def test_a_failure_does_not_end_a_soak(ledger: Ledger) -> None:
    def run(order: SuiteRequest) -> SuiteResult:
        return suite(order.number, [GOOD, BAD], condition=order.condition)

    assert run_soak(SoakPlan(conditions=(QUIET,), runs=3), ledger, Told(), run=run) is None
    assert [one.failed_checks for one in ledger.suites] == [1, 1, 1]


def test_code_that_changes_meanwhile_ends_the_soak_and_its_suite_does_not_count(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(order: SuiteRequest) -> SuiteResult:
        if order.number == 2:
            monkeypatch.setattr(soak_module, "code_digest", lambda: "edited")
        return good(order)

    ending = run_soak(SoakPlan(conditions=(QUIET,), runs=3), ledger, Told(), run=run)
    assert "code changed while suite 2 ran" in str(ending)
    assert len(load(ledger.path).suites) == 1


def test_code_is_named_by_what_its_files_hold_and_where(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "linked.py").write_text("x = 1\n")
    package = tmp_path / "package"
    package.mkdir()
    (package / "netns").symlink_to(tmp_path / "elsewhere")
    (package / "one.py").write_text("a = 1\n")
    seen = [code_digest(package)]
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "one.pyc").write_bytes(b"x")
    assert code_digest(package) == seen[0]
    (package / "one.py").write_text("a = 2\n")
    seen.append(code_digest(package))
    (tmp_path / "elsewhere" / "linked.py").write_text("x = 2\n")
    seen.append(code_digest(package))
    (package / "one.py").rename(package / "two.py")
    seen.append(code_digest(package))
    assert len(set(seen)) == 4


def test_both_is_every_combination_that_there_is() -> None:
    assert conditions(["host", "debian:6.12"], "both", "both") == (
        Condition("host", "real", "none"),
        Condition("host", "real", "busy"),
        QUIET,
        BUSY,
        Condition("debian:6.12", "real", "none"),
        Condition("debian:6.12", "real", "busy"),
    )
    assert conditions(["debian:6.12", "debian:6.12"], "virtual", "none") == (QUIET,)
    assert conditions(["debian:6.12"], "virtual", "busy") == (replace(QUIET, load="busy"),)


def test_the_running_kernel_has_no_virtual_time() -> None:
    with pytest.raises(KernelError, match="whose time is real"):
        conditions(["host"], "virtual", "none")
