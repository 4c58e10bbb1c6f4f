"""What a kernel died of, as its console tells it: the panic, and the report that led to it.

Owns the search for both. A panic that follows an oops says only that there was one: the words that matter are those the
report begins with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rttcheck.kernel_log.splat import splats

_STAMP: Final = re.compile(r"\[ *\d+\.\d+\](?:\[ *[CT]\d+\])? ?")
"""Of CONFIG_PRINTK_TIME, and of CONFIG_PRINTK_CALLER after it."""

_PANIC: Final = "Kernel panic - not syncing"
_LED_TO: Final = re.compile(
    rf"{_PANIC}: (?:Fatal exception|Fatal hardware|hung_task: |softlockup: |Hard LOCKUP|RCU Stall|Attempted to kill |"
    r".*panic_on_warn set)"
)
"""Panics that a report led to: oops_end() and the panic_on_oops, panic_on_warn, hung_task_panic and others of sysctl's
(arch/x86/kernel/dumpstack.c, kernel/panic.c, kernel/hung_task.c, kernel/watchdog.c, kernel/rcu/tree_stall.h, kernel/
exit.c; 5.10 to 7.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panic:
    """``words`` are the kernel's own, ``first`` is the line, counted from 0, that they stand in."""

    words: str
    first: int


def panic_in(console: Sequence[str]) -> Panic | None:
    """The last panic in the lines of a console; None where there is none. Lines that are no kernel's do no harm."""
    log = [_STAMP.sub("", line, count=1) for line in console]
    at = next((number for number in range(len(log) - 1, -1, -1) if log[number].startswith(_PANIC)), None)
    if at is None:
        return None
    reports = splats(log[:at], "") if _LED_TO.match(log[at]) else ()
    if not reports:
        return Panic(words=log[at].strip(), first=at)
    lines = list(reports[-1].lines)
    first = next(number for number in range(at - len(lines), -1, -1) if log[number : number + len(lines)] == lines)
    return Panic(words=reports[-1].title, first=first)
