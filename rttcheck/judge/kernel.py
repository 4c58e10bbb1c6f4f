"""Check the kernel's log for splats during the run and its control run.

Which records are splats, and which of them are allowed, is decided by `rttcheck.kernel_log`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rttcheck.judge.check import NOTHING, Check
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.kernel_log.allowed import ALLOWED, of_dicts
from rttcheck.kernel_log.record import LogExcerpt
from rttcheck.kernel_log.splat import Splat, not_allowed, splats

if TYPE_CHECKING:
    # A guest reads its log before its first test, and a recording's tables are numpy: most of what a start costs there.
    from rttcheck.record.recording import Recording

QUIET: Final = Check(
    id="kernel.quiet",
    layer=Layer.KERNEL,
    title="no splat in the kernel's log",
    asserts=(
        "The kernel's log of the run and of its control run has no splat: no warning, BUG, oops, stall or hung task."
    ),
    against="the log, less the splats that are allowed",
    tolerance="none",
    needs=NOTHING,
)
_SHOWN: Final = 2
"""The most splats that the message names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelCheck:
    """The finding (none where the recording has no log) and notes on allowed splats."""

    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


def check_kernel(recording: Recording) -> KernelCheck:
    """Check the log of the control run and of the run for splats that are not allowed."""
    if not recording.kernel_log:
        return KernelCheck()
    log = LogExcerpt.of(recording.kernel_log)
    if log.unseen:
        return KernelCheck(findings=(_finding(Outcome.INCONCLUSIVE, f"not run: {log.unseen}", (), 0, blind=True),))
    allowed = (*of_dicts(recording.kernel_log.get("allowed", ())), *ALLOWED)
    found = splats(log.kernel_texts, recording.kernel, allowed)
    reported = not_allowed(found)
    records = len(log.kernel_texts)
    if reported:
        finding = _finding(
            Outcome.FAILED, complaint(reported, "while the scenario ran", shared=log.shared), reported, records
        )
    elif log.lost:
        message = (
            f"at least {log.lost} records of the kernel's log were overwritten before they were read: a larger "
            "log_buf_len= on the kernel's command line keeps more"
        )
        finding = _finding(Outcome.INCONCLUSIVE, message, (), records)
    else:
        finding = _finding(Outcome.PASSED, f"{records} records of the kernel's log checked", (), records)
    notes = tuple(
        f"a kernel splat is allowed ({splat.allowed.reason}; until {splat.allowed.until}): {splat.name}"
        for splat in found
        if splat.allowed is not None
    )
    return KernelCheck(findings=(finding,), notes=notes)


def complaint(reported: Sequence[Splat], when: str, *, shared: bool) -> str:
    """Return splats as a sentence; ``when`` is like "during this test"; ``shared``: other programs use the kernel."""
    names = "; ".join(splat.name for splat in reported[:_SHOWN])
    if len(reported) > _SHOWN:
        names += f"; and {len(reported) - _SHOWN} more"
    origin = " (this is the machine's own kernel: another program may have caused it)" if shared else ""
    times = "" if len(reported) == 1 else f" {len(reported)} times"
    return f"the kernel complained{times} {when}{origin}: {names}"


def _finding(
    outcome: Outcome, message: str, reported: Sequence[Splat], records: int, *, blind: bool = False
) -> Finding:
    return QUIET.finding(
        outcome,
        message,
        expected="no warning, BUG, oops, stall, hung task or other splat in the kernel's log of the run",
        seen="; ".join(splat.name for splat in reported) or "none",
        samples=records,
        blind=blind,
    )
