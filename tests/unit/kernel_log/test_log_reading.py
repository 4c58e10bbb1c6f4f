"""Records of a kernel's log: parsed, counted where they are lost, and returned once."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rttcheck.kernel_log.reader import open_kernel_log
from rttcheck.kernel_log.record import LogExcerpt, LogRecord, records_of

Answers = list[bytes | OSError]


def record(text: str, sequence: int = 9, *, facility: int = 0, level: int = 4, at_us: int = 1) -> LogRecord:
    return LogRecord(facility=facility, level=level, sequence=sequence, at_us=at_us, text=text)


@pytest.mark.parametrize(
    ("data", "records"),
    [
        (
            b"4,7,123456,-;WARNING: x; y\n SUBSYSTEM=net\n DEVICE=+net:veth0\n",
            [record("WARNING: x; y", 7, at_us=123456)],
        ),
        (b"12,8,1,-,caller=T1;said\n", [record("said", 8, facility=1)]),
        (b"6,9,1,-;\n", [record("", level=6)]),
        (b"4,9,1,c;rcu: \\x09(detected by 0, \\x5cx41)\n", [record("rcu: \t(detected by 0, \\x41)")]),
        (b"4,9,1,-;Call Trace:\\x0a <TASK>\n", [record("Call Trace:"), record(" <TASK>")]),
        (b"no record\n", []),
        (b"a,b,c,-;x\n", []),
    ],
)
def test_records_are_taken_apart(data: bytes, records: list[LogRecord]) -> None:
    assert list(records_of(data)) == records


@pytest.fixture
def answering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Answers], Path]:
    """Makes reads of a log give these answers, and then that there is nothing; gives the log's path."""
    path, read = tmp_path / "kmsg", os.read
    path.touch()

    def answer_with(answers: Answers) -> Path:
        def answered(fd: int, most: int) -> bytes:
            if not path.samefile(f"/proc/self/fd/{fd}"):
                return read(fd, most)
            answer = answers.pop(0) if answers else BlockingIOError()
            if isinstance(answer, OSError):
                raise answer
            return answer

        monkeypatch.setattr(os, "read", answered)
        return path

    return answer_with


def test_what_was_overwritten_is_counted_by_the_records_numbers(answering: Callable[[Answers], Path]) -> None:
    path = answering([b"4,9,1,-;a\n", BrokenPipeError(), BrokenPipeError(), b"4,30,1,-;b\n", b"4,31,1,-;c\n"])
    with open_kernel_log(path) as log:
        excerpt = log.take()
    assert [one.text for one in excerpt.records] == ["a", "b", "c"]
    assert excerpt.lost == 20
    assert log.take() == LogExcerpt(shared=True)


@pytest.mark.parametrize("answers", [[BrokenPipeError(), b"4,30,1,-;b\n"], [BrokenPipeError()]])
def test_before_the_first_record_at_least_one_lost_record_is_counted(
    answering: Callable[[Answers], Path], answers: Answers
) -> None:
    with open_kernel_log(answering(answers)) as log:
        assert log.take().lost == 1
        assert log.overwritten == 1


def test_records_until_the_end_can_be_read_after_it(answering: Callable[[Answers], Path]) -> None:
    answers: Answers = [b"4,9,1,-;a\n"]
    with open_kernel_log(answering(answers)) as log:
        assert [one.text for one in log.read()] == ["a"]
        answers.append(b"4,10,1,-;b\n")
    assert [one.text for one in log.take().records] == ["b"]
    assert log.take().records == ()


def test_reading_a_log_that_never_ends_is_bounded(
    answering: Callable[[Answers], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rttcheck.kernel_log.reader._MOST", 3)
    with open_kernel_log(answering([b"4,9,1,-;a\n"] * 4)) as log:
        excerpt = log.take()
        assert (len(excerpt.records), excerpt.lost) == (3, 1)


def test_the_reason_of_an_unreadable_log_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_kernel_log(tmp_path / "none") as log:
        assert (
            log.take().unseen == f"{tmp_path}/none cannot be read (No such file or directory), which takes CAP_SYSLOG"
        )

    def refused(*_: object) -> int:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "open", refused)
    with open_kernel_log() as log:
        assert log.read() == ()
    assert log.take().unseen == "/dev/kmsg cannot be read (Operation not permitted), which takes CAP_SYSLOG"


def test_a_log_that_opens_but_cannot_seek_leaves_no_descriptor(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with open_kernel_log(pipe) as log:
        assert "Illegal seek" in log.unseen
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(("guest", "shared"), [("1", False), ("", True)])
def test_only_a_guests_kernel_is_not_shared(monkeypatch: pytest.MonkeyPatch, guest: str, shared: bool) -> None:
    monkeypatch.setenv("RTTCHECK_GUEST", guest)
    with open_kernel_log() as log:
        assert log.take().shared is shared


def test_an_excerpt_survives_its_dictionary_and_adds_up() -> None:
    excerpt = LogExcerpt(records=(record("a", 1), record("b", 2, facility=1)), lost=3, shared=True)
    assert LogExcerpt.of(json.loads(json.dumps(excerpt.as_dict()))) == excerpt
    both = excerpt + LogExcerpt(records=(record("c", 6),), lost=1, unseen="why")
    assert both.kernel_texts == ("a", "c")
    assert (both.lost, both.unseen, both.shared) == (4, "why", True)
    assert LogExcerpt.of({}) == LogExcerpt()
