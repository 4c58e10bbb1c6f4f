"""A guest whose recordings are judged here: a failure is told as the judge of its recording tells it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rttcheck.judging.result import Result
from rttcheck.record.recording import Recording

PROJECT = Path(__file__).parents[2]

# The recording says that more was injected than was.
CONFTEST = """
import dataclasses
import os

if os.environ.get("RTTCHECK_GUEST") == "1":
    from rttcheck.collect.collector import Collector

    real = Collector.record

    def record(self, scenario):
        recording = real(self, scenario)
        if not scenario.name.startswith("false"):
            return recording
        return dataclasses.replace(recording, scenario={**recording.scenario, "rtt": "20ms"})

    Collector.record = record
"""

TESTS = """
import sys

import pytest

from rttcheck.plugin.host_judge import HOST_JUDGE

@pytest.mark.rtt(rtt="10ms", count=20)
class TestJudging:
    def test_last(self, rtt):
        rtt(name="false-last")

    def test_used(self, rtt):
        result = rtt(name="false-used")
        assert result is None, "it raises"

    def test_unchecked(self, rtt):
        result = rtt(name="false-unchecked", check=False)
        assert result.outcome == "failed"
        assert result.row()["injected"] == "20ms"
        assert result.verdict.path.endswith("false-unchecked.rttrec")

    def test_good(self, rtt):
        rtt(name="good")

    def test_here_nothing_was_judged(self, pytestconfig):
        assert "rttcheck.judge.verdict" not in sys.modules
        handed_over = pytestconfig.stash[HOST_JUDGE].handed_over
        assert [path.stem for path in handed_over] == ["false-last", "good"]
"""


def bare(text: str) -> str:
    """The lines of a text without what pytest has before them."""
    return "\n".join(line.removeprefix("E").strip() for line in text.splitlines())


def test_a_verdict_of_outside_fails_a_test_whatever_follows(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TESTS)
    words = ["-p", "no:cacheprovider", "-m", "rtt", "-v", "-rA", "--rtt-kernel", "debian:6.12"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / 'netns'}", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    said = done.stdout + done.stderr
    test = "test_it.py::TestJudging::test_{}"
    for name in ("unchecked", "good", "here_nothing_was_judged"):
        assert f"PASSED {test.format(name)}[@debian:6.12]" in said, said
    for name in ("last", "used"):
        path = next(tmp_path.rglob(f"false-{name}.rttrec"))
        again = f"pytest '{test.format(name)}' --rtt-kernel debian:6.12 --rtt-clock virtual"
        verdict = Result.of(Recording.load(path), path=path, reproduce=again).verdict
        assert bare(verdict.render(width=100)) in bare(said), said
        assert f"FAILED {test.format(name)}[@debian:6.12] - rttcheck.plugin.fixtures.RttFailure: " in said, said
    assert "2 failed, 3 passed" in said
