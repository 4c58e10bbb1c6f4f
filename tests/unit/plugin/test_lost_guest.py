"""A guest that dies takes tests with it: they are lost, and the session says so in a status of its own."""

from __future__ import annotations

import sys

import pytest

from rttcheck.kernels.guest import EXIT_LOST

# A Python of this machine stands in for the guest's; what the launcher does is tested with real guests.
STAND_IN = """
from types import SimpleNamespace

import rttcheck.kernels.archive
import rttcheck.plugin.guests

def fetch(spec, **kwargs):
    return SimpleNamespace(release="9.9.9")

def gateway_spec(settings, *, name):
    settings.console.write_text("first line\\nBUG: kernel NULL pointer dereference\\n")
    return f"popen//id={name}//python=PYTHON"

rttcheck.kernels.archive.fetch = fetch
rttcheck.plugin.guests.gateway_spec = gateway_spec
"""

TESTS = """
import os
import pytest

pytestmark = pytest.mark.rtt

def test_before():
    pass

def test_deadly():
    os._exit(1)

def test_after():
    pass
"""


def run(pytester: pytest.Pytester, python: str, *arguments: str) -> pytest.RunResult:
    pytester.makeconftest(STAND_IN.replace("PYTHON", python))
    pytester.makepyfile(TESTS)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "--rtt-kernel", "debian:9.9", *arguments)


def test_a_guest_that_dies_in_a_test_loses_it_and_the_rest(pytester: pytest.Pytester) -> None:
    result = run(pytester, sys.executable)
    assert result.ret == EXIT_LOST
    result.stdout.fnmatch_lines(
        [
            "rttcheck: kernel debian:9.9 (9.9.9), clock virtual*",
            "*guest lost*",
            "*BUG: kernel NULL pointer dereference",
            "LOST debian:9.9: *; 1 more tests were not run there; console: *9.9.9.log",
            "*1 passed*1 lost*",
        ]
    )
    result.stdout.no_fnmatch_line("*1 failed*")


def test_a_guest_that_does_not_boot_is_lost(pytester: pytest.Pytester) -> None:
    result = run(pytester, "/bin/false")
    assert result.ret == EXIT_LOST
    result.stdout.fnmatch_lines(["*the guest debian:9.9 was lost: it did not boot*"])
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_guests_that_live_pass(pytester: pytest.Pytester) -> None:
    result = run(pytester, sys.executable, "-k", "not deadly")
    assert result.ret == 0
    result.assert_outcomes(passed=2)
