"""One run of `rttcheck run`: collect its events into rows and verdicts, and derive report and exit status.

When a run ends early, finished scenarios are reported, and the rest of a lost guest's scenarios are marked lost. Events
mean the same from the running kernel and from a guest.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from rttcheck.cli import guest_run, local_run
from rttcheck.cli.exit_status import ExitStatus, status_of
from rttcheck.cli.guest_results import GuestResults
from rttcheck.cli.progress import Progress
from rttcheck.cli.request import BEGIN, READY, REFUSED, RESULT, Event, RunRequest
from rttcheck.errors import GuestLost
from rttcheck.judging.judges import open_judges
from rttcheck.report.json_report import run_document
from rttcheck.report.terminal import Row, paint, summary_lines

LEAVE_S = 2.0
"""Seconds after an interruption for verdicts on what was recorded; CI kills a job some 10 s after SIGTERM."""


@dataclass(frozen=True, slots=True)
class RunEnding:
    """Why a run ended before its last scenario."""

    sentence: str
    status: ExitStatus


@dataclass(slots=True)
class RunSession:
    """The results so far; ``ending`` is set when the run ended early."""

    request: RunRequest
    rows: list[Row] = field(default_factory=list)
    verdicts: list[dict[str, Any] | None] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    kernel: str = ""
    probe: str = ""
    ending: RunEnding | None = None
    begun: int = 0

    def status(self, *, strict: bool) -> ExitStatus:
        """Return the exit status; ``strict`` counts inconclusive scenarios and checks that were not run as failed."""
        if self.ending is not None:
            return self.ending.status
        bad = {"failed", "error", "inconclusive"} if strict else {"failed", "error"}
        unseen = strict and any(row.get("not_run") for row in self.rows)
        return ExitStatus.FAILED if unseen or any(row["outcome"] in bad for row in self.rows) else ExitStatus.PASSED

    def text(self, width: int, *, colour: bool) -> str:
        """Return the verdicts that did not pass, then one line a scenario, then where the recordings are."""
        parts = [
            text for row, text in zip(self.rows, self.texts, strict=True) if text and row.get("outcome") != "passed"
        ]
        lines = [paint(line) if colour else line for line in summary_lines(self.rows, width)]
        if any(row.get("recording") for row in self.rows):
            lines.append(f"recordings are in {self.request.recordings}")
        return "\n\n".join([*parts, "\n".join(lines)])

    def document(self, reasons: tuple[str, ...], status: ExitStatus) -> str:
        """Return the results as JSON."""
        facts = {
            "kernel": self.request.kernel,
            "release": self.kernel,
            "clock": self.request.clock,
            "reasons": list(reasons),
            "ending": self.ending.sentence if self.ending is not None else "",
        }
        return run_document(self.rows, self.verdicts, machine=facts, status=status)

    def add(self, row: Row, verdict: dict[str, Any] | None, text: str) -> None:
        """Add one scenario's result."""
        self.rows.append(row)
        self.verdicts.append(verdict)
        self.texts.append(text)

    def mark_lost(self, reason: str) -> None:
        """Mark every scenario without a result as lost, neither passed nor failed; the first one gets the reason."""
        done = {row["scenario"] for row in self.rows}
        facts = {"outcome": "lost", "kernel": self.kernel, "clock": self.request.clock, "probe": self.probe}
        for wanted in self.request.scenarios:
            if wanted.name not in done:
                self.add({**facts, "scenario": wanted.name, "engine": "netem", "reason": reason}, None, "")
                reason = ""


def execute(request: RunRequest, progress: Progress) -> RunSession:
    """Run ``request`` and return its results, also after an early end: Ctrl-C, an error, a lost guest."""
    session = RunSession(request)
    with open_judges() as judges:
        results = GuestResults(request, judges)
        try:
            with closing(_events(request, session, progress)) as events:
                for event in events:
                    for each in results.take(event):
                        _handle(each, session, progress)
            _handle_rest(results, session, progress)
        except KeyboardInterrupt:
            _handle_rest(results, session, progress, within_s=LEAVE_S)
            done = f"{len(session.rows)} of {len(request.scenarios)} scenarios were done"
            session.ending = RunEnding(f"interrupted: {done}", ExitStatus.INTERRUPTED)
        except Exception as error:
            known = status_of(error)
            if known is None:
                raise
            session.ending = RunEnding(*known)
            _handle_rest(results, session, progress)
            if isinstance(error, GuestLost):
                session.mark_lost(str(error))
    return session


def _handle_rest(
    results: GuestResults, session: RunSession, progress: Progress, *, within_s: float | None = None
) -> None:
    """Add the results that wait for verdicts: all, or those that have theirs within so many seconds."""
    for event in results.rest(within_s=within_s):
        _handle(event, session, progress)


def _events(request: RunRequest, session: RunSession, progress: Progress) -> Generator[Event]:
    if request.kernel == "host":
        yield from local_run.run_locally(request)
        return
    from rttcheck.kernels.archive import fetch

    release = fetch(request.kernel, progress=progress.phase).release
    session.kernel = release
    progress.phase(f"booting {release} ({request.clock} time)")
    # In a guest, judging takes as long as recording; here it goes on while the guest records.
    yield from guest_run.run_in_guest(replace(request, judge=False), release, note=progress.line)


def _handle(event: Event, session: RunSession, progress: Progress) -> None:
    kind, whole = event["event"], len(session.request.scenarios)
    if kind == READY:
        session.kernel, session.probe = str(event["kernel"]), str(event["probe"])
        progress.line(f"kernel {session.kernel} is up, probe {session.probe} ({'; '.join(event['tried'])})")
    elif kind == BEGIN:
        session.begun += 1
        progress.phase(f"{event['scenario']} ({session.begun} of {whole})")
    elif kind == RESULT:
        session.add(event["row"], event["verdict"], str(event["text"]))
    elif kind == REFUSED:
        session.ending = RunEnding(str(event["sentence"]), ExitStatus(int(event["status"])))
