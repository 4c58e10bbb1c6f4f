"""What the kernel says while something runs: the records of /dev/kmsg from one moment to another.

Owns reading and taking records apart (Documentation/ABI/testing/dev-kmsg). What a record means is judged elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

KMSG = Path("/dev/kmsg")
_LONGEST = 8_192
"""A read gives one record, of at most CONSOLE_EXT_LOG_MAX bytes (kernel/printk/internal.h)."""
_KERNEL_FACILITY = 0
"""Facility of what the kernel says; what programs write to /dev/kmsg gets LOG_USER (devkmsg_write(), 3.5 and later)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """One record: syslog ``facility`` and ``level``, its number, microseconds since boot, the text without newline."""

    facility: int
    level: int
    sequence: int
    at_us: int
    text: str

    @property
    def is_kernels(self) -> bool:
        """Whether the kernel said it, and no program."""
        return self.facility == _KERNEL_FACILITY


@dataclass(slots=True, eq=False)
class KernelLog:
    """The kernel's log from the moment it was opened; made by `open_kernel_log`."""

    fd: int
    overwritten: int = 0
    """How often records were gone before they could be read."""

    def read(self) -> tuple[LogRecord, ...]:
        """What was said since the last call, the oldest first."""
        records: list[LogRecord] = []
        while True:
            try:
                data = os.read(self.fd, _LONGEST)
            except BlockingIOError:
                return tuple(records)
            except BrokenPipeError:
                # devkmsg_read(): the next record is not there any more; the next read goes on with the oldest left.
                self.overwritten += 1
                continue
            record = parsed(data)
            if record is not None:
                records.append(record)


@contextmanager
def open_kernel_log(path: Path = KMSG) -> Iterator[KernelLog | None]:
    """The kernel's log from now on; None where it cannot be read (dmesg_restrict, a container without /dev/kmsg)."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        try:
            os.lseek(fd, 0, os.SEEK_END)
        except OSError:
            yield None
            return
        yield KernelLog(fd)
    finally:
        os.close(fd)


def parsed(data: bytes) -> LogRecord | None:
    """The record of one read (``6,1234,5678901,-;text`` and lines of a dictionary); None for what is none."""
    head, semicolon, rest = data.partition(b";")
    fields = head.split(b",")
    if not semicolon or len(fields) < 3 or not all(field.isdigit() for field in fields[:3]):
        return None
    priority, sequence, at_us = (int(field) for field in fields[:3])
    # Lines that begin with a blank are the dictionary (SUBSYSTEM=…, DEVICE=…).
    text = rest.partition(b"\n")[0].decode("utf-8", "replace")
    return LogRecord(facility=priority >> 3, level=priority & 7, sequence=sequence, at_us=at_us, text=text)
