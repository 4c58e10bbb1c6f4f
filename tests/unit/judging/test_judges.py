"""The processes that judge: their verdicts, their order, and how they end."""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import wait
from functools import partial
from pathlib import Path

import pytest

from rttcheck.errors import JudgingError
from rttcheck.judging import judges as judges_module
from rttcheck.judging.judges import Judges, open_judges
from rttcheck.judging.result import Result
from rttcheck.record.recording import Recording
from rttcheck.remote.agent import wait_for_exit
from tests.support.planted import record

HANGING = "import pickle, sys, time; pickle.load(sys.stdin.buffer); time.sleep(600)"
DYING = "import os, pickle, signal, sys; pickle.load(sys.stdin.buffer); os.kill(os.getpid(), signal.SIGKILL)"
TALKING = "print('hello', flush=True)"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return record(name="planted", rtt="40ms").save(tmp_path / "planted.rttrec")


@pytest.fixture
def judges() -> Iterator[Judges]:
    with open_judges(most=1) as opened:
        yield opened


def runs(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let a process run this code instead of the judge."""
    monkeypatch.setattr(judges_module, "COMMAND", (sys.executable, "-c", code))


def processes() -> list[int]:
    """The process ids of this thread's children that judge."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        words = entry.read_bytes().split(b"\0") if entry.exists() else []
        if b"rttcheck.judging.process" in words and str(os.getpid()).encode() in words:
            found.append(int(entry.parent.name))
    return found


def test_a_verdict_is_that_of_this_process(judges: Judges, recording: Path) -> None:
    judged = judges.judge(recording, reproduce="again").result(timeout=60)
    here = Result.of(Recording.load(recording), path=recording, reproduce="again")
    assert judged.verdict == here.verdict
    assert judged.row == here.row()


def test_a_verdict_is_unpickled_without_the_checks(recording: Path) -> None:
    verdict = pickle.dumps(Result.of(Recording.load(recording)).verdict)
    code = "import pickle, sys; pickle.load(sys.stdin.buffer); print('rttcheck.judge.verdict' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], input=verdict, capture_output=True, check=True, timeout=60)
    assert done.stdout == b"False\n"


def test_a_recording_that_cannot_be_read_is_a_sentence_and_the_next_is_judged(judges: Judges, recording: Path) -> None:
    missing = judges.judge(recording.with_name("missing"))
    good = judges.judge(recording)
    with pytest.raises(JudgingError, match=r"^there is no recording .*missing: check the name$"):
        missing.result(timeout=60)
    assert good.result(timeout=60).row["scenario"] == "planted"


def test_a_bug_of_the_judge_is_a_sentence_with_its_traceback(judges: Judges, tmp_path: Path) -> None:
    bad = dataclasses.replace(record(name="planted", rtt="40ms"), flows=({"client": 7},))
    path = bad.save(tmp_path / "bad.rttrec")
    with pytest.raises(JudgingError, match=r"^the judge failed on .*bad.rttrec \(\w+: .*\): report it") as caught:
        judges.judge(path).result(timeout=60)
    assert "Traceback (most recent call last)" in str(caught.value)


def test_a_process_that_dies_takes_one_recording_along(
    monkeypatch: pytest.MonkeyPatch, judges: Judges, recording: Path
) -> None:
    with monkeypatch.context() as dying:
        runs(dying, DYING)
        with pytest.raises(JudgingError, match=r"^the process that judged .*planted.rttrec was killed by SIGKILL: try"):
            judges.judge(recording).result(timeout=60)
    assert judges.judge(recording).result(timeout=60).row["scenario"] == "planted"


@pytest.mark.parametrize(("code", "how"), [(TALKING, "status 0"), ("import sys; sys.exit(3)", "status 3")])
def test_what_is_no_verdict_is_an_error(
    monkeypatch: pytest.MonkeyPatch, judges: Judges, recording: Path, code: str, how: str
) -> None:
    runs(monkeypatch, code)
    with pytest.raises(JudgingError, match=f"^the process that judged .* ended with {how}"):
        judges.judge(recording).result(timeout=60)


def test_a_process_that_hangs_is_killed_at_its_deadline(monkeypatch: pytest.MonkeyPatch, recording: Path) -> None:
    runs(monkeypatch, HANGING)
    judges = Judges(most=1, deadline_s=0.2)
    try:
        with pytest.raises(JudgingError, match=r"^judging .* took more than 0 s"):
            judges.judge(recording).result(timeout=60)
    finally:
        judges.close()


def test_a_process_that_cannot_be_started_is_an_error(
    monkeypatch: pytest.MonkeyPatch, judges: Judges, recording: Path
) -> None:
    monkeypatch.setattr(judges_module, "COMMAND", ("/nonexistent/python",))
    with pytest.raises(JudgingError, match=r"^no process could be started to judge .* \(No such file or directory\)"):
        judges.judge(recording).result(timeout=60)


def test_who_waits_comes_first(judges: Judges, recording: Path) -> None:
    order: list[str] = []
    futures = []

    def note(name: str, _: object) -> None:
        order.append(name)

    first = judges.judge(recording)
    for name, urgent in (("later", False), ("urgent", True), ("last", False)):
        future = judges.judge(recording, urgent=urgent)
        future.add_done_callback(partial(note, name))
        futures.append(future)
    wait([first, *futures], timeout=60)
    assert order == ["urgent", "later", "last"]


def test_there_are_no_more_processes_than_allowed_and_none_without_work(recording: Path) -> None:
    with open_judges(most=2) as judges:
        assert processes() == []
        wait([judges.judge(recording)], timeout=60)
        assert len(processes()) == 1
        wait([judges.judge(recording) for _ in range(6)], timeout=60)
        assert len(processes()) <= 2
    assert processes() == []


def test_what_is_not_judged_at_the_end_is_cancelled(monkeypatch: pytest.MonkeyPatch, recording: Path) -> None:
    runs(monkeypatch, HANGING)
    with open_judges(most=1) as judges:
        hanging, waiting = judges.judge(recording), judges.judge(recording)
        begun_s = time.monotonic()
        while not hanging.running() and time.monotonic() < begun_s + 30:
            os.sched_yield()
    assert isinstance(hanging.exception(timeout=10), JudgingError)
    assert waiting.cancelled()
    assert judges.judge(recording).cancelled()
    assert not [thread for thread in threading.enumerate() if thread.name == "rttcheck-judge"]


def test_ctrl_c_does_not_reach_them(judges: Judges, recording: Path) -> None:
    wait([judges.judge(recording)], timeout=60)
    (pid,) = processes()
    assert os.getpgid(pid) == pid != os.getpgrp()


@pytest.mark.parametrize("busy", [False, True])
def test_they_end_when_their_parent_is_killed(recording: Path, busy: bool) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from rttcheck.judging import judges\n"
        "recording, busy = Path(sys.argv[1]), sys.argv[2] == 'True'\n"
        "if busy:\n"
        "    import os; os.mkfifo(recording.with_name('fifo'))\n"
        "opened = judges.Judges(most=1)\n"
        "opened.judge(recording).result(timeout=60)\n"
        "if busy: opened.judge(recording.with_name('fifo'))\n"
        "print(opened._processes[0]._running.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(recording), str(busy)], stdout=subprocess.PIPE) as parent:
        try:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
        finally:
            parent.send_signal(signal.SIGKILL)
    assert wait_for_exit(pid, within_s=10.0)
