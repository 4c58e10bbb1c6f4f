"""The results of a guest that only records: judged on this machine while it goes on, and given in its order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, wait
from pathlib import Path

from rttcheck.cli.local_run import with_complaint
from rttcheck.cli.request import RESULT, Event, RunRequest
from rttcheck.errors import JudgingError
from rttcheck.judging.judges import Judges
from rttcheck.judging.result import Judged


class GuestResults:
    """Takes a guest's events, and gives back those that are complete."""

    def __init__(self, request: RunRequest, judges: Judges) -> None:
        self._request = request
        self._judges = judges
        self._reproduce = {wanted.name: request.reproduce(wanted) for wanted in request.scenarios}
        self._waiting: deque[tuple[Event, Future[Judged] | None]] = deque()

    def take(self, event: Event) -> Iterator[Event]:
        """Yield the results that have their verdicts by now, and ``event`` unless it is a result that has to wait."""
        if event["event"] == RESULT:
            self._waiting.append((event, self._judging(event)))
        yield from self.rest(within_s=0)
        if event["event"] != RESULT:
            yield event

    def rest(self, *, within_s: float | None = None) -> Iterator[Event]:
        """Yield the results that wait, in order: all, or those that have their verdicts within so many seconds."""
        deadline_s = None if within_s is None else time.monotonic() + within_s
        while self._waiting:
            event, judging = self._waiting[0]
            if judging is not None:
                left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
                if not wait([judging], timeout=left_s).done:
                    return
                event = self._judged(event, judging)
            event = with_complaint(event, event.get("complaint", {}))
            self._waiting.popleft()
            yield event

    def _judging(self, event: Event) -> Future[Judged] | None:
        """Have the recording of a result judged; None for one without, and one that is judged already."""
        path = event["row"].get("recording")
        if not path or "complaint" not in event:
            return None
        return self._judges.judge(Path(path), reproduce=self._reproduce[event["row"]["scenario"]])

    def _judged(self, event: Event, judging: Future[Judged]) -> Event:
        """Return a result with its verdict; without one it stays an error, and has the reason."""
        request = self._request
        try:
            judged = judging.result(timeout=0)
        except JudgingError as error:
            return {**event, "row": {**event["row"], "reason": str(error)}}
        text = judged.verdict.render(request.width, color=request.colour, ascii_only=request.ascii_only)
        return {**event, "row": judged.row, "verdict": judged.verdict.as_dict(), "text": text}
