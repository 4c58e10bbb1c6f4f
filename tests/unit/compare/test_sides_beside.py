"""Two kernels at the same time where time is virtual, in turn where it is real; guests leave judging to the host."""

from __future__ import annotations

import argparse
import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from rttcheck.cli.alternation import Alternation
from rttcheck.cli.compare import add_compare_arguments, requests_of
from rttcheck.cli.progress import ProgressLines
from rttcheck.cli.request import Event, RunRequest, ScenarioRequest
from tests.support.repeated_recordings import DATA


class Eager:
    """A kernel that begins when it is told to, as a guest does; the log says when it began and when it was heard."""

    def __init__(self, letter: str, log: list[str]) -> None:
        self.letter, self.log = letter, log

    def events(self, request: RunRequest) -> Iterator[Event]:  # noqa: ARG002  # as a taker is called
        self.log.append(f"{self.letter} begins")
        return self._results()

    def _results(self) -> Iterator[Event]:
        self.log.append(f"{self.letter} is heard")
        yield {"event": "result", "row": {"recording": str(DATA / "rtt-100ms-1.rttrec"), "reason": ""}}


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        ("virtual", ["B begins", "A begins", "B is heard", "A is heard"]),
        ("real", ["B begins", "B is heard", "A begins", "A is heard"]),
    ],
)
def test_both_begin_before_either_is_heard_in_virtual_time_only(
    clock: Literal["virtual", "real"], expected: list[str], tmp_path: Path
) -> None:
    log: list[str] = []
    request = RunRequest(kernel="debian:6.12", clock=clock, probe="auto", recordings="", scenarios=())
    rounds = Alternation((request, request), (Eager("A", log), Eager("B", log)), tmp_path, ProgressLines(io.StringIO()))
    rounds.run([ScenarioRequest(keywords={"name": "rtt-100ms"}, source="rtt-100ms")], 2, 2)
    assert log == expected
    assert [len(side) for side in rounds.runs["rtt-100ms"]] == [1, 1]
    one_real = dataclasses.replace(request, clock="real")
    log.clear()
    rounds = Alternation(
        (request, one_real), (Eager("A", log), Eager("B", log)), tmp_path, ProgressLines(io.StringIO())
    )
    rounds.run([ScenarioRequest(keywords={"name": "rtt-100ms"}, source="rtt-100ms")], 2, 2)
    assert log[1] == "B is heard"


def test_neither_side_judges_what_the_host_judges() -> None:
    parser = argparse.ArgumentParser()
    add_compare_arguments(parser)
    requests = requests_of(parser.parse_args([]), ["debian:6.1", "debian:6.12"], Path("recordings"))
    assert [(request.kernel, request.clock, request.judge) for request in requests] == [
        ("debian:6.1", "virtual", False),
        ("debian:6.12", "virtual", False),
    ]
