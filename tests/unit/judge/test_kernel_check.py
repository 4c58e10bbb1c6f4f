"""A kernel that complained while a scenario ran has failed it, and before all other layers."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from rttcheck.judge.findings import Layer, Outcome
from rttcheck.judge.kernel import QUIET
from rttcheck.judge.verdict import Verdict, judge
from rttcheck.kernel_log.allowed import Allowed
from rttcheck.kernel_log.record import LogExcerpt, LogRecord
from rttcheck.record.view import SOCKOPS_WITHOUT_ARGUMENTS
from tests.support.planted import record

WARN = "WARNING: CPU: 0 PID: 812 at net/ipv4/tcp_input.c:3197 tcp_ack+0x5a1/0x9b0"


def judged(*texts: str, facility: int = 0, lies: dict[str, Any] | None = None, **heard: Any) -> Verdict:
    allowed = heard.pop("allowed", ())
    records = tuple(
        LogRecord(facility=facility, level=4, sequence=number, at_us=number, text=text)
        for number, text in enumerate(texts)
    )
    log = LogExcerpt(records=records, **heard).as_dict() | {"allowed": [entry.as_dict() for entry in allowed]}
    return judge(dataclasses.replace(record(rtt="40ms", **(lies or {})), kernel_log=log))


def test_a_quiet_kernel_passes() -> None:
    verdict = judged("veth0: link becomes ready")
    assert verdict.outcome is Outcome.PASSED
    (found,) = (finding for finding in verdict.findings if finding.layer is Layer.KERNEL)
    assert (found.outcome, found.samples, found.seen) == (Outcome.PASSED, 1, "none")


def test_a_splat_fails_and_the_kernel_is_guilty() -> None:
    verdict = judged(WARN, "---[ end trace 0000000000000000 ]---")
    assert (verdict.outcome, verdict.guilty) == (Outcome.FAILED, Layer.KERNEL)
    assert verdict.findings[0].message == f"the kernel complained while the scenario ran: {WARN}"
    assert "look at the kernel layer" in verdict.render()


def test_a_splat_is_told_before_what_may_have_come_of_it() -> None:
    others = judged().findings
    below = judge(dataclasses.replace(record(rtt="40ms"), scenario=record(rtt="80ms").scenario))
    assert below.outcome is Outcome.FAILED, "the recording is to be wrong in another layer, too"
    log = {"records": [[0, 4, 1, 1, WARN]]}
    both = judge(dataclasses.replace(record(rtt="40ms"), scenario=record(rtt="80ms").scenario, kernel_log=log))
    assert both.guilty is Layer.KERNEL
    assert [finding.outcome for finding in both.findings].count(Outcome.FAILED) > 1
    assert len(both.findings) == len(others)


def test_a_kernel_that_others_use_is_called_so() -> None:
    message = judged(WARN, shared=True).findings[0].message
    assert message == (
        "the kernel complained while the scenario ran (this is the machine's own kernel: another program may have "
        f"caused it): {WARN}"
    )


def test_many_are_counted_and_the_first_two_named() -> None:
    message = judged(*[f"kernel BUG at mm/slub.c:{line}!" for line in range(5)]).findings[0].message
    assert message == (
        "the kernel complained 5 times while the scenario ran: kernel BUG at mm/slub.c:0!; kernel BUG at mm/slub.c:1!; "
        "and 3 more"
    )


def test_what_a_program_wrote_into_the_log_is_no_complaint_of_the_kernels() -> None:
    assert judged(WARN, facility=1).outcome is Outcome.PASSED


def test_lost_records_are_inconclusive_and_a_splat_beside_them_fails() -> None:
    verdict = judged("veth0: link becomes ready", lost=7)
    assert (verdict.outcome, verdict.guilty) == (Outcome.INCONCLUSIVE, Layer.KERNEL)
    assert "at least 7 records of its log were overwritten" in verdict.findings[0].message
    assert judged(WARN, lost=7).outcome is Outcome.FAILED


def test_a_log_that_cannot_be_read_decides_nothing_and_is_told() -> None:
    verdict = judged(unseen="/dev/kmsg cannot be read (Operation not permitted), which takes CAP_SYSLOG")
    assert verdict.outcome is Outcome.PASSED
    assert [finding.key for finding in verdict.blind] == [QUIET.id]
    told = " ".join(verdict.render(width=200).split())
    assert f"not run {QUIET.title}: /dev/kmsg cannot be read (Operation not permitted), which takes CAP_SYSLOG" in told
    assert "too little for" not in told


def test_a_probe_that_sees_little_does_not_make_the_check_blind() -> None:
    log = {"records": [[0, 4, 1, 1, WARN]]}
    narrow = dataclasses.replace(record(rtt="40ms"), view=SOCKOPS_WITHOUT_ARGUMENTS, kernel_log=log)
    verdict = judge(narrow)
    assert verdict.blind, "the probe is to be a narrow one"
    assert (verdict.outcome, verdict.guilty) == (Outcome.FAILED, Layer.KERNEL)


def test_a_recording_without_a_log_has_no_such_check() -> None:
    assert not [finding for finding in judge(record(rtt="40ms")).findings if finding.layer is Layer.KERNEL]


@pytest.mark.parametrize(("since", "outcome"), [("", Outcome.PASSED), ("99", Outcome.FAILED)])
def test_what_is_allowed_on_this_kernel_is_a_note(since: str, outcome: Outcome) -> None:
    known = Allowed(pattern="tcp_input.c:3197", since=since, reason="known and harmless", until="7.4")
    verdict = judged(WARN, allowed=[known])
    assert verdict.outcome is outcome
    note = f"a kernel splat is allowed (known and harmless; until 7.4): {WARN}"
    assert (note in verdict.notes) is (outcome is Outcome.PASSED)
