"""A run from its order to its end: events in, rows and verdicts kept, and what it all comes to.

Owns what an end in the middle means: finished scenarios are told, those that a lost guest took with it are lost. What
an event means does not depend on whether the kernel is this one or a guest's.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from rttcheck.cli import away, here
from rttcheck.cli.exit_status import ExitStatus, status_of
from rttcheck.cli.order import BEGIN, READY, REFUSED, RESULT, Event, Order
from rttcheck.cli.progress import Progress
from rttcheck.errors import GuestLost
from rttcheck.report.json_report import run_document
from rttcheck.report.terminal import Row, paint, summary_lines


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a run ended before its last scenario."""

    sentence: str
    status: ExitStatus


@dataclass(slots=True)
class Session:
    """The results so far; `ending` is set when the run did not come to its regular end."""

    order: Order
    rows: list[Row] = field(default_factory=list)
    verdicts: list[dict[str, Any] | None] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    kernel: str = ""
    probe: str = ""
    ending: Ending | None = None

    def status(self, *, strict: bool) -> ExitStatus:
        """The exit status; ``strict`` counts the inconclusive as failed."""
        if self.ending is not None:
            return self.ending.status
        bad = {"failed", "error", "inconclusive"} if strict else {"failed", "error"}
        unseen = strict and any(row.get("not_run") for row in self.rows)
        return ExitStatus.FAILED if unseen or any(row["outcome"] in bad for row in self.rows) else ExitStatus.PASSED

    def text(self, width: int, *, colour: bool) -> str:
        """Verdicts of what did not pass, then a line a scenario, then where the recordings are."""
        parts = [
            text for row, text in zip(self.rows, self.texts, strict=True) if text and row.get("outcome") != "passed"
        ]
        lines = [paint(line) if colour else line for line in summary_lines(self.rows, width)]
        if any(row.get("recording") for row in self.rows):
            lines.append(f"recordings are in {self.order.recordings}")
        return "\n\n".join([*parts, "\n".join(lines)])

    def document(self, reasons: tuple[str, ...], status: ExitStatus) -> str:
        """The same as JSON."""
        facts = {
            "kernel": self.order.kernel,
            "release": self.kernel,
            "clock": self.order.clock,
            "reasons": list(reasons),
            "ending": self.ending.sentence if self.ending is not None else "",
        }
        return run_document(self.rows, self.verdicts, machine=facts, status=status)

    def add(self, row: Row, verdict: dict[str, Any] | None, text: str) -> None:
        """Keep one scenario's result."""
        self.rows.append(row)
        self.verdicts.append(verdict)
        self.texts.append(text)

    def lose(self, reason: str) -> None:
        """Whatever has no result is lost: it neither passed nor failed. The first of them is told the reason."""
        done = {row["scenario"] for row in self.rows}
        facts = {"outcome": "lost", "kernel": self.kernel, "clock": self.order.clock, "probe": self.probe}
        for wanted in self.order.wanted:
            if wanted.name not in done:
                self.add({**facts, "scenario": wanted.name, "engine": "netem", "reason": reason}, None, "")
                reason = ""


def carry_out(order: Order, progress: Progress) -> Session:
    """Run the order and return what came of it, also when it ended early: by Ctrl-C, an error, a guest's death."""
    session = Session(order)
    try:
        with closing(_events(order, session, progress)) as events:
            for event in events:
                _take(event, session, progress)
    except KeyboardInterrupt:
        done = f"{len(session.rows)} of {len(order.wanted)} scenarios were done"
        session.ending = Ending(f"interrupted: {done}", ExitStatus.INTERRUPTED)
    except Exception as error:
        known = status_of(error)
        if known is None:
            raise
        session.ending = Ending(*known)
        if isinstance(error, GuestLost):
            session.lose(str(error))
    return session


def _events(order: Order, session: Session, progress: Progress) -> Generator[Event]:
    if order.kernel == "host":
        yield from here.events(order)
        return
    from rttcheck.kernels.archive import fetch

    release = fetch(order.kernel, progress=progress.phase).release
    session.kernel = release
    progress.phase(f"booting {release} ({order.clock} time)")
    yield from away.events(order, release, note=progress.line)


def _take(event: Event, session: Session, progress: Progress) -> None:
    kind, whole = event["event"], len(session.order.wanted)
    if kind == READY:
        session.kernel, session.probe = str(event["kernel"]), str(event["probe"])
        progress.line(f"kernel {session.kernel} is up, probe {session.probe} ({'; '.join(event['tried'])})")
    elif kind == BEGIN:
        progress.phase(f"{event['scenario']} ({len(session.rows) + 1} of {whole})")
    elif kind == RESULT:
        session.add(event["row"], event["verdict"], str(event["text"]))
    elif kind == REFUSED:
        session.ending = Ending(str(event["sentence"]), ExitStatus(int(event["status"])))
