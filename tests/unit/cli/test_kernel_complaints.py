"""`rttcheck run` where the kernel complains: the scenario has failed, whatever came of it, and its report is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rttcheck.cli import local_run
from rttcheck.kernel_log.reader import KernelLog
from rttcheck.kernel_log.record import LogRecord

BUG = "kernel BUG at mm/slub.c:379!"
PASSED = {"outcome": "passed", "guilty": "", "reason": "", "scenario": "first"}
ERROR = {**PASSED, "outcome": "error", "reason": "no traffic got through"}
GUILTY = {**PASSED, "outcome": "failed", "guilty": "kernel", "reason": "told by the verdict"}


KNOWN = {"pattern": "mm/slub.c", "reason": "seen before", "until": "6.13", "since": "", "before": ""}


def after(
    row: dict[str, str], *texts: str, facility: int = 0, allowed: tuple[dict[str, str], ...] = ()
) -> dict[str, Any]:
    """The event that is told for ``row`` when the log holds ``texts``."""
    records = [LogRecord(facility=facility, level=2, sequence=1, at_us=1, text=text) for text in texts]
    log = KernelLog(-1, _left=records)
    return local_run._with_complaints(
        {"event": "result", "row": row, "verdict": None, "text": "the verdict"}, log, allowed
    )


@pytest.fixture(autouse=True)
def guest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTTCHECK_GUEST", "1")


def test_a_quiet_kernel_changes_nothing() -> None:
    assert after(PASSED, "veth0: link becomes ready")["row"] == PASSED
    assert after(PASSED, BUG, facility=1)["row"] == PASSED


def test_a_complaint_fails_what_had_passed() -> None:
    event = after(PASSED, BUG)
    assert event["row"] == {**GUILTY, "reason": f"the kernel complained meanwhile: {BUG}"}
    assert event["text"] == f"the verdict\n\nkernel splat:\n{BUG}"


def test_what_is_allowed_changes_nothing_and_hides_nothing_else() -> None:
    assert after(PASSED, BUG, allowed=(KNOWN,))["row"] == PASSED
    other = "kernel BUG at fs/x.c:1!"
    assert after(PASSED, BUG, other, allowed=(KNOWN,))["row"]["reason"] == f"the kernel complained meanwhile: {other}"
    assert after(PASSED, BUG, allowed=({**KNOWN, "before": "2.6"},))["row"]["outcome"] == "failed"


def test_what_kept_a_scenario_from_its_end_is_told_too() -> None:
    row = after(ERROR, BUG)["row"]
    assert (row["outcome"], row["guilty"]) == ("failed", "kernel")
    assert row["reason"].endswith(f"{BUG}; and the scenario could not be run: no traffic got through")


def test_what_the_verdict_has_told_stays_as_it_is() -> None:
    event = after(GUILTY, BUG)
    assert event["row"] == GUILTY
    assert event["text"].endswith(BUG)


def test_on_the_machines_own_kernel_others_may_be_to_blame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RTTCHECK_GUEST")
    assert "another program may have caused it" in after(PASSED, BUG)["row"]["reason"]


def test_no_log_is_no_complaint(tmp_path: Path) -> None:
    log = KernelLog(-1, unseen=f"{tmp_path} cannot be read")
    event = {"event": "result", "row": PASSED, "verdict": None, "text": ""}
    assert local_run._with_complaints(event, log) == event
