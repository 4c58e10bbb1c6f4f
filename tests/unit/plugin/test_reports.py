"""The files that a session leaves: JSON, Markdown, JUnit, of one kernel or several."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree

import pytest
from test_lost_guest import STAND_IN

from rttcheck.kernels.guest import EXIT_LOST

# Rows come as properties of tests' reports, wherever those ran; here a test makes its own.
TESTS = """
import os
import pytest

@pytest.mark.rtt
@pytest.mark.parametrize("name", ["near", "far"])
def test_scenario(request, pytestconfig, name):
    kernel = pytestconfig.workerinput["rttcheck_kernel"]
    outcome = "inconclusive" if name == "far" and kernel == "debian:8.2" else "passed"
    row = {"scenario": name, "outcome": outcome, "reason": "noisy", "p50_us": 40_030, "kernel": "8.9", "asked": kernel}
    request.node.user_properties += [("rtt." + key, value) for key, value in row.items()]
    if kernel == "debian:8.3" and name == "far":
        os._exit(1)
    if outcome == "inconclusive":
        pytest.skip("inconclusive: noisy")
"""


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    pytester.makeconftest(STAND_IN.replace("PYTHON", sys.executable))
    pytester.makepyfile(test_it=TESTS)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-m", "rtt", *arguments)


def kernels(*series: str) -> list[str]:
    return [word for one in series for word in ("--rtt-kernel", f"debian:{one}")]


def test_all_results_are_one_json_document(pytester: pytest.Pytester) -> None:
    result = run(pytester, *kernels("8.1", "8.2", "8.3"), "--rtt-json", "deep/out.json")
    assert result.ret == EXIT_LOST
    document = json.loads((pytester.path / "deep" / "out.json").read_text())
    assert document["exit_status"] == EXIT_LOST
    assert {kernel["asked"]: (kernel["attempts"], kernel["lost"]) for kernel in document["kernels"]} == {
        "debian:8.1": (1, 0),
        "debian:8.2": (1, 0),
        "debian:8.3": (2, 1),
    }
    assert {(one["asked"], one["scenario"]): one["outcome"] for one in document["results"]} == {
        ("debian:8.1", "near"): "passed",
        ("debian:8.1", "far"): "passed",
        ("debian:8.2", "near"): "passed",
        ("debian:8.2", "far"): "inconclusive",
        ("debian:8.3", "near"): "passed",
        ("debian:8.3", "far"): "lost",
    }
    assert all(one["test"] == f"test_it.py::test_scenario[{one['scenario']}]" for one in document["results"])


def test_several_kernels_are_a_table_on_the_terminal_and_in_markdown(pytester: pytest.Pytester) -> None:
    result = run(pytester, *kernels("8.1", "8.2"), "--rtt-markdown", "out.md")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["scenario*8.1*8.2", "near*40030*40030", "far*40030*? 40030"])
    assert "| far |  | 40030 | inconclusive 40030 |" in (pytester.path / "out.md").read_text()


def test_a_jobs_summary_is_added_to(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = pytester.path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    run(pytester, *kernels("8.1"), "--rtt-markdown", str(summary))
    assert summary.read_text().startswith("before\n### TCP round trips")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    run(pytester, *kernels("8.1"), "--rtt-markdown", str(summary))
    assert summary.read_text().startswith("### TCP round trips")


@pytest.mark.parametrize("option", ["--rtt-json", "--rtt-markdown"])
def test_a_file_that_cannot_be_written_is_told_before_the_run(pytester: pytest.Pytester, option: str) -> None:
    result = run(pytester, *kernels("8.1"), option, "/proc/no/such")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{option} /proc/no/such cannot be written (*): name another file*"])
    result.stdout.no_fnmatch_line("*booting*")


def test_a_junit_file_tells_kernels_apart(pytester: pytest.Pytester) -> None:
    run(pytester, *kernels("8.1", "8.2", "8.3"), "--junit-xml=out.xml")
    cases = {str(case.get("name")): case for case in ElementTree.parse(pytester.path / "out.xml").iter("testcase")}
    ends = {name: next((child.tag for child in case if child.tag != "properties"), "") for name, case in cases.items()}
    assert ends == {
        "test_scenario[near@debian:8.1]": "",
        "test_scenario[far@debian:8.1]": "",
        "test_scenario[near@debian:8.2]": "",
        "test_scenario[far@debian:8.2]": "skipped",
        "test_scenario[near@debian:8.3]": "",
        "test_scenario[far@debian:8.3]": "error",
    }
    properties = {one.get("name"): one.get("value") for one in cases["test_scenario[near@debian:8.2]"].iter("property")}
    assert (properties["rtt.asked"], properties["rtt.kernel"]) == ("debian:8.2", "8.9")
    assert "BUG: kernel NULL" in str(cases["test_scenario[far@debian:8.3]"].find("error").text)  # type: ignore[union-attr]
    assert "noisy" in str(cases["test_scenario[far@debian:8.2]"].find("skipped").get("message"))  # type: ignore[union-attr]
