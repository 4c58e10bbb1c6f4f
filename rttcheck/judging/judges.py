"""Processes that judge recordings for this one: started when there is work, at most one a core, ended with it.

They are no pool of `concurrent.futures`: one that dies takes only its own recording along, one that hangs is killed,
and none imports the caller's main module again. Each has a thread here and a process group of its own, which Ctrl-C
does not reach; the caller ends them, and the kernel when the caller dies.
"""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from queue import PriorityQueue
from typing import Final

from rttcheck.errors import JudgingError
from rttcheck.judging.result import Failure, Judged

COMMAND = (sys.executable, "-m", "rttcheck.judging.process")
"""The command of a process; this process' id is appended."""

DEADLINE_S: Final = 100.0
"""Seconds that one recording may take; a guest that waits for its verdict is lost after 120."""

_MOST: Final = 4
"""Processes at most: each takes some 100 MB, and guests need the cores, too."""

_LEAVE_S: Final = 5.0
"""Seconds for the threads to end after their processes are killed."""


@dataclass(frozen=True, slots=True, order=True)
class _Task:
    """One recording; in a queue those that somebody waits for come first, then in the order in which they came."""

    rank: int
    number: int
    path: Path = field(compare=False)
    reproduce: str | None = field(compare=False)
    future: Future[Judged] = field(compare=False)


_LAST: Final = 2
"""The rank of what ends a thread."""


class Judges:
    """The processes; `open_judges` opens and closes them. Any thread may call `judge`."""

    def __init__(self, *, most: int | None = None, deadline_s: float = DEADLINE_S) -> None:
        """``most`` is the number of processes at the same time, by default one a core."""
        self._most = min(_MOST, len(os.sched_getaffinity(0))) if most is None else most
        self._deadline_s = deadline_s
        self._tasks: PriorityQueue[_Task] = PriorityQueue()
        self._numbers = count()
        self._lock = threading.Lock()
        self._processes: list[_Process] = []
        self._threads: list[threading.Thread] = []
        self._unfinished = 0
        self._closed = False

    def judge(self, path: Path, *, reproduce: str | None = None, urgent: bool = False) -> Future[Judged]:
        """Judge the recording at ``path``; the ``urgent`` ones, for which a guest waits, come first.

        The future has the verdict, or an error whose text is a sentence: JudgingError, or that of the recording. It is
        cancelled if the judges are closed before.
        """
        future: Future[Judged] = Future()
        with self._lock:
            if self._closed:
                future.cancel()
                return future
            self._unfinished += 1
            self._tasks.put(_Task(0 if urgent else 1, next(self._numbers), path, reproduce, future))
            if len(self._threads) < min(self._most, self._unfinished):
                process = _Process(self._deadline_s)
                thread = threading.Thread(target=self._work, args=(process,), name="rttcheck-judge", daemon=True)
                self._processes.append(process)
                self._threads.append(thread)
                thread.start()
        return future

    def close(self) -> None:
        """Kill the processes, and cancel what they have not judged."""
        with self._lock:
            self._closed = True
            for process in self._processes:
                process.end()
                self._tasks.put(_Task(_LAST, next(self._numbers), Path(), None, Future()))
        for thread in self._threads:
            thread.join(_LEAVE_S)

    def _work(self, process: _Process) -> None:
        """Judge one recording after the other in one process, the work of one thread."""
        while (task := self._tasks.get()).rank != _LAST:
            if self._closed:
                task.future.cancel()
            elif task.future.set_running_or_notify_cancel():
                done = process.judged(task.path, task.reproduce)
                with self._lock:
                    self._unfinished -= 1
                if isinstance(done, Failure):
                    task.future.set_exception(JudgingError(done.sentence))
                else:
                    task.future.set_result(done)


class _Process:
    """One process, started for the first recording, and again after it died."""

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._lock = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None
        self._ended = False

    def judged(self, path: Path, reproduce: str | None) -> Judged | Failure:
        """Return the verdict on the recording at ``path``, or why there is none."""
        try:
            process = self._started()
        except OSError as error:
            return Failure(f"no process could be started to judge {path} ({error.strerror}): end other programs")
        late = threading.Event()

        def kill() -> None:
            late.set()
            process.kill()

        deadline = threading.Timer(self._deadline_s, kill)
        deadline.daemon = True
        deadline.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            pickle.dump((path, reproduce), process.stdin)
            process.stdin.flush()
            answer = pickle.load(process.stdout)
            assert isinstance(answer, (Judged, Failure))
            return answer
        except (OSError, ValueError, EOFError, pickle.UnpicklingError):
            status = _status_of(process)
            if late.is_set():
                return Failure(f"judging {path} took more than {self._deadline_s:.0f} s: try `rttcheck judge {path}`")
            return Failure(f"the process that judged {path} {_ended(status)}: try `rttcheck judge {path}`")
        finally:
            deadline.cancel()

    def end(self) -> None:
        """Kill the process; no other is started."""
        with self._lock:
            self._ended = True
            if self._running is not None:
                self._running.kill()
                self._running.wait(_LEAVE_S)
                self._close_pipes(self._running)

    def _started(self) -> subprocess.Popen[bytes]:
        """Return the process that runs, or a new one. Raises OSError if none can be started."""
        with self._lock:
            if self._ended:
                raise InterruptedError(errno.ECANCELED, "the session has ended")
            if self._running is not None and self._running.poll() is not None:
                self._close_pipes(self._running)
                self._running = None
            if self._running is None:
                self._running = subprocess.Popen(
                    [*COMMAND, str(os.getpid())],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    process_group=0,
                )
            return self._running

    @staticmethod
    def _close_pipes(process: subprocess.Popen[bytes]) -> None:
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            # What was not sent is of no use any more.
            with suppress(OSError, ValueError):
                pipe.close()


def _status_of(process: subprocess.Popen[bytes]) -> int:
    """Return the status of a process that has ended or is about to; one that is not is killed."""
    with suppress(subprocess.TimeoutExpired):
        return process.wait(1.0)
    process.kill()
    return process.wait()


def _ended(status: int) -> str:
    """Return how a process ended, from its return code: "was killed by SIGKILL", "ended with status 1"."""
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"


@contextmanager
def open_judges(*, most: int | None = None) -> Iterator[Judges]:
    """Yield the judges; their processes end with the block."""
    judges = Judges(most=most)
    try:
        yield judges
    finally:
        judges.close()
