"""Read the kernel's messages while something runs: the records of /dev/kmsg from one moment to another.

Records that were overwritten before they were read are counted. A log without new records costs four system calls,
because this runs in emulated guests, for each scenario.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rttcheck.kernel_log.record import LogExcerpt, LogRecord, records_of

KMSG = Path("/dev/kmsg")
_LONGEST = 8_192
"""A read returns one record, of at most CONSOLE_EXT_LOG_MAX bytes, PRINTK_MESSAGE_MAX since 6.3 (kernel/printk/)."""
_MOST = 65_536
"""Limit of records for one read-out, which would not end if the kernel wrote faster than it is read."""


@dataclass(slots=True, eq=False)
class KernelLog:
    """The kernel's log since it was opened; made by `open_kernel_log`, and readable after its end."""

    fd: int
    unseen: str = ""
    """Why the log cannot be read, for the user; empty where it can."""
    overwritten: int = 0
    """Lower bound of the records lost before they were read: the number of the first is known after one read."""
    _next: int | None = None
    _left: list[LogRecord] = field(default_factory=list)
    _told: int = 0

    def read(self) -> tuple[LogRecord, ...]:
        """Return the records since the last call, the oldest first; none where the log cannot be read."""
        records, self._left = [*self._left, *self._drain()], []
        return tuple(records)

    def take(self) -> LogExcerpt:
        """Return the records since the last call, with the number lost or the reason why none could be read."""
        records = self.read()
        lost, self._told = self.overwritten - self._told, self.overwritten
        shared = os.environ.get("RTTCHECK_GUEST") != "1"
        return LogExcerpt(records=records, lost=lost, unseen=self.unseen, shared=shared)

    def close(self) -> None:
        """Keep the records until now for the last `read`, and close the log."""
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
                # devkmsg_read(): the next record was overwritten; the next read continues with the oldest left.
                gone = True
                continue
            read = records_of(data)
            if read:
                if gone:
                    self.overwritten += 1 if self._next is None else max(1, read[0].sequence - self._next)
                    gone = False
                self._next = read[0].sequence + 1
            records += read
        if self.fd >= 0:
            self.overwritten += 1
        return records


@contextmanager
def open_kernel_log(path: Path = KMSG) -> Iterator[KernelLog]:
    """Yield the kernel's log from now on, also where it cannot be read (``kernel.dmesg_restrict``, a container)."""
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
