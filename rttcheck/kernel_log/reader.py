"""What the kernel says while something runs: the records of /dev/kmsg from one moment to another.

Owns the reading, and the count of what was overwritten before it was read. What a record means is judged elsewhere.
Where the kernel is silent it is four system calls: it runs in emulated guests, for each scenario.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rttcheck.kernel_log.record import Heard, LogRecord, records_of

KMSG = Path("/dev/kmsg")
_LONGEST = 8_192
"""A read gives one record, of at most CONSOLE_EXT_LOG_MAX bytes, PRINTK_MESSAGE_MAX since 6.3 (kernel/printk/)."""
_MOST = 65_536
"""Records that one read-out takes; a kernel that speaks faster than it can be read would be read for ever."""


@dataclass(slots=True, eq=False)
class KernelLog:
    """The kernel's log from the moment it was opened; made by `open_kernel_log`, and readable after its end."""

    fd: int
    unseen: str = ""
    """Why nothing can be read, for a person; empty where it can."""
    overwritten: int = 0
    """How many records were gone before they could be read, at least: which was the first is known after one read."""
    _next: int | None = None
    _left: list[LogRecord] = field(default_factory=list)
    _told: int = 0

    def read(self) -> tuple[LogRecord, ...]:
        """What was said since the last call, the oldest first; nothing where it cannot be read."""
        records, self._left = [*self._left, *self._drain()], []
        return tuple(records)

    def take(self) -> Heard:
        """As `read`, with what was lost and why nothing was seen."""
        records = self.read()
        lost, self._told = self.overwritten - self._told, self.overwritten
        shared = os.environ.get("RTTCHECK_GUEST") != "1"
        return Heard(records=records, lost=lost, unseen=self.unseen, shared=shared)

    def close(self) -> None:
        """Keep what was said until now for the last `read`, and listen no longer."""
        if self.fd >= 0:
            self._left += self._drain()
            os.close(self.fd)
            self.fd = -1

    def _drain(self) -> list[LogRecord]:
        records: list[LogRecord] = []
        gone = False
        for _ in range(_MOST if self.fd >= 0 else 0):
            try:
                data = os.read(self.fd, _LONGEST)
            except BlockingIOError:
                self.overwritten += gone
                return records
            except BrokenPipeError:
                # devkmsg_read(): the next record is not there any more; the next read goes on with the oldest left.
                gone = True
                continue
            said = records_of(data)
            if said:
                if gone:
                    self.overwritten += 1 if self._next is None else max(1, said[0].sequence - self._next)
                    gone = False
                self._next = said[0].sequence + 1
            records += said
        if self.fd >= 0:
            self.overwritten += 1
        return records


@contextmanager
def open_kernel_log(path: Path = KMSG) -> Iterator[KernelLog]:
    """The kernel's log from now on. Where it cannot be read (``kernel.dmesg_restrict``, a container) it says so."""
    log = KernelLog(-1)
    try:
        log.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.lseek(log.fd, 0, os.SEEK_END)
    except OSError as error:
        if log.fd >= 0:
            os.close(log.fd)
            log.fd = -1
        log.unseen = f"{path} cannot be read ({error.strerror}), which takes CAP_SYSLOG"
    try:
        yield log
    finally:
        log.close()
