"""Run a request on the kernel that this process runs on, on the host and in a guest alike.

A scenario that cannot be run does not prevent the others. Imported in guests: nothing here may import rich.
"""

from __future__ import annotations

import os
import platform
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rttcheck.cli.exit_status import status_of
from rttcheck.cli.request import BEGIN, READY, REFUSED, RESULT, Event, RunRequest, ScenarioRequest
from rttcheck.errors import RecordingError, RttcheckError, ScenarioError, TrafficError

if TYPE_CHECKING:
    from rttcheck.kernel_log.reader import KernelLog
    from rttcheck.scenario.model import Scenario


def run_locally(request: RunRequest, following: Iterable[RunRequest] = ()) -> Iterator[Event]:
    """Run the scenarios of ``request``, then those of the requests ``following``, with one probe and engine.

    Raises CapabilityError where this kernel cannot be judged, RecordingError where nothing can be written, ProbeError
    when the probe fails: none of the other scenarios could be run either. A fault of one scenario alone (a value at a
    bucket's edge, traffic that does not get through, a link that the kernel refuses) is its result.
    """
    from rttcheck.harness import Harness, open_harness
    from rttcheck.kernel_log.reader import open_kernel_log
    from rttcheck.scenario.model import Scenario
    from rttcheck_netns import NetnsError

    def result(harness: Harness, request: RunRequest, wanted: ScenarioRequest) -> Event:
        scenario = Scenario.make(**wanted.keywords)
        collector = harness.collector
        row = row_without_verdict(scenario, clock=request.clock, engine=collector.engine, probe=collector.probe.backend)
        try:
            if not request.judge:
                _, path = harness.record(scenario)
                return {"event": RESULT, "row": {**row, "recording": str(path)}, "verdict": None, "text": ""}
            done = harness.run(scenario, reproduce=request.reproduce(wanted))
        except (ScenarioError, TrafficError, NetnsError) as error:
            row["reason"] = str(error)
            return {"event": RESULT, "row": row, "verdict": None, "text": ""}
        except RttcheckError:
            raise
        except Exception as error:
            # A fault of this program: the results of the other scenarios are as good as without it.
            row["reason"] = f"rttcheck itself failed ({type(error).__name__}: {error}): please report it"
            return {"event": RESULT, "row": row, "verdict": None, "text": traceback.format_exc().rstrip()}
        text = done.verdict.render(request.width, color=request.colour, ascii_only=request.ascii_only)
        return {"event": RESULT, "row": done.row(), "verdict": done.verdict.as_dict(), "text": text}

    def recordings(request: RunRequest) -> Path:
        """Return a directory for each kernel, so that kernels do not overwrite each other's recordings."""
        return Path(request.recordings) / platform.release()

    with (
        open_harness(engine=request.engine, backend=request.probe, recordings=recordings(request)) as harness,
        open_kernel_log() as log,
    ):
        probe = harness.collector.probe
        harness.collector.allowed_splats = request.allowed
        yield {
            "event": READY,
            "kernel": platform.release(),
            "probe": probe.backend,
            "tried": [f"{attempt.backend}: {attempt.reason}" for attempt in probe.tried],
        }
        for one in chain((request,), following):
            harness.recordings = recordings(one)
            for wanted in one.scenarios:
                yield {"event": BEGIN, "scenario": wanted.name}
                event = result(harness, one, wanted)
                # Whether the verdict has the complaint already, only who has the verdict can tell.
                yield (
                    _with_complaints(event, log, request.allowed)
                    if one.judge
                    else {**event, "complaint": _complaint(log, request.allowed)}
                )


def _with_complaints(event: Event, log: KernelLog, allowed: Sequence[Mapping[str, str]] = ()) -> Event:
    """Return the event with what the kernel's log had of it, as `with_complaint` does."""
    return with_complaint(event, _complaint(log, allowed))


def _complaint(log: KernelLog, allowed: Sequence[Mapping[str, str]] = ()) -> dict[str, str]:
    """Return what the kernel complained of during the scenario: ``reason`` and ``report``; empty if it did not.

    Complaints on the list ``allowed``, or on the project's own list, do not count.
    """
    from rttcheck.judge.kernel import complaint
    from rttcheck.kernel_log.allowed import ALLOWED, of_dicts
    from rttcheck.kernel_log.splat import not_allowed, splats

    messages = log.take()
    guilty = not_allowed(splats(messages.kernel_texts, platform.release(), (*of_dicts(allowed), *ALLOWED)))
    if not guilty:
        return {}
    return {
        "reason": complaint(guilty, "meanwhile", shared=messages.shared),
        "report": "\n\n".join(splat.render() for splat in guilty),
    }


def with_complaint(event: Event, complaint: Mapping[str, str]) -> Event:
    """Return the event, failed if the kernel complained during the scenario, whatever its round trips were."""
    if not complaint:
        return event
    row = event["row"]
    if row["guilty"] != "kernel":
        reason = complaint["reason"]
        if row["outcome"] == "error":
            reason += f"; and the scenario could not be run: {row['reason']}"
        row = {**row, "outcome": "failed", "guilty": "kernel", "reason": reason}
    return {**event, "row": row, "text": f"{event['text']}\n\nkernel splat:\n{complaint['report']}".lstrip()}


def row_without_verdict(scenario: Scenario, *, clock: str, engine: str, probe: str) -> dict[str, str | int | float]:
    """Return the row of a scenario that was not judged: an error, until it has a ``reason`` or a verdict."""
    from rttcheck.judging.result import injected

    return {
        "scenario": scenario.name,
        "outcome": "error",
        "guilty": "",
        "reason": "",
        "injected": injected(scenario),
        "kernel": platform.release(),
        "clock": clock,
        "engine": engine,
        "probe": probe,
        "lost": 0,
        "recording": "",
    }


def serve_requests(channel: Any) -> None:
    """Run the requests that come through an execnet channel, up to None, and send their events: the guest's side.

    All requests use the engine and probe of the first. An error that ends the run is the last event.
    """
    requests = (RunRequest.of_dict(given) for given in iter(channel.receive, None))
    try:
        for event in run_locally(next(requests), requests):
            channel.send(event)
    except Exception as error:
        known = status_of(error)
        if known is None:
            raise
        sentence, status = known
        channel.send({"event": REFUSED, "sentence": sentence, "status": int(status)})


def prepare_recordings(directory: Path) -> None:
    """Create the directory of recordings before the run, so that a bad path fails at once and not after minutes.

    Raises RecordingError when it cannot be created or written to.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordingError(
            f"recordings are kept in {directory}, which cannot be created ({error.strerror}): "
            "give another directory with --recordings"
        ) from error
    if not os.access(directory, os.W_OK):
        raise RecordingError(
            f"recordings are kept in {directory}, which this user cannot write to: "
            "give another directory with --recordings"
        )
