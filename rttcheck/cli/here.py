"""An order carried out on the kernel that this process runs on; the same code on the host and in a guest.

Owns the events' sequence, and that one scenario which cannot be run does not keep the others from it. Imported in
guests: nothing here may import rich.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rttcheck.cli.exit_status import status_of
from rttcheck.cli.order import BEGIN, READY, REFUSED, RESULT, Event, Order, Wanted
from rttcheck.errors import RecordingError, ScenarioError, TrafficError

if TYPE_CHECKING:
    from rttcheck.kernel_log.reader import KernelLog
    from rttcheck.scenario.model import Scenario


def events(order: Order, following: Iterable[Order] = ()) -> Iterator[Event]:
    """Run the order, scenario by scenario, and then those ``following`` with the same probe and engine.

    Raises CapabilityError where this kernel cannot be judged, RecordingError where nothing can be written, ProbeError
    when the probe fails: then no other scenario could be run either. What is wrong with one scenario alone (a value at
    a bucket's edge, traffic that does not get through, a link that the kernel refuses) is its result.
    """
    from rttcheck.harness import Harness, open_harness
    from rttcheck.kernel_log.reader import open_kernel_log
    from rttcheck.scenario.model import Scenario
    from rttcheck_netns import NetnsError

    def result(harness: Harness, order: Order, wanted: Wanted) -> Event:
        scenario = Scenario.make(**wanted.keywords)
        try:
            if not order.judged:
                _, path = harness.record(scenario)
                told = {"scenario": scenario.name, "reason": "", "recording": str(path)}
                return {"event": RESULT, "row": told, "verdict": None, "text": ""}
            done = harness.run(scenario, reproduce=order.reproduce(wanted))
        except (ScenarioError, TrafficError, NetnsError) as error:
            row = error_row(
                scenario,
                error,
                clock=order.clock,
                engine=harness.collector.engine,
                probe=harness.collector.probe.backend,
            )
            return {"event": RESULT, "row": row, "verdict": None, "text": ""}
        text = done.verdict.render(order.width, color=order.colour, ascii_only=order.ascii_only)
        return {"event": RESULT, "row": done.row(), "verdict": done.verdict.as_dict(), "text": text}

    def recordings(order: Order) -> Path:
        """One directory a kernel, so that the next kernel's recordings do not take the place of this one's."""
        return Path(order.recordings) / platform.release()

    with (
        open_harness(engine=order.engine, backend=order.probe, recordings=recordings(order)) as harness,
        open_kernel_log() as log,
    ):
        probe = harness.collector.probe
        harness.collector.allowed_splats = order.allowed
        yield {
            "event": READY,
            "kernel": platform.release(),
            "probe": probe.backend,
            "tried": [f"{attempt.backend}: {attempt.reason}" for attempt in probe.tried],
        }
        for one in chain((order,), following):
            harness.recordings = recordings(one)
            for wanted in one.wanted:
                yield {"event": BEGIN, "scenario": wanted.name}
                event = result(harness, one, wanted)
                # What the kernel said is in the recording, for whoever judges it.
                yield _complained_of(event, log, order.allowed) if one.judged else event


def _complained_of(event: Event, log: KernelLog, allowed: Sequence[Mapping[str, str]] = ()) -> Event:
    """A scenario in which the kernel complained has failed, whatever its round trips were, and with no verdict too.

    What is ``allowed`` by the user or by the project does not count.
    """
    from rttcheck.judge.kernel import complaint
    from rttcheck.kernel_log.allowed import ALLOWED, of_dicts
    from rttcheck.kernel_log.splat import splats

    heard, row = log.take(), event["row"]
    found = splats(heard.kernel_texts, platform.release(), (*of_dicts(allowed), *ALLOWED))
    guilty = [splat for splat in found if splat.allowed is None]
    if not guilty:
        return event
    report = "\n\n".join(splat.render() for splat in guilty)
    if row["guilty"] != "kernel":
        reason = complaint(guilty, "meanwhile", shared=heard.shared)
        if row["outcome"] == "error":
            reason += f"; and the scenario came to no end: {row['reason']}"
        row = {**row, "outcome": "failed", "guilty": "kernel", "reason": reason}
    return {**event, "row": row, "text": f"{event['text']}\n\nkernel splat:\n{report}".lstrip()}


def error_row(
    scenario: Scenario, error: Exception, *, clock: str, engine: str, probe: str
) -> dict[str, str | int | float]:
    """A row for a scenario that came to no verdict: what there is to know without one."""
    from rttcheck.harness import injected

    return {
        "scenario": scenario.name,
        "outcome": "error",
        "guilty": "",
        "reason": str(error),
        "injected": injected(scenario),
        "kernel": platform.release(),
        "clock": clock,
        "engine": engine,
        "probe": probe,
        "lost": 0,
        "recording": "",
    }


def emit(orders: TextIO, to: TextIO) -> int:
    """Carry out the order in the first line, and in each that follows one which says so; write their events.

    One JSON object a line: the guest's side of `rttcheck run`. Returns the exit status. An error that ends the run is
    the last event.
    """
    for event in _guarded(Order.from_json(orders.readline()), orders):
        print(json.dumps(event), file=to, flush=True)
        if event["event"] == REFUSED:
            return int(event["status"])
    return 0


def _following(order: Order, lines: TextIO) -> Iterator[Order]:
    while order.more and (line := lines.readline()):
        order = Order.from_json(line)
        yield order


def _guarded(order: Order, lines: TextIO) -> Iterator[Event]:
    try:
        yield from events(order, _following(order, lines))
    except Exception as error:
        known = status_of(error)
        if known is None:
            raise
        sentence, status = known
        yield {"event": REFUSED, "sentence": sentence, "status": int(status)}


def check_recordings(directory: Path) -> None:
    """Make the directory of recordings now: a run of minutes must not end with its first file.

    Raises RecordingError when it cannot be made or written to.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordingError(
            f"recordings are to be kept in {directory}, which cannot be made ({error.strerror}): "
            "give another directory with --recordings"
        ) from error
    if not os.access(directory, os.W_OK):
        raise RecordingError(
            f"recordings are to be kept in {directory}, which this user cannot write to: "
            "give another directory with --recordings"
        )
