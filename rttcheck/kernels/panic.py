"""Find a kernel panic in a console, and the report that led to it.

A panic after an oops only names the oops; the title of the oops' report is the useful one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rttcheck.kernel_log.splat import splats

_STAMP: Final = re.compile(r"\[ *\d+\.\d+\](?:\[ *[CT]\d+\])? ?")
"""The prefix of CONFIG_PRINTK_TIME, with that of CONFIG_PRINTK_CALLER."""

_PANIC: Final = "Kernel panic - not syncing"
_LED_TO: Final = re.compile(
    rf"{_PANIC}: (?:Fatal exception|Fatal hardware|hung_task: |softlockup: |Hard LOCKUP|RCU Stall|Attempted to kill |"
    r".*panic_on_warn set)"
)
"""Panics that follow a report: by oops_end() and the sysctls panic_on_oops, panic_on_warn, hung_task_panic and others
(arch/x86/kernel/dumpstack.c, kernel/panic.c, kernel/hung_task.c, kernel/watchdog.c, kernel/rcu/tree_stall.h, kernel/
exit.c; 5.10 to 7.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panic:
    """``title`` is the kernel's message, ``first`` the number of its line, counted from 0."""

    title: str
    first: int


def panic_in(console: Sequence[str]) -> Panic | None:
    """Return the last panic in the lines of a console, or None. Lines that are not from the kernel are ignored."""
    log = [_STAMP.sub("", line, count=1) for line in console]
    at = next((number for number in range(len(log) - 1, -1, -1) if log[number].startswith(_PANIC)), None)
    if at is None:
        return None
    reports = splats(log[:at], "") if _LED_TO.match(log[at]) else ()
    if not reports:
        return Panic(title=log[at].strip(), first=at)
    lines = list(reports[-1].lines)
    first = next(number for number in range(at - len(lines), -1, -1) if log[number : number + len(lines)] == lines)
    return Panic(title=reports[-1].title, first=first)
