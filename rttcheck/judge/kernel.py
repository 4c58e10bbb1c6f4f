"""Did the kernel complain while it was looked at: what its own log says of the run.

It owns the finding and its words. What a splat is, and which are allowed, it asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rttcheck.judge.check import NOTHING, Check
from rttcheck.judge.findings import Finding, Layer, Outcome
from rttcheck.kernel_log.allowed import ALLOWED, of_dicts
from rttcheck.kernel_log.record import LogExcerpt
from rttcheck.kernel_log.splat import Splat, splats

if TYPE_CHECKING:
    # A guest reads its log before its first test, and a recording's tables are numpy: most of what a start costs there.
    from rttcheck.record.recording import Recording

QUIET: Final = Check(
    id="kernel.quiet",
    layer=Layer.KERNEL,
    title="the kernel does not complain",
    asserts=(
        "The kernel's log of the run, and of its control run, holds no splat: no warning, BUG, oops, stall or "
        "hung task."
    ),
    against="the log, less the splats that are allowed",
    tolerance="none",
    needs=NOTHING,
)
_SHOWN: Final = 2
"""Splats that the message names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelCheck:
    """The finding, none where the recording has no log, and what was allowed."""

    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


def check_kernel(recording: Recording) -> KernelCheck:
    """Hold the log of the control run and of the run against what a kernel in health says."""
    if not recording.kernel_log:
        return KernelCheck()
    heard = LogExcerpt.of(recording.kernel_log)
    if heard.unseen:
        return KernelCheck(findings=(_finding(Outcome.INCONCLUSIVE, f"not run: {heard.unseen}", (), 0, blind=True),))
    allowed = (*of_dicts(recording.kernel_log.get("allowed", ())), *ALLOWED)
    found = splats(heard.kernel_texts, recording.kernel, allowed)
    guilty = [splat for splat in found if splat.allowed is None]
    records = len(heard.kernel_texts)
    if guilty:
        finding = _finding(
            Outcome.FAILED, complaint(guilty, "while the scenario ran", shared=heard.shared), guilty, records
        )
    elif heard.lost:
        message = (
            f"at least {heard.lost} records of its log were overwritten before they could be read: a larger "
            "log_buf_len= on the kernel's command line keeps more"
        )
        finding = _finding(Outcome.INCONCLUSIVE, message, (), records)
    else:
        finding = _finding(Outcome.PASSED, f"{records} records of its log looked at", (), records)
    notes = tuple(
        f"a kernel splat is allowed ({splat.allowed.reason}; until {splat.allowed.until}): {splat.name}"
        for splat in found
        if splat.allowed is not None
    )
    return KernelCheck(findings=(finding,), notes=notes)


def complaint(guilty: Sequence[Splat], when: str, *, shared: bool) -> str:
    """Splats as a sentence; ``when`` is as in "during this test", ``shared`` says that this kernel is everybody's."""
    told = "; ".join(splat.name for splat in guilty[:_SHOWN])
    if len(guilty) > _SHOWN:
        told += f"; and {len(guilty) - _SHOWN} more"
    whose = " (this is the machine's own kernel: another program may have caused it)" if shared else ""
    times = "" if len(guilty) == 1 else f" {len(guilty)} times"
    return f"the kernel complained{times} {when}{whose}: {told}"


def _finding(outcome: Outcome, message: str, guilty: Sequence[Splat], records: int, *, blind: bool = False) -> Finding:
    return QUIET.finding(
        outcome,
        message,
        expected="no warning, BUG, oops, stall, hung task or other splat in the kernel's log of the run",
        seen="; ".join(splat.name for splat in guilty) or "none",
        samples=records,
        blind=blind,
    )
