"""How a command ends: the numbers, the same as pytest's where pytest has one, and which error is which.

Owns the numbers and the text that documents them. It raises nothing.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from rttcheck.errors import AllowListError, GuestLost, KernelError, RttcheckError, ScenarioError


class ExitStatus(IntEnum):
    """Exit statuses of the commands that judge."""

    PASSED = 0
    FAILED = 1
    INTERRUPTED = 2
    UNABLE = 3
    USAGE = 4
    LOST = 20


STATUSES: Final = """\
exit status (the same as pytest's):
  0   all went well: every scenario passed
  1   a scenario failed, or with --strict was inconclusive
  2   interrupted: Ctrl-C, SIGTERM, or nobody reads the output any more; what was done is reported
  3   it could not be done: root, a program, a probe, disk space is missing; the sentence says what to do
  4   the command line makes no sense: an unknown scenario or keyword, a bare number for a time, no such kernel or list
  20  the guest died or hung: its scenarios neither passed nor failed
"""


def status_of(error: Exception) -> tuple[str, ExitStatus] | None:
    """The sentence that an error comes down to and the status that goes with it; None for what is a bug."""
    from rttcheck_netns.errors import NetnsError

    if isinstance(error, GuestLost):
        tail = f"\n{error.console_tail}" if error.console_tail else ""
        return f"{error}{tail}", ExitStatus.LOST
    if isinstance(error, (ScenarioError, KernelError, AllowListError)):
        return str(error), ExitStatus.USAGE
    if isinstance(error, (RttcheckError, NetnsError)):
        return str(error), ExitStatus.UNABLE
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("rttcheck"):
        return (
            f"the Python package {error.name!r} is needed and cannot be imported: pip install it, or rttcheck anew "
            "with its dependencies"
        ), ExitStatus.UNABLE
    return None
