"""The files that a session leaves: JSON, Markdown, JUnit, of one kernel or several."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from rttcheck.kernels.guest import EXIT_LOST
from tests.support.plugin_sessions import STAND_IN

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
    row["clock"] = "virtual"
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
    # As they were asked for, not as they came.
    assert [one["asked"] for one in document["results"]] == [f"debian:8.{n}" for n in (1, 1, 2, 2, 3, 3)]
    assert {kernel["clock"] for kernel in document["kernels"]} == {"virtual"}
    assert document["format"] == 2
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
def test_a_file_that_cannot_be_written_is_an_error_before_the_run(pytester: pytest.Pytester, option: str) -> None:
    result = run(pytester, *kernels("8.1"), option, "/proc/no/such")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{option} /proc/no/such cannot be written (*): name another file*"])
    result.stdout.no_fnmatch_line("*booting*")


def test_a_file_that_cannot_be_written_in_the_end_is_a_sentence_too(pytester: pytest.Pytester) -> None:
    spoiling = (
        TESTS
        + """
def test_spoil():
    os.unlink("out.json")
    os.mkdir("out.json")
"""
    )
    pytester.makeconftest(STAND_IN.replace("PYTHON", sys.executable))
    spoiling = spoiling.replace("def test_spoil", "@pytest.mark.rtt\ndef test_spoil")
    pytester.makepyfile(test_it=spoiling)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *kernels("8.1"), "--rtt-json", "out.json")
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines(["rttcheck: *out.json could not be written (Is a directory): make room*"])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


def test_a_report_of_no_scenarios_is_refused(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it="def test_other(): pass")
    result = pytester.runpytest_subprocess("--rtt-json", "out.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--rtt-json is for results of scenarios*add -m rtt*"])


def test_the_table_is_put_between_its_marks(pytester: pytest.Pytester) -> None:
    document = pytester.path / "kernels.md"
    document.write_text("# Kernels\n\n<!-- matrix -->\nold\n<!-- /matrix -->\n\nWhat was found.\n")
    run(pytester, *kernels("8.1", "8.2"), "--rtt-markdown", "kernels.md")
    text = document.read_text()
    assert text.startswith("# Kernels\n\n<!-- matrix -->\n### TCP round trips")
    assert text.endswith("<!-- /matrix -->\n\nWhat was found.\n")
    assert "| far |" in text
    assert "old" not in text


def test_a_kernel_that_does_not_boot_is_a_column_of_losses(pytester: pytest.Pytester) -> None:
    dead = STAND_IN.replace("python=PYTHON", "python={'/bin/false' if settings.kernel.endswith('8.2') else 'PYTHON'}")
    pytester.makeconftest(dead.replace("PYTHON", sys.executable))
    pytester.makepyfile(test_it=TESTS)
    arguments = (*kernels("8.1", "8.2"), "--rtt-json", "out.json", "--rtt-markdown", "out.md")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)
    assert result.ret == EXIT_LOST
    result.stdout.fnmatch_lines(["near*40030*L -", "far*40030*L -", "LOST", "*8.2: all scenarios", "*it did not boot*"])
    document = json.loads((pytester.path / "out.json").read_text())
    assert [one["outcome"] for one in document["results"]] == ["passed", "passed", "lost"]
    assert "BUG: kernel NULL" in document["kernels"][1]["losses"][1]
    assert "BUG: kernel NULL" in (pytester.path / "out.md").read_text()


def test_a_lost_guest_does_not_tell_its_console_with_every_test(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(STAND_IN.replace("PYTHON", sys.executable))
    marks = "@pytest.mark.rtt\n@pytest.mark.parametrize('n', range(9))\n"
    tests = f"import os, pytest\n\n{marks}def test_it(n):\n    os._exit(1)\n"
    pytester.makepyfile(test_it=tests)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *kernels("8.1"))
    _, _, summary = result.stdout.str().partition("TCP round trips")
    table = summary.partition("short test summary")[0].partition("guest lost:")[0]
    assert table.count("the guest debian:8.1 was lost during ") == 9
    assert "BUG: kernel NULL" not in table


def test_the_running_kernel_alone_has_an_account_too(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        "import rttcheck.doctor.capabilities\n"
        "import rttcheck.doctor.selection\n"
        "from types import SimpleNamespace\n"
        "rttcheck.doctor.capabilities.host_capabilities = lambda: ()\n"
        "rttcheck.doctor.selection.select = lambda *a: SimpleNamespace(engine='relay', probe='x', sees='all')\n"
    )
    tests = """
import pytest

@pytest.mark.rtt
def test_ran(request):
    row = {"scenario": "near", "outcome": "passed", "kernel": "9", "engine": "relay", "asked": "host"}
    request.node.user_properties += [("rtt." + key, value) for key, value in row.items()]

@pytest.mark.rtt
def test_did_not():
    pytest.skip("no probe")
"""
    pytester.makepyfile(test_it=tests)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--rtt-kernel", "host", "--rtt-json", "out.json")
    assert result.ret == 0
    document = json.loads((pytester.path / "out.json").read_text())
    (kernel,) = document["kernels"]
    assert (kernel["asked"], kernel["attempts"], kernel["tests"], kernel["engine"]) == ("host", 1, 2, "relay")
    assert kernel["seconds"] >= kernel["seconds_to_first_test"] >= 0
    assert [(one["scenario"], one["outcome"]) for one in document["results"]] == [
        ("near", "passed"),
        ("test_did_not", "skipped"),
    ]
    result.stdout.fnmatch_lines(["rttcheck: written: *out.json"])


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
