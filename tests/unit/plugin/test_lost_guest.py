"""A guest that dies is tried once more; tests that the second loses too are lost, with an exit status of their own."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree

import pytest

from rttcheck.kernels.guest import EXIT_LOST
from tests.support.plugin_sessions import STAND_IN

TESTS = """
import os
import pathlib

import pytest

pytestmark = pytest.mark.rtt

def test_before():
    pass

def test_deadly():
    os._exit(1)

def test_after():
    pass
"""

ONCE = """
    if not pathlib.Path("died").exists():
        pathlib.Path("died").touch()
        os._exit(1)
"""


def run(pytester: pytest.Pytester, python: str, *arguments: str, tests: str = TESTS) -> pytest.RunResult:
    pytester.makeconftest(STAND_IN.replace("PYTHON", python))
    pytester.makepyfile(test_it=tests)
    kernels = () if "--rtt-kernel" in arguments else ("--rtt-kernel", "debian:9.9")
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *kernels, *arguments)


def test_a_guest_that_dies_twice_in_a_test_loses_it_and_the_rest(pytester: pytest.Pytester) -> None:
    result = run(pytester, sys.executable, "--junit-xml=out.xml")
    assert result.ret == EXIT_LOST
    result.stdout.fnmatch_lines(
        [
            "rttcheck: kernel debian:9.9 (9.9.9), clock virtual*",
            "gateway guest0, fresh False",
            "*debian:9.9 was lost during *::test_deadly[[]@debian:9.9[]]: it ended early (*); it is tried once*",
            "gateway guest0.2, fresh True",
            "*guest lost: debian:9.9*",
            "*the end of its console (*9.9.9.log):",
            "*BUG: kernel NULL pointer dereference",
            "*the end of its console (*9.9.9.2.log):",
            "LOST debian:9.9: 2 tests have no result",
            "*1 passed*2 lost*",
        ]
    )
    result.stdout.no_fnmatch_line("*1 failed*")
    cases = {str(case.get("name")): case for case in ElementTree.parse(pytester.path / "out.xml").iter("testcase")}
    assert {name: [child.tag for child in case] for name, case in cases.items()} == {
        "test_before[@debian:9.9]": [],
        "test_deadly[@debian:9.9]": ["error"],
        "test_after[@debian:9.9]": ["error"],
    }
    assert "BUG: kernel NULL" in str(cases["test_after[@debian:9.9]"][0].text)


def test_a_guest_that_dies_once_loses_nothing_and_is_reported(pytester: pytest.Pytester) -> None:
    result = run(pytester, sys.executable, tests=TESTS.replace("    os._exit(1)\n", ONCE))
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["*it is tried once more*", "*guest lost: debian:9.9*", "debian:9.9 was tried once more, and its tests*"]
    )
    # What the first guest had finished is not run again.
    result.assert_outcomes(passed=3)


def test_a_guest_that_does_not_boot_is_lost_and_the_others_go_on(pytester: pytest.Pytester) -> None:
    result = run(pytester, "/bin/false")
    assert result.ret == EXIT_LOST
    result.stdout.fnmatch_lines(["*the guest debian:9.9 was lost before it was up: it did not boot*", "*1 lost*"])
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_the_reason_of_a_loss_is_that_of_the_launcher_with_the_kernel_panic(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    words = "died after a kernel panic (BUG: kernel NULL pointer dereference)"
    marked = STAND_IN.replace('dereference\\n")', f'dereference\\nrttcheck launcher: 9.000 s lost: {words}\\n")')
    assert marked != STAND_IN
    pytester.makeconftest(marked.replace("PYTHON", sys.executable))
    pytester.makepyfile(test_it=TESTS)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--rtt-kernel", "debian:9.9")
    why = f"debian:9.9 was lost during test_it.py::test_deadly[[]@debian:9.9[]]: it {words}"
    result.stdout.fnmatch_lines(
        [
            f"rttcheck: {why}; it is tried once more, in a fresh guest",
            f"the guest {why}; the end of its console (*):",
            f"    the guest {why}",
        ]
    )


def test_guests_that_live_pass(pytester: pytest.Pytester) -> None:
    result = run(pytester, sys.executable, "-k", "not deadly")
    assert result.ret == 0
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*guest lost*")


def test_kernels_take_turns_where_there_is_one_slot(pytester: pytest.Pytester) -> None:
    kernels = [word for series in ("8.1", "8.2", "8.3") for word in ("--rtt-kernel", f"debian:{series}")]
    result = run(pytester, sys.executable, "-k", "before", "--rtt-jobs", "1", "-v", *kernels)
    assert result.ret == 0
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        [
            "*booting debian:8.1",
            "*PASSED*test_before[[]@debian:8.1[]]*",
            "*booting debian:8.2",
            "*PASSED*test_before[[]@debian:8.2[]]*",
            "*booting debian:8.3",
            "*PASSED*test_before[[]@debian:8.3[]]*",
        ]
    )


def test_one_kernels_loss_is_not_the_others(pytester: pytest.Pytester) -> None:
    only = """
import os, pytest

@pytest.mark.rtt
def test_deadly(pytestconfig):
    if pytestconfig.workerinput["rttcheck_kernel"] == "debian:8.1":
        os._exit(1)

@pytest.mark.rtt
def test_after():
    pass
"""
    kernels = ["--rtt-kernel", "debian:8.1", "--rtt-kernel", "debian:8.2"]
    result = run(pytester, sys.executable, *kernels, tests=only)
    assert result.ret == EXIT_LOST
    result.stdout.fnmatch_lines(["LOST debian:8.1: 2 tests have no result", "*2 passed*2 lost*"])


def test_two_guests_of_one_release_are_refused(pytester: pytest.Pytester) -> None:
    result = run(pytester, sys.executable, "--rtt-kernel", "debian:8.1", "--rtt-kernel", "debian:8.1.9")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--rtt-kernel debian:8.1 and debian:8.1.9 are both 8.1.9: name one of them*"])


def test_the_first_failure_ends_all_kernels_with_x(pytester: pytest.Pytester) -> None:
    tests = "import pytest\n\n@pytest.mark.rtt\ndef test_bad():\n    assert False\n"
    kernels = ["--rtt-kernel", "debian:8.1", "--rtt-kernel", "debian:8.2"]
    result = run(pytester, sys.executable, "-x", "--rtt-jobs", "1", *kernels, tests=tests)
    assert result.ret in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)
    result.stdout.no_fnmatch_line("*booting debian:8.2*")
    result.stdout.fnmatch_lines(["*1 failed*"])
