"""A session that is interrupted, by SIGTERM or Ctrl-C, reports what was done and ends with pytest's status."""

from __future__ import annotations

import json
import os
import signal
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from rttcheck.remote.agent import wait_for_exit
from tests.support.plugin_sessions import HARNESS, STAND_IN

# The worker that runs this is a child of the session's; what it is asked to wait for never comes.
TESTS = """
import os
import pathlib
import signal
import pytest

@pytest.mark.rtt
@pytest.mark.parametrize("name", ["near", "far"])
def test_scenario(request, pytestconfig, name):
    kernel = pytestconfig.workerinput["rttcheck_kernel"]
    if (kernel, name) == ("debian:8.2", "far"):
        pathlib.Path("worker").write_text(str(os.getpid()))
        # Until what was before is told.
        pathlib.Path("told").read_bytes()
        for number in SIGNALS:
            os.kill(os.getppid(), number)
        try:
            signal.sigtimedwait([], 60)
        except KeyboardInterrupt:
            pathlib.Path("waited-for").touch()
    row = {"scenario": name, "outcome": "passed", "p50_us": 40_030, "kernel": "8.9", "asked": kernel}
    request.node.user_properties += [("rtt." + key, value) for key, value in row.items()]
"""

TELLING = """

def pytest_runtest_logfinish(nodeid):
    if nodeid == "test_it.py::test_scenario[near@debian:8.2]":
        open("told", "w").close()
"""

HERE = """
import os
import signal
import pytest

@pytest.mark.rtt(rtt="40ms")
def test_forty(rtt):
    rtt()

@pytest.mark.rtt(rtt="80ms")
def test_eighty(rtt):
    os.kill(os.getpid(), signal.SIGTERM)
    signal.sigtimedwait([], 60)
"""

FILES = ("--rtt-json", "out.json", "--rtt-markdown", "out.md", "--junit-xml=out.xml")


def results(directory: Path) -> list[tuple[str, str, str]]:
    document = json.loads((directory / "out.json").read_text())
    assert document["exit_status"] == pytest.ExitCode.INTERRUPTED
    return [(one["asked"], one["scenario"], one["outcome"]) for one in document["results"]]


def names(directory: Path) -> list[str]:
    """Of the tests in the JUnit file; pytest has an empty case in it for the one that was interrupted here."""
    cases = ElementTree.parse(directory / "out.xml").iter("testcase")
    return [name for case in cases if (name := case.get("name")) is not None]


@pytest.mark.parametrize("signals", [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGTERM, signal.SIGTERM)])
def test_an_interrupted_session_of_several_kernels_reports_what_was_done(
    pytester: pytest.Pytester, signals: tuple[signal.Signals, ...]
) -> None:
    os.mkfifo(pytester.path / "told")
    pytester.makeconftest(STAND_IN.replace("PYTHON", sys.executable) + TELLING)
    pytester.makepyfile(test_it=TESTS.replace("SIGNALS", str([int(number) for number in signals])))
    kernels = [word for series in ("8.1", "8.2", "8.3") for word in ("--rtt-kernel", f"debian:{series}")]
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *kernels, "--rtt-jobs", "1", *FILES)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(
        [
            "rttcheck: interrupted: debian:8.2 has 1 of its 2 tests left",
            "rttcheck: interrupted: debian:8.3 had begun no test",
            "*TCP round trips*",
            "near*40030*40030*",
            "rttcheck: written: *out.json",
            "!!!*SIGTERM*" if signal.SIGTERM in signals else "!!!*KeyboardInterrupt*",
            "*3 passed*",
        ]
    )
    assert results(pytester.path) == [
        ("debian:8.1", "near", "passed"),
        ("debian:8.1", "far", "passed"),
        ("debian:8.2", "near", "passed"),
    ]
    assert names(pytester.path) == [
        "test_scenario[near@debian:8.1]",
        "test_scenario[far@debian:8.1]",
        "test_scenario[near@debian:8.2]",
    ]
    assert "| near | | 40030 | 40030 |" in (pytester.path / "out.md").read_text().replace("|  |", "| |")
    assert wait_for_exit(int((pytester.path / "worker").read_text()), within_s=10.0)
    # Nor for the five seconds that execnet leaves a worker before it interrupts it.
    assert not (pytester.path / "waited-for").exists()


def test_a_session_that_is_ended_while_a_guest_boots_reports_too(pytester: pytest.Pytester) -> None:
    script = pytester.path / "booting"
    script.write_text("#!/bin/sh\nkill -TERM $PPID\nexec cat\n")
    script.chmod(0o755)
    pytester.makeconftest(STAND_IN.replace("PYTHON", str(script)))
    pytester.makepyfile(test_it=TESTS)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--rtt-kernel", "debian:8.1", *FILES)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["rttcheck: interrupted: debian:8.1 had begun no test"])
    assert results(pytester.path) == []
    assert names(pytester.path) == []


def test_an_interrupted_session_on_the_running_kernel_reports_what_was_done(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(HARNESS)
    pytester.makepyfile(test_it=HERE)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-m", "rtt", "--rtt-kernel", "host", *FILES)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*TCP round trips*", "*forty*40ms*", "!!!*SIGTERM*", "*1 passed*"])
    assert results(pytester.path) == [("host", "forty", "passed")]
    assert names(pytester.path) == ["test_forty"]


def test_a_signal_that_comes_while_the_files_are_written_does_not_keep_them_from_it(pytester: pytest.Pytester) -> None:
    # A service that has sent SIGINT sends SIGTERM some seconds later.
    late = "import os, signal\n\ndef pytest_sessionfinish():\n    os.kill(os.getpid(), signal.SIGTERM)\n"
    pytester.makeconftest(HARNESS + late)
    pytester.makepyfile(test_it=HERE.replace("signal.SIGTERM", "signal.SIGINT"))
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-m", "rtt", "--rtt-kernel", "host", *FILES)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*forty*40ms*", "!!!*KeyboardInterrupt*", "*1 passed*"])
    assert results(pytester.path) == [("host", "forty", "passed")]


@pytest.mark.parametrize(
    ("words", "is_ours"), [(("-m", "rtt", "--rtt-kernel", "host"), True), (("-m", "not rtt"), False)]
)
def test_the_signal_is_ours_in_a_session_of_scenarios_and_no_longer(
    pytester: pytest.Pytester, words: tuple[str, ...], is_ours: bool
) -> None:
    pytester.makeconftest(HARNESS)
    looking = f"    assert (signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL) is {is_ours}\n"
    marked = "@pytest.mark.rtt\n" if is_ours else ""
    pytester.makepyfile(f"import signal\nimport pytest\n\n{marked}def test_it():\n{looking}")
    pytester.runpytest("-p", "no:cacheprovider", "-p", "no:hypothesispytest", *words).assert_outcomes(passed=1)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    pytester.runpytest("-p", "no:hypothesispytest", "--rtt-kernel", "nonsense")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
