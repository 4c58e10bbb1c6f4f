"""A test with a kernel splat fails, whatever its own outcome."""

from __future__ import annotations

import pytest

from tests.support.plugin_sessions import HARNESS, LOG

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


ALLOWING = """
import pytest

def test_allowed(kernel):
    kernel.say("WARNING: CPU: 0 PID: 1 at net/ipv4/tcp_input.c:3197 tcp_ack+0x1/0x2")

def test_not_allowed(kernel):
    kernel.say("WARNING: CPU: 0 PID: 1 at net/ipv4/tcp_output.c:1 tcp_push+0x1/0x2")

@pytest.mark.xfail(reason="a bug of its own")
def test_expected_to_fail(kernel):
    kernel.say("kernel BUG at mm/slub.c:379!")
    assert False

def test_skipped(kernel):
    kernel.say("kernel BUG at mm/slub.c:380!")
    pytest.skip("no reason")
"""

LIST = """
[[splat]]
pattern = "tcp_ack"
reason = "known and harmless"
until = "7.4"
"""


def test_what_the_user_allows_fails_no_test_and_all_else_does(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(HARNESS + LOG)
    pytester.makepyfile(ALLOWING)
    (pytester.path / "known.toml").write_text(LIST)
    arguments = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-v", "-rP", "--rtt-kernel", "host")
    result = pytester.runpytest(*arguments, "--rtt-allow-splats", "known.toml")
    result.stdout.fnmatch_lines(
        [
            "*::test_allowed PASSED*",
            "*::test_not_allowed FAILED*",
            "*::test_expected_to_fail FAILED*",
            "*::test_skipped FAILED*",
        ]
    )
    result.stdout.fnmatch_lines(["*kernel splat (warning), allowed until 7.4: known and harmless*"])


def test_an_invalid_list_is_a_usage_error(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(HARNESS + LOG)
    pytester.makepyfile(ALLOWING)
    (pytester.path / "known.toml").write_text(LIST.replace("reason", "because"))
    result = pytester.runpytest("-p", "no:hypothesispytest", "--rtt-kernel", "host", "--rtt-allow-splats", "known.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*entry 1 of */known.toml lacks reason: it takes pattern, reason, until*"])
    result.stderr.no_fnmatch_line("*Traceback*")


TOLD = """
import pytest

@pytest.mark.rtt(rtt="40ms")
def test_told(rtt, kernel):
    rtt(check=False)
    kernel.say("kernel BUG at mm/slub.c:379!")
"""


@pytest.mark.parametrize(("guilty", "failed"), [(True, 0), (False, 1)])
def test_a_splat_in_the_verdict_is_not_reported_again(pytester: pytest.Pytester, guilty: bool, failed: int) -> None:
    log = "{'records': [[0, 4, 1, 1, 'kernel BUG at mm/slub.c:379!']]}" if guilty else "{'lost': 0}"
    telling = HARNESS.replace(
        "recording = record(**scenario.keywords(), **self.lies)",
        f"import dataclasses; recording = dataclasses.replace(record(**scenario.keywords()), kernel_log={log})",
    )
    assert telling != HARNESS
    pytester.makeconftest(telling + LOG)
    pytester.makepyfile(TOLD)
    result = pytester.runpytest("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--rtt-kernel", "host")
    result.assert_outcomes(passed=1 - failed, failed=failed)
