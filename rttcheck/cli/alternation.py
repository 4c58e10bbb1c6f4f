"""Alternating runs on two kernels, A and B: the same scenarios on both, round after round; both kernels stay up.

In each round every scenario runs on both kernels before the next one begins, and the kernel that goes first alternates,
so that any drift of the machine affects both sides alike. In virtual time both run at once, each on its own core:
nothing else on the machine influences the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from rttcheck.cli import guest_run, local_run
from rttcheck.cli.exit_status import ExitStatus, status_of
from rttcheck.cli.progress import Progress
from rttcheck.cli.request import READY, REFUSED, RESULT, Event, RunRequest, ScenarioRequest
from rttcheck.compare.measured import MeasuredRun
from rttcheck.record.recording import Recording

LETTERS = ("A", "B")


class RequestRunner(Protocol):
    """Runs one request after the other on one kernel."""

    def events(self, request: RunRequest) -> Iterator[Event]:
        """Run ``request`` and yield its events, up to the result of its last scenario.

        The run may begin with the call or with the first event.
        """


class LocalRunner:
    """Runs requests on the running kernel, with a probe that is loaded once."""

    def __init__(self) -> None:
        self._requests: list[RunRequest] = []
        self._events: Iterator[Event] | None = None

    def events(self, request: RunRequest) -> Iterator[Event]:
        """Yield the events of ``request``. Raises as `local_run.run_locally` does."""
        if self._events is None:
            self._events = local_run.run_locally(request, iter(self._requests.pop, None))
        else:
            self._requests.append(request)
        left = len(request.scenarios)
        while left:
            event = next(self._events)
            yield event
            left -= event["event"] == RESULT


class SideEnded(Exception):
    """One side ended before the last round: ``sentence`` is the reason, ``status`` is the exit status."""

    def __init__(self, sentence: str, status: ExitStatus) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.status = status


@dataclass(slots=True)
class Alternation:
    """Runs rounds and keeps the measured runs by scenario and side."""

    requests: tuple[RunRequest, RunRequest]
    """The request to each side, without scenarios."""
    runners: tuple[RequestRunner, RequestRunner]
    directory: Path
    progress: Progress
    runs: dict[str, tuple[list[MeasuredRun], list[MeasuredRun]]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    """By scenario: what went wrong with it."""
    releases: dict[int, str] = field(default_factory=dict)
    done: int = 0

    def run(self, scenarios: Sequence[ScenarioRequest], first: int, last: int) -> None:
        """Run rounds ``first`` to ``last`` (counted from 1) of ``scenarios``.

        Raises SideEnded when a side cannot go on; runs measured so far are kept.
        """
        planned = self.done + len(scenarios) * 2 * (last - first + 1)
        simultaneous = all(request.clock == "virtual" for request in self.requests)
        for number in range(first, last + 1):
            for place, scenario in enumerate(scenarios):
                sides = (0, 1) if (number + place) % 2 else (1, 0)
                for group in [sides] if simultaneous else [(side,) for side in sides]:
                    self.done += len(group)
                    self.progress.phase(
                        f"{' and '.join(LETTERS[side] for side in group)} {scenario.name}, "
                        f"round {number} of {last} ({self.done} of {planned} runs)"
                    )
                    self._run_on(scenario, group, number)

    def _run_on(self, scenario: ScenarioRequest, sides: Sequence[int], number: int) -> None:
        """Run the scenario on these sides at the same time."""
        begun: list[tuple[int, Iterator[Event]]] = []
        for side in sides:
            kept = self.directory / LETTERS[side] / f"round-{number:02d}"
            request = replace(self.requests[side], scenarios=(scenario,), recordings=str(kept))
            begun.append((side, self.runners[side].events(request)))
        for side, events in begun:
            try:
                for event in events:
                    self._handle(event, scenario, side)
            except Exception as error:
                known = status_of(error)
                if known is None:
                    raise
                raise SideEnded(f"{LETTERS[side]} ({self.requests[side].kernel}): {known[0]}", known[1]) from error

    def _handle(self, event: Event, scenario: ScenarioRequest, side: int) -> None:
        kind: str = event["event"]
        if kind == READY:
            self.releases[side] = str(event["kernel"])
            self.progress.line(f"{LETTERS[side]}: kernel {event['kernel']} is up, probe {event['probe']}")
        elif kind == REFUSED:
            raise SideEnded(f"{LETTERS[side]}: {event['sentence']}", ExitStatus(int(event["status"])))
        elif kind == RESULT:
            row: dict[str, Any] = event["row"]
            sides = self.runs.setdefault(scenario.name, ([], []))
            if row.get("recording"):
                sides[side].append(MeasuredRun.of(Recording.load(Path(str(row["recording"])))))
            else:
                self.notes[scenario.name] = f"{LETTERS[side]}: {row.get('reason', '')}"


@contextmanager
def open_runners(
    requests: tuple[RunRequest, RunRequest], directory: Path, progress: Progress
) -> Iterator[tuple[RequestRunner, RequestRunner]]:
    """Yield a runner for each kernel; guests are booted, both at a time.

    Raises KernelError for a kernel that cannot be fetched or booted.
    """
    from rttcheck.kernels.archive import fetch

    with ExitStack() as stack:
        runners: list[RequestRunner] = []
        for letter, request in zip(LETTERS, requests, strict=True):
            if request.kernel == "host":
                runners.append(LocalRunner())
                continue
            release = fetch(request.kernel, progress=progress.phase).release
            progress.phase(f"booting {release} ({request.clock} time)")
            rw = directory / letter
            rw.mkdir(parents=True, exist_ok=True)
            console = directory / "consoles" / f"{letter}.log"
            runners.append(
                stack.enter_context(
                    guest_run.open_guest(request.kernel, request.clock, console=console, rw=rw, note=progress.line)
                )
            )
        yield runners[0], runners[1]
