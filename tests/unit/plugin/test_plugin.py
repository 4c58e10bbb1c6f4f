"""The plugin as its users see it: what is printed, what ends with which exit status."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from rttcheck.doctor import capabilities
from rttcheck.plugin.worker import with_kernel, without_kernel
from tests.support.plugin_sessions import HARNESS, REAL

# NumPy cannot be loaded twice in a process, and pytester forgets what its inner sessions were the first to load.
assert np.__name__ == "numpy"

FORTY = """
import pytest

@pytest.mark.rtt(rtt="40ms")
def test_forty(rtt):
    rtt()
"""


def lying(lies: str) -> str:
    return HARNESS.replace("lies = {}", f"lies = {lies}")


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest("-p", "no:cacheprovider", "-p", "no:hypothesispytest", *arguments)


def test_a_truthful_kernel_passes_with_one_line_in_the_summary(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(HARNESS)
    pytester.makepyfile(FORTY)
    result = run(pytester, "-m", "rtt", "--rtt-kernel", "host")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "rttcheck: kernel host, clock real, engine netem, probe fexit, which sees every sample (*",
            "*TCP round trips*",
            "*forty*40ms*",
        ]
    )


def test_a_sample_below_the_injected_round_trip_fails_and_explains_itself(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(lying('{"client": [40_050] * 99 + [39_000]}'))
    pytester.makepyfile(FORTY)
    result = run(pytester, "-m", "rtt", "--rtt-kernel", "host")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "*RttFailure*",
            "*FAILED forty: look at the * layer*",
            "*why*",
            "*expected*",
            "*seen*",
            "*reproduce*pytest 'test_a_sample*::test_forty' --rtt-kernel host*",
            "*1 failed*",
        ]
    )
    result.stdout.no_fnmatch_line("*rttcheck/plugin/fixtures.py:*: in *")


def test_lost_events_are_inconclusive_and_neither_passed_nor_failed(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(lying('{"lost": 3}'))
    pytester.makepyfile(FORTY)
    result = run(pytester, "-m", "rtt", "--rtt-kernel", "host")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*1 inconclusive*"])


def test_strict_makes_inconclusive_fail(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(lying('{"lost": 3}'))
    pytester.makepyfile(FORTY)
    result = run(pytester, "-m", "rtt", "--rtt-kernel", "host", "--rtt-strict")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*INCONCLUSIVE forty*", "*1 failed*"])


def test_check_false_leaves_the_asserting_to_the_test(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(lying('{"client": [39_000] * 100}'))
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.rtt(rtt="40ms")
        def test_forty(rtt):
            result = rtt(check=False)
            assert result.outcome == "failed"
            assert result.row()["min_us"] == 39_000
        """
    )
    result = run(pytester, "-m", "rtt", "--rtt-kernel", "host")
    result.assert_outcomes(passed=1)


def test_changes_at_the_call_win_over_the_nearest_marker(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(HARNESS)
    pytester.makepyfile(
        """
        import pytest

        pytestmark = pytest.mark.rtt(rtt="10ms", count=70)

        @pytest.mark.rtt(rtt="40ms")
        def test_forty(rtt):
            assert rtt.scenario().rtt_us == 40_000
            assert rtt.scenario().traffic.count == 70
            assert rtt(rtt="80ms").row()["injected"] == "80ms"
        """
    )
    run(pytester, "-m", "rtt", "--rtt-kernel", "host").assert_outcomes(passed=1)


def test_results_are_properties_in_the_junit_file(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(HARNESS)
    pytester.makepyfile(FORTY)
    run(pytester, "-m", "rtt", "--rtt-kernel", "host", "--junit-xml=out.xml")
    tree = ElementTree.parse(pytester.path / "out.xml")
    properties = {each.get("name"): each.get("value") for each in tree.iter("property")}
    assert properties["rtt.scenario"] == "forty"
    assert properties["rtt.outcome"] == "passed"
    assert properties["rtt.injected"] == "40ms"
    assert properties["rtt.kernel"] == "6.12.0-test"
    assert int(str(properties["rtt.samples"])) > 0


def test_what_was_allowed_is_part_of_the_command_that_reproduces(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(HARNESS)
    pytester.makepyfile(FORTY)
    known = pytester.path / "what is known.toml"
    known.write_text('[[splat]]\npattern = "x"\nreason = "y"\nuntil = "z"\n')
    run(pytester, "-m", "rtt", "--rtt-kernel", "host", "--junit-xml=out.xml", "--rtt-allow-splats", known.name)
    properties = ElementTree.parse(pytester.path / "out.xml").iter("property")
    (command,) = (str(each.get("value")) for each in properties if each.get("name") == "rtt.reproduce")
    assert command.endswith(f" --rtt-kernel host --rtt-allow-splats '{known}'")


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ("rtt=40", '*write rtt="40ms"*'),
        ('rtt="-5ms"', "*rtt*-5ms*"),
        ('rrt="40ms"', "*rrt*did you mean*rtt*"),
        ('rtt="40ms", out="1ms"', "*rtt and out were both given*"),
        ('"40ms"', "*takes keywords only*"),
    ],
)
def test_a_senseless_marker_is_one_sentence_and_no_traceback(
    pytester: pytest.Pytester, keywords: str, sentence: str
) -> None:
    pytester.makeconftest(HARNESS)
    pytester.makepyfile(FORTY.replace('rtt="40ms"', keywords))
    result = run(pytester, "-m", "rtt", "--rtt-kernel", "host")
    assert result.ret == 1
    result.stdout.fnmatch_lines([sentence])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*During handling*")
    result.stdout.no_fnmatch_line("*rttcheck/*.py:*")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--rtt-kernel", "no/such/bzImage"], "*no/such/bzImage*"),
        (["--rtt-kernel", "nonsense"], "*nonsense*"),
        (["--rtt-kernel", "auto", "--rtt-kernel", "debian:6.12"], "*`auto` cannot be combined with kernels*"),
        (["--rtt-kernel", "host", "--rtt-jobs", "0"], "*--rtt-jobs 0 leaves no guest at all*give 1 or more*"),
        (["--rtt-kernel", "host", "--rtt-clock", "virtual"], "*the running one, whose time is real*"),
    ],
)
def test_a_kernel_that_cannot_be_is_a_usage_error(
    pytester: pytest.Pytester, arguments: list[str], sentence: str
) -> None:
    pytester.makepyfile(FORTY)
    result = run(pytester, *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([sentence])
    result.stderr.no_fnmatch_line("*Traceback*")


def test_a_running_kernel_that_cannot_be_judged_is_one_sentence(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        REAL
        + """
from rttcheck.doctor.capability import HOST, Capability

lacking = Capability(name="sch_netem", found=False, detail="", remedy="modprobe sch_netem", needed_for=HOST)
rttcheck.doctor.capabilities.host_capabilities = lambda: (lacking,)
"""
    )
    pytester.makepyfile(FORTY)
    result = run(pytester, "-m", "rtt", "--rtt-kernel", "host")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*the running kernel cannot be judged (*modprobe sch_netem)*"])


@pytest.mark.parametrize("words", [("--rtt-probe", "sockops"), ("--rtt-engine", "relay")])
def test_forcing_a_missing_method_is_an_error_and_no_skip(pytester: pytest.Pytester, words: tuple[str, str]) -> None:
    pytester.makeconftest(
        HARNESS
        + """
found = rttcheck.doctor.capabilities.host_capabilities()
lacking = Capability(name="relay", found=False, detail="no packet sockets", remedy="mount one")
rttcheck.doctor.capabilities.host_capabilities = lambda: (*found, lacking)
"""
    )
    pytester.makepyfile(FORTY)
    result = run(pytester, "-m", "rtt", "--rtt-kernel", "host", *words)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    what = f"the {words[0].removeprefix('--rtt-')} {words[1]}"
    result.stderr.fnmatch_lines([f"*{what} does not work on the running kernel: no *: mount one*"])


def test_the_running_kernel_is_part_of_a_tests_identity_in_a_junit_file(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(HARNESS)
    path = pytester.makepyfile(FORTY)
    run(pytester, "--rtt-kernel", "host", "--junit-xml=out.xml")
    cases = list(ElementTree.parse(pytester.path / "out.xml").iter("testcase"))
    assert [(case.get("classname"), case.get("name")) for case in cases] == [(f"host.{path.stem}", "test_forty")]
    # The id that a session of several kernels shows can be given back.
    run(pytester, "--rtt-kernel", "host", f"{path.name}::test_forty[@host]").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("shown", "given"),
    [
        ("t.py::test_x[@debian:6.12]", "t.py::test_x"),
        ("t.py::test_x[a@host.example@host]", "t.py::test_x[a@host.example]"),
        ("t.py::test_x[a@./linux/arch/x86/boot/bzImage]", "t.py::test_x[a]"),
        ("t.py::test_x[a@b]", "t.py::test_x[a@b]"),
        ("dir[@host]/t.py::test_x", "dir[@host]/t.py::test_x"),
        ("dir[@host]", "dir[@host]"),
    ],
)
def test_what_is_taken_off_an_id_is_a_kernel(shown: str, given: str) -> None:
    assert without_kernel(shown) == given
    for kernel in ("host", "debian:6.12.107+deb13", "/boot/vmlinuz", "./bzImage"):
        if "::" in given:
            assert without_kernel(with_kernel(given, kernel)) == given


@pytest.mark.parametrize("words", [(), ("--rtt-probe", "sockops")])
def test_what_a_session_here_stands_in_for_is_there_again(pytester: pytest.Pytester, words: tuple[str, ...]) -> None:
    real = capabilities.host_capabilities
    pytester.makeconftest(HARNESS)
    pytester.makepyfile(FORTY)
    assert run(pytester, "-m", "rtt", "--rtt-kernel", "host", *words).ret in (0, pytest.ExitCode.USAGE_ERROR)
    assert capabilities.host_capabilities is real


def test_a_session_without_scenarios_decides_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_other(): pass")
    result = run(pytester, "-m", "not rtt")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*rttcheck: kernel*")


def test_the_options_are_explained(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--help")
    result.stdout.fnmatch_lines(["*TCP round-trip times*", "*--rtt-kernel*", "*--rtt-clock*", "*--rtt-strict*"])
    result = run(pytester, "--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.rtt(*"])
