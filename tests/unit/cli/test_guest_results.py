"""The results of a guest that only records: judged here, in order, with the complaints of its kernel."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import pytest

from rttcheck.cli.guest_results import GuestResults
from rttcheck.cli.request import Event, RunRequest, ScenarioRequest
from rttcheck.errors import JudgingError
from rttcheck.judging.judges import Judges
from rttcheck.judging.result import Judged, Result
from tests.support.planted import record

NAMES = ("first", "second", "third")
REQUEST = RunRequest(
    kernel="debian:6.12",
    clock="virtual",
    probe="auto",
    recordings="recordings",
    width=90,
    scenarios=tuple(ScenarioRequest(keywords={"name": name, "rtt": "40ms"}, source=name) for name in NAMES),
)
COMPLAINT = {"reason": "the kernel complained meanwhile: BUG", "report": "BUG and what followed"}


class Slow:
    """Judges when told so."""

    def __init__(self) -> None:
        self.futures: dict[str, Future[Judged]] = {}
        self.reproduced: list[str | None] = []

    def judge(self, path: Path, *, reproduce: str | None = None) -> Future[Judged]:
        self.reproduced.append(reproduce)
        future: Future[Judged] = Future()
        self.futures[path.name] = future
        return future

    def finish(self, name: str, **lies: Any) -> None:
        result = Result.of(record(name=name, rtt="40ms", **lies), reproduce="again")
        self.futures[name].set_result(Judged(verdict=result.verdict, row=result.row()))


@pytest.fixture
def judges() -> Slow:
    return Slow()


@pytest.fixture
def results(judges: Slow) -> GuestResults:
    return GuestResults(REQUEST, cast(Judges, judges))


def recorded(name: str, complaint: dict[str, str] | None = None) -> Event:
    row = {"scenario": name, "outcome": "error", "guilty": "", "reason": "", "recording": f"/r/{name}"}
    return {"event": "result", "row": row, "verdict": None, "text": "", "complaint": complaint or {}}


def names(events: list[Event]) -> list[str]:
    return [event["row"]["scenario"] for event in events]


def test_what_is_no_result_goes_on_at_once_and_results_keep_their_order(judges: Slow, results: GuestResults) -> None:
    assert list(results.take({"event": "ready"})) == [{"event": "ready"}]
    assert [list(results.take(recorded(name))) for name in NAMES] == [[], [], []]
    judges.finish("second")
    begin = {"event": "begin", "scenario": "fourth"}
    assert list(results.take(begin)) == [begin]
    judges.finish("first")
    *done, last = results.take(begin)
    assert (names(done), last) == (["first", "second"], begin)
    assert list(results.rest(within_s=0)) == []
    judges.finish("third")
    assert names(list(results.rest())) == ["third"]
    assert judges.reproduced[0] == "rttcheck run first --kernel debian:6.12 --clock virtual"


def test_a_result_is_that_of_a_guest_that_judges_itself(judges: Slow, results: GuestResults) -> None:
    list(results.take(recorded("first")))
    judges.finish("first", client=[40_050] * 99 + [39_000])
    (event,) = results.rest()
    here = Result.of(record(name="first", rtt="40ms", client=[40_050] * 99 + [39_000]), reproduce="again")
    assert event["row"] == here.row()
    assert event["verdict"] == here.verdict.as_dict()
    assert event["text"] == here.verdict.render(90)


def test_a_complaint_of_the_kernel_fails_what_passed(judges: Slow, results: GuestResults) -> None:
    list(results.take(recorded("first", COMPLAINT)))
    judges.finish("first")
    (event,) = results.rest()
    assert (event["row"]["outcome"], event["row"]["guilty"]) == ("failed", "kernel")
    assert event["row"]["reason"] == COMPLAINT["reason"]
    assert event["text"].endswith("kernel splat:\nBUG and what followed")


def test_what_could_not_be_run_is_not_judged_and_has_its_complaint(judges: Slow, results: GuestResults) -> None:
    event = recorded("first", COMPLAINT)
    event["row"].update(recording="", reason="no traffic got through")
    (done,) = results.take(event)
    assert done["row"]["outcome"] == "failed"
    assert done["row"]["reason"] == f"{COMPLAINT['reason']}; and the scenario could not be run: no traffic got through"
    assert judges.futures == {}


def test_without_a_verdict_a_result_is_an_error_with_the_reason(judges: Slow, results: GuestResults) -> None:
    list(results.take(recorded("first")))
    judges.futures["first"].set_exception(JudgingError("the process that judged it was killed"))
    (event,) = results.rest()
    assert (event["row"]["outcome"], event["verdict"]) == ("error", None)
    assert event["row"]["reason"] == "the process that judged it was killed"
