"""A verdict in a test's report: how the test ends with it, and a report as if ``rtt()`` had raised it.

pytest writes what it shows of a failure where the test runs. A test whose verdict is still to come brings what it would
show of a failure with a placeholder for its message; `settle` puts the verdict's text there, in the controller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Literal

import pytest

from rttcheck.plugin.properties import PROPERTY

if TYPE_CHECKING:
    from rttcheck.judge.judgement import Verdict
    from rttcheck.judging.result import Judged, Row

PLACEHOLDER = "rttcheck: the verdict is to come"

_ATTRIBUTE = "rttcheck_pending"
"""The attribute of a report that has a `Pending`, as plain values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A verdict to come."""

    number: int
    """The recording's number in its guest."""
    place: int
    """How many properties the test had before: those of the verdict's row come after them."""
    strict: bool
    asked: str
    reproduce: str


def ending_of(verdict: Verdict, *, strict: bool) -> Literal["passed", "failed", "skipped"]:
    """Return how the test ends; ``strict`` fails what is inconclusive, and what has checks that were not run."""
    outcome = verdict.outcome.value
    unsure = outcome == "inconclusive" or bool(verdict.blind)
    if outcome == "failed" or (unsure and strict):
        return "failed"
    return "skipped" if outcome == "inconclusive" else "passed"


def failure_text(verdict: Verdict) -> str:
    """Return the message of a failed test."""
    return "\n" + verdict.render(width=100)


def skip_text(verdict: Verdict) -> str:
    """Return the reason of a skipped test."""
    return f"inconclusive: {verdict.reason.message if verdict.reason is not None else ''}"


def properties_of(row: Row, *, asked: str, reproduce: str) -> list[tuple[str, object]]:
    """Return the row of a verdict as properties of a report."""
    return [(PROPERTY + name, value) for name, value in {**row, "asked": asked, "reproduce": reproduce}.items()]


def shown_at(item: pytest.Item, frame: FrameType, error: BaseException) -> Any:
    """Return what pytest shows of ``error`` if the call that ``frame`` is making raises it."""
    traceback = TracebackType(None, frame, frame.f_lasti, frame.f_lineno)
    return item.repr_failure(pytest.ExceptionInfo.from_exception(error.with_traceback(traceback)))


def mark(report: pytest.TestReport, pending: Pending, shown: Any) -> None:
    """Note in the report that its verdict is to come, and what pytest shows if it fails."""
    setattr(report, _ATTRIBUTE, asdict(pending))
    report.longrepr = shown


def pending_of(report: pytest.TestReport) -> Pending | None:
    """Return the verdict that the report waits for, or None."""
    values = getattr(report, _ATTRIBUTE, None)
    return None if values is None else Pending(**values)


def settle(report: pytest.TestReport, judged: Judged | str, config: pytest.Config) -> None:
    """Put the outcome of a test's call into its report; a sentence is why there is no verdict."""
    pending = pending_of(report)
    assert pending is not None
    delattr(report, _ATTRIBUTE)
    shown: Any = report.longrepr
    report.longrepr = None
    if isinstance(judged, str):
        report.outcome, report.longrepr = "failed", _sentence(judged, shown)
        return
    add_properties(report.user_properties, judged, pending)
    report.outcome = ending_of(judged.verdict, strict=pending.strict)
    if report.outcome == "failed":
        report.longrepr = _with_message(report, shown, failure_text(judged.verdict), config)
    elif report.outcome == "skipped":
        crash = shown.reprcrash
        report.longrepr = (str(crash.path), crash.lineno, f"Skipped: {skip_text(judged.verdict)}")


def settle_all(reports: Sequence[pytest.TestReport], judged: Judged | str, config: pytest.Config) -> None:
    """Put a verdict into the reports of one test: the outcome into the call's, the row also into the teardown's."""
    pending = next(filter(None, map(pending_of, reports)))
    for report in reports:
        if pending_of(report) is not None:
            settle(report, judged, config)
        elif report.when == "teardown" and not isinstance(judged, str):
            add_properties(report.user_properties, judged, pending)


def add_properties(properties: list[tuple[str, object]], judged: Judged, pending: Pending) -> None:
    """Insert the row of a verdict where it would be if it had not been waited for."""
    row = properties_of(judged.row, asked=pending.asked, reproduce=pending.reproduce)
    properties[pending.place : pending.place] = row


def _with_message(report: pytest.TestReport, shown: Any, message: str, config: pytest.Config) -> Any:
    """Return what pytest shows with ``message`` for the placeholder."""
    report.longrepr = shown
    values = config.hook.pytest_report_to_serializable(config=config, report=report)
    values["longrepr"] = _replaced(values["longrepr"], message.removeprefix("\n"))
    again = config.hook.pytest_report_from_serializable(config=config, data=values)
    return again.longrepr


def _replaced(value: Any, message: str) -> Any:
    """Return plain values with ``message`` for the placeholder; each of its lines begins as the placeholder's does."""
    if isinstance(value, dict):
        return {name: _replaced(each, message) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        lines: list[Any] = []
        for each in value:
            new = _replaced(each, message)
            # pytest has a message's lines as members of a list.
            lines += new.split("\n") if isinstance(each, str) and "\n" not in each and new != each else [new]
        return lines
    if isinstance(value, str) and PLACEHOLDER in value:
        before, _, after = value.partition(PLACEHOLDER)
        begin = before.rpartition("\n")[2]
        return before + f"\n{begin}".join(message.split("\n")) + after
    return value


def _sentence(sentence: str, shown: Any) -> Any:
    """Return what pytest shows of `pytest.fail` without a traceback, at the same place as ``shown``."""
    try:
        pytest.fail(sentence, pytrace=False)
    except pytest.fail.Exception:
        failure = pytest.ExceptionInfo.from_current().getrepr(style="value")
    if failure.reprcrash is not None and shown.reprcrash is not None:
        failure.reprcrash.path, failure.reprcrash.lineno = shown.reprcrash.path, shown.reprcrash.lineno
    return failure
