"""One suite: what its session said and what its recordings give, counted together, and what is left behind."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rttcheck.errors import RttcheckError
from rttcheck.judge.findings import Finding, Layer, Outcome, outcome_of, ranked
from rttcheck.kernels.guest import EXIT_LOST
from rttcheck.record.event import EVENT
from rttcheck.record.recording import Recording
from rttcheck.scenario.library import NAMED
from rttcheck.soak import session
from rttcheck.soak.code import PACKAGE
from rttcheck.soak.condition import Condition
from rttcheck.soak.session import SuiteRequest, count_suite, reported, run_suite
from rttcheck.soak.suite import CheckCount
from tests.support.soaked import QUIET

NAMES = ("rtt-40ms", "loss", "step")


def finding(outcome: str, check: str = "not above", layer: Layer = Layer.SAMPLE) -> Finding:
    return Finding(
        check=check,
        title=check,
        layer=layer,
        outcome=Outcome(outcome),
        message=f"it {outcome}",
        expected="",
        seen="",
        samples=1,
    )


@pytest.fixture(autouse=True)
def verdicts(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Finding]]:
    """What the judge says of each scenario's recording: three findings that passed, unless a test wants others."""
    passed = [finding("passed"), finding("passed", "exact", Layer.ARITHMETIC), finding("passed", "bucket")]
    wanted = {name: list(passed) for name in NAMES}

    def judge(recording: Recording, *, path: Path) -> SimpleNamespace:
        findings = ranked(wanted[str(recording.scenario["name"])])
        figures = (("median_us", 40_030), ("over_wire_max_us", 12))
        return SimpleNamespace(outcome=outcome_of(findings), findings=findings, figures=figures, path=path)

    monkeypatch.setattr(session, "judge", judge)
    return wanted


@pytest.fixture
def order(tmp_path: Path) -> SuiteRequest:
    return SuiteRequest(number=7, condition=QUIET, scenarios=NAMES, directory=tmp_path / "0007", boot="thawed")


def keep(order: SuiteRequest, *names: str) -> None:
    """Recordings of these scenarios, as a session leaves them."""
    for name in names:
        events = np.zeros(2, EVENT)
        events["sample_us"] = 40_030, len(name)
        Recording(
            scenario=NAMED[name].keywords(),
            kernel="6.12.117",
            clock="virtual",
            engine="netem",
            probe="fexit",
            events=events,
            histograms={"us": np.zeros(17, np.uint64), "ms": np.zeros(17, np.uint64)},
            lost=0,
            control=events[:0],
        ).save(order.recordings / "6.12.117" / f"{name}.rttrec")


def test_every_finding_is_a_check(order: SuiteRequest, verdicts: dict[str, list[Finding]]) -> None:
    verdicts["loss"] = [finding("failed"), finding("passed", "exact", Layer.ARITHMETIC)]
    verdicts["step"] = [finding("inconclusive"), finding("passed", "bucket")]
    keep(order, *NAMES)
    told = {"rtt-40ms": ("passed", ""), "loss": ("failed", "it failed"), "step": ("inconclusive", "")}
    suite = count_suite(order, told, status=1, seconds=3.14)
    assert [(run.scenario, run.outcome, run.check, run.message) for run in suite.runs] == [
        ("rtt-40ms", "passed", "", ""),
        ("loss", "failed", "sample: not above", "it failed"),
        ("step", "inconclusive", "sample: not above", "it inconclusive"),
    ]
    assert set(suite.checks) == {
        CheckCount(layer="sample", check="not above", passed=1, failed=1, inconclusive=1),
        CheckCount(layer="arithmetic", check="exact", passed=2),
        CheckCount(layer="sample", check="bucket", passed=2),
    }
    assert (suite.release, suite.number, suite.condition) == ("6.12.117", 7, QUIET)


def test_figures_come_from_the_recording(order: SuiteRequest) -> None:
    keep(order, *NAMES)
    suite = count_suite(order, dict.fromkeys(NAMES, ("passed", "")), status=0, seconds=1.0)
    assert [(run.median_us, run.over_wire_max_us) for run in suite.runs] == [(40_030, 12)] * 3
    # Neither loss, whose timeouts have no upper bound, nor a step is a constant delay.
    assert [run.constant for run in suite.runs] == [True, False, False]
    same_length, other = suite.runs[1].digest == suite.runs[2].digest, suite.runs[0].digest
    assert same_length
    assert other != suite.runs[1].digest


def test_a_guest_that_was_lost_takes_its_scenarios_out_of_the_count(order: SuiteRequest) -> None:
    keep(order, "rtt-40ms")
    told = {"rtt-40ms": ("passed", ""), "loss": ("lost", "the guest was lost: it hung\nBUG: soft lockup")}
    suite = count_suite(order, told, status=EXIT_LOST, seconds=1.0)
    assert [run.outcome for run in suite.runs] == ["passed", "lost", "lost"]
    assert suite.runs[1].message == "the guest was lost: it hung … BUG: soft lockup"
    assert sum(check.passed for check in suite.checks) == 3
    assert suite.failed_checks == 0


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"rtt-40ms": ("error", "no traffic within 20 s")}, "no traffic within 20 s"),
        ({"rtt-40ms": ("failed", "4 us too few")}, "reported failed (4 us too few), and its recording gives"),
        ({}, "the session did not report it"),
    ],
)
def test_what_a_user_saw_fail_is_one_failed_check_whatever_the_recording_says(
    order: SuiteRequest, told: Mapping[str, tuple[str, str]], words: str
) -> None:
    keep(order, *NAMES)
    rest = {"loss": ("passed", ""), "step": ("passed", "")}
    suite = count_suite(order, {**rest, **told}, status=1, seconds=1.0)
    assert [run.outcome for run in suite.runs] == ["error", "passed", "passed"]
    assert words in suite.runs[0].message
    assert suite.failed_checks == 1
    assert sum(check.passed for check in suite.checks) == 9


def test_a_recording_that_is_missing_or_damaged_is_an_error(order: SuiteRequest) -> None:
    keep(order, "rtt-40ms", "loss")
    damaged = order.recordings / "6.12.117" / "loss.rttrec"
    damaged.write_bytes(damaged.read_bytes()[:500])
    suite = count_suite(order, dict.fromkeys(NAMES, ("passed", "")), status=0, seconds=1.0)
    assert [run.outcome for run in suite.runs] == ["passed", "error", "error"]
    assert "not a whole recording" in suite.runs[1].message
    assert "there is no recording of it" in suite.runs[2].message
    assert suite.failed_checks == 2


TESTS = """
import pytest

def test_scenario(request, name):
    pass

@pytest.fixture(params=["rtt-40ms", "loss", "step", "bbr", "ipv6", "asymmetric", "reordering"])
def name(request):
    say = lambda outcome, reason="": request.node.user_properties.extend(
        [("rtt.scenario", request.param), ("rtt.outcome", outcome), ("rtt.reason", reason)]
    )
    if request.param == "rtt-40ms":
        say("passed")
    if request.param == "loss":
        say("failed", "2 < 3")
        pytest.fail("the verdict")
    if request.param == "step":
        say("inconclusive", "noisy")
        pytest.skip("inconclusive: noisy")
    if request.param == "bbr":
        pytest.fail("no traffic", pytrace=False)
    if request.param == "ipv6":
        pytest.skip("no IPv6 here")
    if request.param == "asymmetric":
        say("passed")
    yield request.param
    if request.param == "asymmetric":
        pytest.fail("the lab cannot be left", pytrace=False)
"""


def test_what_pytest_reports_is_read_as_a_user_sees_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    pytester.runpytest("--junit-xml=junit.xml", "-p", "no:cacheprovider", "-p", "no:rttcheck")
    told = reported(pytester.path / "junit.xml")
    assert told["rtt-40ms"] == ("passed", "")
    assert told["loss"] == ("failed", "2 < 3")
    assert told["step"] == ("inconclusive", "noisy")
    assert told["bbr"][0] == "error"
    assert "no traffic" in told["bbr"][1]
    assert told["ipv6"] == ("error", "skipped: no IPv6 here")
    assert told["asymmetric"][0] == "error"
    assert "the lab cannot be left" in told["asymmetric"][1]
    assert told["reordering"] == ("error", "it was not run")


# A Python of this machine stands in for the guest's, and dies in the second test.
STAND_IN = """
from types import SimpleNamespace
import rttcheck.kernels.archive
import rttcheck.plugin.slots

def gateway_spec(settings, *, name):
    settings.console.write_text("BUG: soft lockup\\n")
    return f"popen//id={name}//python=PYTHON"

rttcheck.kernels.archive.fetch = lambda spec, **kwargs: SimpleNamespace(release="9.9.9")
rttcheck.plugin.slots.gateway_spec = gateway_spec
"""

DEADLY = """
import os
import pytest

@pytest.mark.rtt
@pytest.mark.parametrize("name", ["rtt-40ms", "loss", "step"])
def test_scenario(request, name):
    if name == "loss":
        os._exit(1)
    request.node.user_properties += [("rtt.scenario", name), ("rtt.outcome", "passed")]
"""


@pytest.mark.parametrize(
    ("python", "recorded", "outcomes"),
    [(sys.executable, ("rtt-40ms",), ["passed", "lost", "lost"]), ("/bin/false", (), ["lost", "lost", "lost"])],
)
def test_a_real_session_that_loses_its_guest_is_counted_so(
    pytester: pytest.Pytester, order: SuiteRequest, python: str, recorded: tuple[str, ...], outcomes: list[str]
) -> None:
    pytester.makeconftest(STAND_IN.replace("PYTHON", python))
    pytester.makepyfile(DEADLY)
    keep(order, *recorded)
    order.directory.mkdir(exist_ok=True)
    arguments = ("-p", "no:cacheprovider", "--rtt-kernel", "debian:9.9", f"--junit-xml={order.junit}")
    result = pytester.runpytest_subprocess(*arguments)
    order.log.write_text(result.stdout.str())
    suite = count_suite(order, reported(order.junit), status=int(result.ret), seconds=1.0)
    assert result.ret == EXIT_LOST
    assert [run.outcome for run in suite.runs] == outcomes
    assert suite.failed_checks == 0


def standing_in(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let ``program`` run instead of pytest; it finds the order's directory in DIRECTORY."""
    monkeypatch.setattr(
        SuiteRequest,
        "command",
        lambda order: [sys.executable, "-c", program.replace("DIRECTORY", repr(str(order.directory)))],
    )


def cases(*outcomes: tuple[str, str]) -> str:
    """A program that leaves such a JUnit file, with what was recorded moved into place."""
    rows = "".join(
        f"<testcase name='test_scenario[{name}]'><properties><property name='rtt.outcome' value='{outcome}'/>"
        "</properties></testcase>"
        for name, outcome in outcomes
    )
    text = f"<testsuites><testsuite>{rows}</testsuite></testsuites>"
    return (
        "import pathlib, shutil\n"
        "here = pathlib.Path(DIRECTORY)\n"
        "print('hello from pytest')\n"
        f"(here / 'junit.xml').write_text({text!r})\n"
        "shutil.copytree(here.parent / 'recorded', here / 'recordings', dirs_exist_ok=True)\n"
    )


@pytest.fixture
def recorded(order: SuiteRequest) -> None:
    """Recordings of all scenarios, which `cases` moves into place."""
    elsewhere = SuiteRequest(
        number=0, condition=QUIET, scenarios=NAMES, directory=order.directory.parent / "x", boot="thawed"
    )
    keep(elsewhere, *NAMES)
    elsewhere.recordings.rename(order.directory.parent / "recorded")


@pytest.mark.usefixtures("recorded")
def test_what_passed_is_deleted_and_the_rest_kept(
    order: SuiteRequest, monkeypatch: pytest.MonkeyPatch, verdicts: dict[str, list[Finding]]
) -> None:
    verdicts["loss"] = [finding("failed")]
    verdicts["step"] = [finding("inconclusive")]
    standing_in(monkeypatch, cases(("rtt-40ms", "passed"), ("loss", "failed"), ("step", "inconclusive")))
    suite = run_suite(order)
    assert [run.recording for run in suite.runs] == [
        "",
        str(order.recordings / "6.12.117" / "loss.rttrec"),
        str(order.recordings / "6.12.117" / "step.rttrec"),
    ]
    assert [path.name for path in sorted(order.recordings.rglob("*.rttrec"))] == ["loss.rttrec", "step.rttrec"]
    assert order.log.read_text() == "hello from pytest\n"


@pytest.mark.usefixtures("recorded")
def test_a_suite_that_passed_leaves_nothing(order: SuiteRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    # A soak that was killed left it.
    keep(order, "asymmetric")
    standing_in(monkeypatch, cases(*((name, "passed") for name in NAMES)))
    suite = run_suite(order)
    assert [run.outcome for run in suite.runs] == ["passed"] * 3
    assert not order.directory.exists()


@pytest.mark.parametrize("status", [2, 3, 4, 5])
def test_a_session_that_ran_no_tests_ends_the_soak_with_pytests_own_words(
    order: SuiteRequest, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    standing_in(monkeypatch, f"print('ERROR: no such kernel'); print('bye'); raise SystemExit({status})")
    with pytest.raises(RttcheckError, match=rf"pytest ended with status {status} under .*ERROR: no such kernel"):
        run_suite(order)
    assert "bye" in order.log.read_text()


def test_an_interruption_ends_the_session_in_order_and_leaves_nothing(
    order: SuiteRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The session interrupts us and tells how it was ended itself.
    told = order.directory.parent / "told"
    standing_in(
        monkeypatch,
        "import os, pathlib, signal\n"
        "try:\n"
        "    os.kill(os.getppid(), signal.SIGINT)\n"
        "    signal.pause()\n"
        "except KeyboardInterrupt:\n"
        f"    pathlib.Path({str(told)!r}).write_text('in order')\n",
    )
    with pytest.raises(KeyboardInterrupt):
        run_suite(order)
    assert told.read_text() == "in order"
    assert not order.directory.exists()


def test_the_session_knows_its_boot_and_imports_this_code(order: SuiteRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "count_suite", lambda order, *_, **__: order.log.read_text())
    monkeypatch.setattr(session, "remove_passed", lambda *_: None)
    program = (
        "import json, os, rttcheck\n"
        "print(json.dumps([os.environ['RTTCHECK_BOOT'], os.environ['PYTHONPATH'].split(os.pathsep)[0]]))"
    )
    standing_in(monkeypatch, program)
    boot, path = json.loads(str(run_suite(order)))
    assert boot == "thawed"
    assert (Path(path) / "rttcheck" / "soak").is_dir()


def test_the_command_line_is_what_a_user_would_type(order: SuiteRequest) -> None:
    words = order.command()
    assert words[1:3] == ["-m", "pytest"]
    assert words[words.index("--rtt-kernel") + 1] == "debian:6.12"
    assert words[words.index("--rtt-clock") + 1] == "virtual"
    assert [word.rpartition("::")[2] for word in words[-3:]] == [f"test_scenario[{name}]" for name in NAMES]
    host = SuiteRequest(
        number=1, condition=Condition("host", "real", "none"), scenarios=NAMES, directory=order.directory, boot="thawed"
    )
    assert "--rtt-clock" not in host.command()


def test_pytest_finds_each_named_scenario_in_the_suite(
    tmp_path: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE.parent))
    order = SuiteRequest(
        number=1,
        condition=Condition("host", "real", "none"),
        scenarios=tuple(NAMED),
        directory=tmp_path,
        boot="thawed",
    )
    result = pytester.run(*order.command(), "--collect-only", "-q")
    assert result.ret == 0
    found = [line.rpartition("::")[2] for line in result.outlines if "::" in line]
    assert found == [f"test_scenario[{name}]" for name in NAMED]


def test_this_process_is_the_parent_that_sessions_die_with(
    order: SuiteRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "count_suite", lambda order, *_, **__: order.log.read_text())
    monkeypatch.setattr(session, "remove_passed", lambda *_: None)
    standing_in(
        monkeypatch,
        "import ctypes\n"
        "signal = ctypes.c_int()\n"
        "ctypes.CDLL(None).prctl(2, ctypes.byref(signal))\n"
        "print(signal.value, __import__('os').getppid())",
    )
    assert str(run_suite(order)).split() == [str(int(signal.SIGKILL)), str(os.getpid())]


def test_a_soak_in_the_background_of_a_shell_can_still_end_its_sessions(
    order: SuiteRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "count_suite", lambda order, *_, **__: order.log.read_text())
    monkeypatch.setattr(session, "remove_passed", lambda *_: None)
    standing_in(monkeypatch, "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert str(run_suite(order)) == "True\n"
    finally:
        signal.signal(signal.SIGINT, before)
