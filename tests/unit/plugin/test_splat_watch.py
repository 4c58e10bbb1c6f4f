"""A test in which the kernel complains fails, whatever else it did."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_plugin import HARNESS

from rttcheck.collect.kernel_log import KernelLog, LogRecord, parsed

LOG = """
import contextlib
import rttcheck.plugin.splats
from rttcheck.collect.kernel_log import LogRecord

class Log:
    overwritten = 0
    said = []

    def read(self):
        said, self.said[:] = tuple(self.said), []
        return said

    def say(self, text, facility=0):
        self.said.append(LogRecord(facility=facility, level=4, sequence=1, at_us=1, text=text))

LOG = Log()

@contextlib.contextmanager
def open_kernel_log():
    yield LOG

rttcheck.plugin.splats.open_kernel_log = open_kernel_log
LOG.say("kernel BUG at before.c:1!")

@pytest.fixture
def kernel():
    return LOG

@pytest.fixture
def bad_teardown():
    yield
    LOG.say("kernel BUG at teardown.c:1!")
"""

TESTS = """
import pytest

def test_innocent(kernel):
    kernel.say("eth0: link up")

def test_guilty(kernel):
    kernel.say("WARNING: CPU: 0 PID: 1 at net/ipv4/tcp_input.c:3197 tcp_ack+0x1/0x2")
    kernel.say("---[ end trace 0000000000000000 ]---")

def test_a_program_said_it(kernel):
    kernel.say("WARNING: CPU: 0 PID: 1 at net/ipv4/tcp_input.c:3197 tcp_ack+0x1/0x2", facility=1)

def test_teardown(bad_teardown):
    pass

def test_fails_anyway(kernel):
    kernel.say("kernel BUG at mm/slub.c:379!")
    assert "its own" == "reason"
"""


def test_a_splat_fails_the_test_in_which_it_came_and_no_other(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(HARNESS + LOG)
    pytester.makepyfile(TESTS)
    arguments = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-v", "--rtt-kernel", "host")
    result = pytester.runpytest(*arguments)
    result.stdout.fnmatch_lines(
        [
            "*::test_innocent PASSED*",
            "*::test_guilty FAILED*",
            "*::test_a_program_said_it PASSED*",
            "*::test_teardown PASSED*",
            "*::test_teardown ERROR*",
            "*::test_fails_anyway FAILED*",
        ]
    )
    result.stdout.fnmatch_lines(
        [
            "the kernel complained during this test (this is the machine's own kernel*: kernel BUG at teardown.c:1!",
            "the kernel complained during this test (this is the machine's own kernel*: WARNING: * tcp_ack+0x1/0x2",
            "*kernel splat (warning)*",
            "---[[] end trace 0000000000000000 []]---",
            "*assert 'its own' == 'reason'*",
            "the kernel complained during this test *: kernel BUG at mm/slub.c:379!",
        ]
    )
    result.stdout.no_fnmatch_line("*before.c*")


@pytest.mark.parametrize(
    ("data", "record"),
    [
        (
            b"4,7,123456,-;WARNING: x; y\n SUBSYSTEM=net\n DEVICE=+net:veth0\n",
            LogRecord(facility=0, level=4, sequence=7, at_us=123456, text="WARNING: x; y"),
        ),
        (b"12,8,1,-,caller=T1;said\n", LogRecord(facility=1, level=4, sequence=8, at_us=1, text="said")),
        (b"6,9,1,-;\n", LogRecord(facility=0, level=6, sequence=9, at_us=1, text="")),
        (b"no record\n", None),
        (b"a,b,c,-;x\n", None),
    ],
)
def test_records_are_taken_apart(data: bytes, record: LogRecord | None) -> None:
    assert parsed(data) == record


def test_overwritten_records_are_counted_and_reading_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[bytes | OSError] = [BrokenPipeError(), b"4,9,1,-;after\n", BlockingIOError()]

    def read(_fd: int, _most: int) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    log = KernelLog(os.open(tmp_path, os.O_RDONLY))
    with monkeypatch.context() as patched:
        patched.setattr(os, "read", read)
        records = log.read()
    os.close(log.fd)
    assert [record.text for record in records] == ["after"]
    assert log.overwritten == 1
