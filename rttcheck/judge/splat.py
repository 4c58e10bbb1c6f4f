"""Splats in a kernel's log: warnings and errors that the kernel raises about itself, each with all its lines.

Owns the patterns, where a splat ends, and the list of those that are allowed, with reasons. It reads no log itself. The
texts are those of kernels 5.10 to 7.3 (``__warn()`` in kernel/panic.c, lib/bug.c, kernel/locking/lockdep.c,
mm/kasan/report.c, kernel/hung_task.c, kernel/rcu/tree_stall.h, kernel/watchdog.c, lib/ubsan.c, net/core/dev.c).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

_PATTERNS: Final = {
    # "WARNING: CPU: 0 PID: 1 at kernel/fork.c:1 f+0x1/0x2", later "WARNING: kernel/fork.c:1 at f+0x1/0x2, CPU#0: sh/1".
    "warning": r"WARNING: (?:CPU: \d+ PID: \d+ at |[\w./-]+:\d+ at )",
    "lockdep": (
        r"WARNING: (?:possible (?:circular locking|recursive locking|irq lock inversion)|inconsistent lock state|"
        r"suspicious RCU usage|bad (?:unlock|contention) |held lock freed|lock held when returning|"
        r"nested lock was not taken|.*-safe -> .*-unsafe lock order detected)|DEBUG_LOCKS_WARN_ON|"
        r"BUG: (?:MAX_LOCK|spinlock |rwlock |using )|\bturning off the locking correctness validator"
    ),
    "KASAN": r"BUG: K(?:ASAN|CSAN|FENCE|MSAN): ",
    "UBSAN": r"UBSAN: ",
    "hung task": r"INFO: task .* blocked (?:in I/O wait )?for more than \d+ seconds",
    "stall": r"INFO: rcu_\w+ (?:self-)?detected (?:expedited )?stall|BUG: workqueue lockup",
    "lockup": r"BUG: soft lockup|[Ww]atchdog detected hard LOCKUP",
    "memory": (
        r"BUG: Bad (?:page|rss-counter)|list_(?:add|del) corruption|refcount_t: |page allocation failure|"
        r"Object already free|Redzone overwritten|Poison overwritten|slab-out-of-bounds"
    ),
    "network device": r"unregister_netdevice: waiting for \S+ to become free",
    # Sleeping in atomic context, scheduling while atomic, a page fault in the kernel, a NULL pointer, and others.
    "BUG": r"kernel BUG at |\bBUG: ",
    "oops": (
        r"(?:^|\s)Oops: |general protection fault|Unable to handle kernel|divide error: |stack segment: |"
        r"invalid opcode: |double fault: |traps: PANIC|Kernel panic - not syncing"
    ),
}
_TITLE: Final = re.compile("|".join(f"(?P<k{number}>{pattern})" for number, pattern in enumerate(_PATTERNS.values())))
_KINDS: Final = tuple(_PATTERNS)

_BEGIN: Final = re.compile(r"-+\[ cut here \]-+")
_END: Final = re.compile(r"---\[ end (?:trace|Kernel panic)")
_LONGEST: Final = 120
"""Lines: without an end mark a report is over when so many have followed; the longest lockdep report seen has 90."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """A splat that does not count: a ``pattern`` of its title, the ``kernels`` it is of (a pattern of releases), why,
    and when the entry can go."""

    pattern: str
    kernels: str
    reason: str
    until: str


ALLOWED: Final[tuple[Allowed, ...]] = ()
"""None: the consoles of the suites on 5.10, 6.1, 6.12, 7.2 and 7.3 have no splat. What comes in here was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Splat:
    """What the kernel complained of: its ``kind`` (warning, lockdep, KASAN …), the line that says it, and all lines."""

    kind: str
    title: str
    lines: tuple[str, ...]
    allowed: Allowed | None = None

    def render(self) -> str:
        """All its lines."""
        return "\n".join(self.lines)


def splats(lines: Iterable[str], release: str, allowed: Sequence[Allowed] = ALLOWED) -> tuple[Splat, ...]:
    """The splats in a log's texts (without time stamps), in order; ``release`` is the kernel's, for the allow-list.

    What follows a splat within its own report (an oops after its BUG, a panic after its oops) belongs to it.
    """
    found: list[tuple[str, str, list[str]]] = []
    begun: list[str] = []
    inside = False
    for line in lines:
        match = _TITLE.search(line)
        if _BEGIN.search(line):
            begun, inside = [line], False
        elif match is not None and not inside:
            kind = _KINDS[next(number for number, value in enumerate(match.groups()) if value is not None)]
            found.append((kind, line.strip(), [*begun, line]))
            begun, inside = [], True
        elif inside:
            found[-1][2].append(line)
        if inside and (_END.search(line) or len(found[-1][2]) >= _LONGEST):
            inside = False
    return tuple(
        Splat(kind=kind, title=title, lines=tuple(report), allowed=_allowed(title, release, allowed))
        for kind, title, report in found
    )


def _allowed(title: str, release: str, allowed: Sequence[Allowed]) -> Allowed | None:
    return next(
        (one for one in allowed if re.search(one.pattern, title) and re.match(one.kernels, release)),
        None,
    )
