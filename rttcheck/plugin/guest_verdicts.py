"""The recordings of one guest and their verdicts, in the controller; `rttcheck.plugin.host_judge` is in the guest."""

from __future__ import annotations

import pickle
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rttcheck.judging.judges import Judges
    from rttcheck.judging.result import Judged

CANCELLED = "the session ended before the recording was judged: rttcheck judge does so"


class GuestVerdicts:
    """Has the recordings that come through a channel judged, and answers those that the guest waits for."""

    def __init__(self, judges: Judges, channel: Any) -> None:
        self._judges = judges
        self._channel = channel
        self._futures: dict[int, Future[Judged]] = {}
        # In execnet's thread, before the report that waits for the verdict: both come by one pipe.
        channel.setcallback(self._receive)

    def of(self, number: int) -> Future[Judged]:
        """Return the verdict, or its future, on the guest's recording of this number."""
        return self._futures[number]

    def _receive(self, message: tuple[int, str, str, bool]) -> None:
        number, path, reproduce, wanted = message
        if number not in self._futures:
            self._futures[number] = self._judges.judge(Path(path), reproduce=reproduce, urgent=wanted)
        if wanted:
            self._futures[number].add_done_callback(lambda done: self._answer(number, done))

    def _answer(self, number: int, done: Future[Judged]) -> None:
        answer = judged_of(done)
        # The guest may have ended meanwhile.
        with suppress(OSError):
            self._channel.send((number, answer if isinstance(answer, str) else pickle.dumps(answer)))


def judged_of(done: Future[Judged]) -> Judged | str:
    """Return the verdict, or the sentence why there is none."""
    try:
        return done.result(timeout=0)
    except CancelledError:
        return CANCELLED
    except Exception as error:
        return str(error)
