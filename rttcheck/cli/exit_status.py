"""Exit statuses (pytest's numbers where pytest has one), their help text, and the status of each error."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from rttcheck.errors import AllowListError, GuestLost, KernelError, RttcheckError, ScenarioError


class ExitStatus(IntEnum):
    """Exit statuses of the commands."""

    PASSED = 0
    FAILED = 1
    INTERRUPTED = 2
    UNABLE = 3
    USAGE = 4
    LOST = 20


STATUSES: Final = """\
exit status (the same as pytest's):
  0   every scenario passed
  1   a scenario failed, or was inconclusive with --strict
  2   interrupted by Ctrl-C, SIGTERM or a closed output pipe; finished scenarios are reported
  3   not possible here: root, a program, a probe or disk space is missing; the message names the remedy
  4   usage error: an unknown scenario, keyword, kernel or list, or a time without a unit
  20  the guest died or hung: its scenarios neither passed nor failed
"""


def status_of(error: Exception) -> tuple[str, ExitStatus] | None:
    """Return the message and exit status of an expected error; None for any other, which is a bug."""
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
            f"the Python package {error.name!r} is required and cannot be imported: install it with pip, or reinstall "
            "rttcheck with its dependencies"
        ), ExitStatus.UNABLE
    return None
