"""Splats in a kernel's log: warnings and errors of the kernel itself, each with all its lines.

The patterns define where a splat begins and ends. Their texts are those of kernels 5.10 to 7.3, compared with the
strings in Debian's images (``__warn()`` in kernel/panic.c, lib/bug.c,
kernel/locking/lockdep.c, mm/kasan/report.c, kernel/hung_task.c, kernel/rcu/tree_stall.h, kernel/watchdog.c,
lib/ubsan.c, net/core/dev.c).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rttcheck.kernel_log.allowed import ALLOWED, Allowed

_HEADS: Final = {
    # "WARNING: CPU: 0 PID: 1 at kernel/fork.c:1 f+0x1/0x2" up to 6.18, "WARNING: kernel/fork.c:1 at f+0x1/0x2, CPU#0:
    # sh/1" in 7.2; without file and line where the kernel was built without CONFIG_DEBUG_BUGVERBOSE.
    "warning": r"WARNING: (?:CPU: \d+ PID: \d+ at |(?:[\w./-]+:\d+ )?at )",
    "lockdep": (
        r"(?:WARNING|INFO|BUG): (?:possible (?:circular locking|recursive locking|irq lock inversion)|"
        r"inconsistent lock state|suspicious RCU usage|bad (?:unlock|contention) |held lock freed|"
        r"lock held when returning|Nested lock was not taken|trying to register non-static key|"
        r".* still has locks held|.*-safe -> .*-unsafe lock order detected|MAX_LOCK|MAX_STACK_TRACE)"
    ),
    "KASAN": r"BUG: K(?:ASAN|CSAN|FENCE|MSAN): ",
    "UBSAN": r"UBSAN: .+ in ",
    "hung task": r"INFO: task .+ blocked.* for more than \d+ seconds",
    "stall": (
        r"(?:rcu: )?INFO: rcu_\w+ (?:self-)?detected (?:expedited )?stall|BUG: workqueue lockup|"
        r".+: page allocation stall"
    ),
    "lockup": r"(?:NMI )?watchdog: (?:BUG: soft lockup|.*Watchdog detected hard LOCKUP)",
    "memory": (
        r"BUG: Bad (?:page|rss-counter)|list_(?:add|del) corruption|refcount_t: |BUG \S+ \(.*\): |"
        r".+: page allocation failure: order:|.+: vmalloc error: |.+ invoked oom-killer: |Out of memory: "
    ),
    "network device": r"unregister_netdevice: waiting for \S+ to become free|.*NETDEV WATCHDOG: ",
    "oops": (
        r"Oops: |Internal error: |Unable to handle kernel|traps: PANIC|Kernel panic - not syncing|"
        r"(?:general protection fault|stack segment|divide error|invalid opcode|int3|double fault)"
        r"\b.*: [0-9a-f]{4,16} \[#\d+\]"
    ),
    # Sleeping in atomic context, scheduling while atomic, a page fault in the kernel, a NULL pointer, and others.
    "BUG": r"kernel BUG at |BUG: ",
}
# At the beginning of a line: further on the text can be a program's name, or quoted.
_HEAD: Final = re.compile("|".join(f"(?P<k{number}>{pattern})" for number, pattern in enumerate(_HEADS.values())))
_KINDS: Final = tuple(_HEADS)
_FOLLOWS: Final = re.compile(r"Oops: |Kernel panic|INFO: task .+ likely |.*_LOCKS_WARN_ON")
"""Lines within a report that begin a report elsewhere, or look like it."""

_BEGIN: Final = re.compile(r"-+\[ cut here \]-+")
_END: Final = re.compile(r"---\[ end (?:trace|Kernel panic)")
_RULE: Final = re.compile(r"={20,}$")
_TRACE: Final = re.compile(r"\s*Call [Tt]race:")
_ASKED: Final = re.compile(r"sysrq: (?:Show|Trigger a crash)")
"""Stacks that were requested by sysrq."""
_PART: Final = re.compile(
    r"\s|(?:CPU|PID|[RE]\w\w|[C-GS]S|[CD]R\d|PKRU|Code|Modules linked in|Hardware name|Workqueue|Tainted|Call Trace|"
    r"Mem-Info|NMI backtrace|PGD|#PF|note|Kernel Offset|task|Task dump|Sending NMI|Showing|workqueue|pool|rcu|"
    r"Future hung task|stack backtrace|irq event stamp|(?:hard|soft)irqs last|pc|lr|sp|x\d+)\b|"
    r"#PF|\"echo 0 >|</?\w+>|[\w.]+\+0x"
)
"""The beginnings of the lines of registers, stacks and remarks that follow a report's first line."""
_LOOKAHEAD: Final = 60
"""Lines between the first line and its stack at most, except for lockdep, which prints the chain of locks first."""
_LONGEST: Final = 400
"""Lines: without an end mark a report ends after so many; a lockdep chain has some 250."""

_FRAME: Final = re.compile(r"\s+(?:\[<[0-9a-f]+>\] )?(\w[\w.]*)\+0x[0-9a-f]+/0x[0-9a-f]+")
_KERNEL_RIP: Final = re.compile(r"RIP: 0010:(\w[\w.]*)")
_WARNED: Final = re.compile(
    r"WARNING: (?:CPU: \d+ PID: \d+ at (?P<place>[\w./-]+:\d+) |(?P<later>[\w./-]+:\d+) at |(?:CPU: \d+ PID: \d+ )?at )"
    r"(?P<function>[\w.]+)"
)
_HOUSEKEEPING: Final = re.compile(
    r"dump_stack|show_|print_|__?schedule|schedule|io_schedule|warn_|__warn|report_bug|kasan_|__kasan|ubsan_|__ubsan|"
    r"_?_?mutex_|rwsem_|down_|_?raw_|asm_|exc_|die|handle_|wait_for_c|__wait_for_c|sysvec_|__alloc_pages|__might_|bad_page"
)
"""Functions on top of a stack that only print the report, or wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Splat:
    """One complaint of the kernel: its ``kind`` (warning, lockdep, oops …), its title line, and all lines."""

    kind: str
    title: str
    lines: tuple[str, ...]
    place: str = ""
    """Function, or file and line with the function, that it names; empty where it names none."""
    allowed: Allowed | None = None

    @property
    def name(self) -> str:
        """The title, with the place where the title lacks it: the text that an allow-list's patterns match."""
        return self.title if not self.place or self.place.split()[-1] in self.title else f"{self.title} [{self.place}]"

    def render(self) -> str:
        """Return all its lines as one text."""
        return "\n".join(self.lines)


def splats(lines: Iterable[str], release: str, allowed: Sequence[Allowed] = ALLOWED) -> tuple[Splat, ...]:
    """Return the splats in a log's texts (without time stamps), in order; ``release`` selects allow-list entries.

    What follows a splat within its own report (an oops after its BUG, a panic after its oops) belongs to it. A stack
    outside of any known splat is a splat too, unless it was requested.
    """
    log = list(lines)
    found: list[Splat] = []
    at = done = 0
    while at < len(log):
        kind = _kind_at(log, at)
        if not kind:
            at += 1
            continue
        if kind == "stack":
            first = _before_stack(log, at, done)
            title, end = log[first].strip(), _end_of_body(log, at)
        elif kind == "block":
            first, end = at, _end_of_block(log, at)
            kind, title = _named(log[at + 1 : end])
        else:
            first, title, end = at, log[at].strip(), _end(log, at, kind)
        if kind != "asked":
            report = tuple(log[first:end])
            splat = Splat(kind=kind, title=title, lines=report, place=_place(title, report))
            found.append(_judged(splat, release, allowed))
        at = done = end
    return tuple(found)


def not_allowed(found: Iterable[Splat]) -> tuple[Splat, ...]:
    """Return the splats that no list allows: those that fail a test or a scenario."""
    return tuple(splat for splat in found if splat.allowed is None)


def _judged(splat: Splat, release: str, allowed: Sequence[Allowed]) -> Splat:
    entry = next((one for one in allowed if one.covers(splat.name, release)), None)
    return Splat(kind=splat.kind, title=splat.title, lines=splat.lines, place=splat.place, allowed=entry)


def _kind_at(log: Sequence[str], at: int) -> str:
    """Return what begins at that line; empty where nothing does."""
    line = log[at]
    if _BEGIN.search(line):
        return "block"
    match = _HEAD.match(line)
    if match is not None:
        return _KINDS[next(number for number, value in enumerate(match.groups()) if value is not None)]
    if _ASKED.match(line):
        return "asked"
    return "stack" if _TRACE.match(line) else ""


def _named(report: Sequence[str]) -> tuple[str, str]:
    """Return kind and title of a report between "cut here" and the end mark: from its first known or first line.

    A WARN's own message comes before that line (``__warn_printf()``) and is more specific, so it is included.
    """
    for number, line in enumerate(report):
        match = _HEAD.match(line)
        if match is not None:
            kind = _kind_at(report, number)
            message = " ".join(text.strip() for text in report[:number] if text.strip())
            return kind, f"{line.strip()}: {message}" if message else line.strip()
    return "warning", report[0].strip() if report else "a report that is cut off"


def _end_of_block(log: Sequence[str], at: int) -> int:
    """Return the index after the end mark; without one (the log was cut) a report ends where the next begins."""
    for number in range(at + 1, min(len(log), at + _LONGEST)):
        if _END.search(log[number]):
            return number + 1
        if _BEGIN.search(log[number]):
            return number
    head = next((number for number in range(at + 1, min(len(log), at + 8)) if _HEAD.match(log[number])), at)
    return _end_of_body(log, head)


def _end(log: Sequence[str], at: int, kind: str) -> int:
    """Return the index where the report ends that begins at that line, without a "cut here"."""
    if kind in ("KASAN", "UBSAN") and at and _RULE.match(log[at - 1]):
        for number in range(at + 1, min(len(log), at + _LONGEST)):
            if _RULE.match(log[number]):
                return number + 1
    for number in range(at + 1, min(len(log), at + (_LONGEST if kind == "lockdep" else _LOOKAHEAD))):
        begins = "" if _FOLLOWS.match(log[number]) else _kind_at(log, number)
        if begins == "stack":
            return _end_of_body(log, number)
        if begins:
            break
    return _end_of_body(log, at)


def _end_of_body(log: Sequence[str], at: int) -> int:
    """Return the index after the contiguous lines of registers, stacks and remarks that follow that line."""
    for number in range(at + 1, min(len(log), at + _LONGEST)):
        line = log[number]
        if _END.search(line):
            return number + 1
        own = _FOLLOWS.match(line) or not line
        if not own and (_kind_at(log, number) not in ("", "stack") or not _PART.match(line)):
            return number
    return min(len(log), at + _LONGEST)


def _before_stack(log: Sequence[str], at: int, done: int) -> int:
    """Return the index of the line that explains the stack: before the lines that name processor and machine."""
    for number in range(at - 1, max(done, at - 8) - 1, -1):
        if not _PART.match(log[number]):
            return number
    return at


def _place(title: str, report: Sequence[str]) -> str:
    """Return the place to look at first: file, line and function of a WARN, else the function that was running."""
    warned = next((match for line in report if (match := _WARNED.search(line))), None)
    if warned is not None:
        return " ".join(part for part in (warned["place"] or warned["later"], warned["function"]) if part)
    named = re.search(r"(?: in | at )(\w[\w./-]*)", title)
    rip = next((match for line in report if (match := _KERNEL_RIP.match(line))), None)
    frames = (match[1] for line in report if (match := _FRAME.match(line)))
    frame = next((name for name in frames if not _HOUSEKEEPING.match(name)), "")
    if named is not None and title.startswith(("kernel BUG at", "UBSAN", "BUG: K")):
        return named[1]
    return rip[1] if rip is not None else frame
