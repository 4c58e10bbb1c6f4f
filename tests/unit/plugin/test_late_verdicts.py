"""Tests in guests whose recordings the controller judges: reports are those of a guest that judges itself."""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.support.plugin_sessions import JUDGING_THERE, LOG, RECORDING, STAND_IN

LIES = {
    "early": {"client": [40_050] * 99 + [39_000]},
    "lossy": {"lost": 3},
}

BUG = "kernel BUG at mm/slub.c:379!"

TESTS = f"""
import pytest

BUG = {BUG!r}
"""

TESTS += """
@pytest.mark.rtt(rtt="40ms")
class TestLast:
    def test_good(self, rtt):
        rtt()

    def test_early(self, rtt):
        rtt()

    def test_lossy(self, rtt, record_property):
        record_property("before", 1)
        print("printed")
        rtt()

@pytest.mark.rtt(rtt="40ms", name="early")
def test_used(rtt):
    assert rtt().verdict

@pytest.mark.rtt(rtt="40ms", name="lossy")
def test_used_lossy(rtt):
    assert rtt().verdict

@pytest.mark.rtt(rtt="40ms", name="early")
def test_twice(rtt):
    assert rtt(name="good").row()["outcome"] == "passed"
    rtt()

@pytest.mark.rtt(rtt="40ms", name="early")
@pytest.mark.xfail
def test_expected(rtt):
    rtt()

@pytest.mark.rtt(rtt="40ms", name="early")
def test_unchecked(rtt):
    result = rtt(check=False)
    assert result.outcome == "failed"
    assert result.verdict.reproduce.endswith("--rtt-kernel debian:9.9")

@pytest.fixture
def failing(record_property):
    yield
    record_property("after", 2)
    assert False, "teardown"

@pytest.mark.rtt(rtt="40ms", name="early")
def test_bad_teardown(rtt, failing):
    rtt()

@pytest.mark.rtt(rtt="40ms", name="in-the-log")
def test_splat_that_the_verdict_has(rtt, kernel):
    kernel.say(BUG)
    rtt()

@pytest.mark.rtt(rtt="40ms", name="early")
def test_splat_besides_the_verdict(rtt, kernel):
    kernel.say(BUG)
    rtt()

@pytest.mark.rtt(rtt="40ms", name="lossy")
def test_splat_and_inconclusive(rtt, kernel):
    kernel.say(BUG)
    rtt()

@pytest.mark.rtt(rtt="40ms", name="good")
def test_splat_and_passed(rtt, kernel, record_property):
    kernel.say(BUG)
    rtt()

class Bad:
    def __del__(self):
        raise ValueError("not to be raised")

@pytest.mark.filterwarnings("error")
@pytest.mark.rtt(rtt="40ms", name="good")
def test_a_warning_that_is_an_error(rtt):
    Bad()
    rtt()

@pytest.mark.rtt(rtt="40ms", name="edge")
def test_refused(rtt):
    rtt(rtt="not a time")
"""


def conftest(*more: str) -> str:
    logs = {"in-the-log": {"records": [[0, 4, 1, 1, BUG]]}}
    planted = RECORDING.replace("lies, logs = {}, {}", f"lies, logs = {LIES}, {logs}")
    assert planted != RECORDING
    return "".join([STAND_IN.replace("PYTHON", sys.executable), planted, *more])


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    # As in a guest: the plugin of hypothesis is told outcomes.
    kernels = () if "--rtt-kernel" in arguments else ("--rtt-kernel", "debian:9.9")
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:hypothesispytest", *kernels, *arguments)


def same(text: str) -> str:
    """The text without times and addresses."""
    return re.sub(r"\b\d+\.\d+( ?s\b|\d\d)|0x[0-9a-f]+", "#", text)


def told(directory: Path, result: pytest.RunResult) -> tuple[list[str], str]:
    """What does not depend on time and addresses: the lines on the terminal, and the JUnit file."""
    tree = ElementTree.parse(directory / "out.xml")
    for element in tree.iter():
        for name in ("time", "timestamp"):
            element.attrib.pop(name, None)
    return [same(line).strip("=") for line in result.stdout.lines], same(
        ElementTree.tostring(tree.getroot(), encoding="unicode")
    )


@pytest.mark.parametrize(
    "words", [(), ("--rtt-strict",), ("--tb=short",), ("--tb=line", "-q"), ("-l", "-v"), ("--tb=native", "-rA")]
)
def test_reports_are_the_same_whoever_judges(pytester: pytest.Pytester, words: tuple[str, ...]) -> None:
    pytester.makepyfile(test_it=TESTS)
    ways = []
    for more in ((), (JUDGING_THERE,)):
        pytester.makeconftest(conftest(LOG, *more))
        result = run(pytester, "--junit-xml=out.xml", *words)
        ways.append(told(pytester.path, result))
    (here, junit_here), (there, junit_there) = ways
    assert here == there
    assert junit_here == junit_there
    assert "early: look at the" in junit_here
    assert "the kernel complained during this test" in junit_here


HELD = """
import threading
import time
from concurrent.futures import Future
from pathlib import Path

from rttcheck.judging import judges

real = judges.Judges.judge

def judge(self, path, **keywords):
    if not path.name.startswith("held"):
        return real(self, path, **keywords)
    future = Future()
    def begin():
        deadline = time.monotonic() + 60
        while not Path("free").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        real(self, path, **keywords).add_done_callback(lambda done: future.set_result(done.result()))
    threading.Thread(target=begin, daemon=True).start()
    return future

judges.Judges.judge = judge
"""
"""The verdicts on recordings named so come half a second after the file ``free``."""

TWO = """
import os
import pathlib

import pytest

pytestmark = pytest.mark.rtt(rtt="40ms")

def test_held(rtt):
    with open("ran", "a") as file:
        file.write("x")
    rtt()

def test_later(rtt):
    # MEANWHILE
    pathlib.Path("free").touch()
"""


def test_the_guest_goes_on_and_reports_keep_their_order(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(conftest(HELD))
    pytester.makepyfile(test_it=TWO)
    result = run(pytester, "-v")
    result.stdout.fnmatch_lines(
        ["*PASSED*test_held[[]@debian:9.9[]]*", "*PASSED*test_later[[]@debian:9.9[]]*", "passed*held*", "*2 passed*"]
    )


def test_a_recording_is_not_replaced_before_it_is_judged(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(conftest(HELD))
    pytester.makepyfile(test_it=TWO + '    rtt(name="held", count=300)\n')
    assert run(pytester, "--rtt-json", "out.json").ret == 0
    samples = [row["samples"] for row in json.loads((pytester.path / "out.json").read_text())["results"]]
    assert samples == [200, 600]


DIES = 'if not os.path.exists("free"):\n        open("free", "w").close()\n        os._exit(1)'


def test_a_lost_guests_recording_is_judged_and_its_test_not_run_again(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(conftest(HELD))
    pytester.makepyfile(test_it=TWO.replace("# MEANWHILE", DIES))
    result = run(pytester)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*it is tried once more*", "*2 passed*"])
    assert (pytester.path / "ran").read_text() == "x"


def test_a_test_of_a_guest_that_is_lost_for_good_has_its_verdict(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(conftest(HELD))
    dies = (
        'if os.path.exists("once"):\n        open("free", "w").close()\n    open("once", "w").close()\n    os._exit(1)'
    )
    pytester.makepyfile(test_it=TWO.replace("# MEANWHILE", dies))
    result = run(pytester, "-v")
    result.stdout.fnmatch_lines(
        ["*PASSED*test_held[[]@debian:9.9[]]*", "*::test_later[[]@debian:9.9[]] LOST*", "*1 passed*1 lost*"]
    )


ENDED = "\nfrom rttcheck.judging import judges\njudges.COMMAND = (sys.executable, '-c', 'import sys; sys.exit(3)')\n"


def test_a_judging_process_that_dies_fails_its_tests_with_a_sentence(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    pytester.makeconftest(conftest(ENDED))
    tests = TWO + "    rtt()\n\ndef test_used(rtt):\n    assert rtt()\n\ndef test_without():\n    pass\n"
    pytester.makepyfile(test_it=tests)
    result = run(pytester, "--junit-xml=out.xml")
    assert result.ret == 1
    why = "Failed: the process that judged */{}.rttrec ended with status 3: try `rttcheck judge */{}.rttrec`"
    result.stdout.fnmatch_lines(
        [
            *(
                f"FAILED test_it.py::test_{name}[[]@debian:9.9[]] - {why.format(name, name)}"
                for name in ("held", "later", "used")
            ),
            "*3 failed, 1 passed*",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize(("free", "done"), [(True, 1), (False, 0)])
def test_an_interrupted_session_waits_a_moment_for_verdicts(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, free: bool, done: int
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    leave = f"\nfrom rttcheck.plugin import kernel_session\nkernel_session.LEAVE_S = {30 if free else 1}\n"
    pytester.makeconftest(conftest(HELD, leave))
    interrupts = "import signal, time\n    os.kill(os.getppid(), signal.SIGINT)"
    if free:
        interrupts += "\n    open('free', 'w').close()"
    pytester.makepyfile(test_it=TWO.replace("# MEANWHILE", f"{interrupts}\n    time.sleep(60)"))
    result = run(pytester)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([f"rttcheck: interrupted: debian:9.9 has {2 - done} of its 2 tests left"])
    assert result.parseoutcomes().get("passed", 0) == done


SEEING = """
import pytest
from pathlib import Path

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.when == "call":
        item.ended = report.outcome
    return report

@pytest.fixture(autouse=True)
def seeing(request):
    yield
    with open("seen", "a") as file:
        print(request.node.ended, file=file)
"""


def test_who_is_told_outcomes_in_the_guest_is_told_the_verdicts(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(conftest(SEEING))
    pytester.makepyfile(test_it=TESTS)
    run(pytester, "-k", "TestLast")
    assert (pytester.path / "seen").read_text().split() == ["passed", "failed", "skipped"]


def test_the_first_failure_ends_a_guest_with_x(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(conftest())
    pytester.makepyfile(test_it=TWO.replace('rtt="40ms")', 'rtt="40ms", name="early")'))
    result = run(pytester, "-x")
    result.stdout.fnmatch_lines(["*1 failed*"])
    assert not (pytester.path / "free").exists()
