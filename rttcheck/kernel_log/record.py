"""Records of the kernel's log: one line, and all lines between two points.

Parses the format of ``/dev/kmsg`` (Documentation/ABI/testing/dev-kmsg); `reader` reads the device and `splat` finds the
complaints.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

_KERNEL_FACILITY = 0
"""Facility of the kernel's own records; programs that write to /dev/kmsg get LOG_USER (devkmsg_write(), 3.5 on)."""

_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")
"""What is not printable, and the backslash (msg_add_ext_text(), msg_print_ext_body() before 5.11)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """One line: syslog ``facility`` and ``level``, its record's number, microseconds since boot, text."""

    facility: int
    level: int
    sequence: int
    at_us: int
    text: str

    @property
    def is_from_kernel(self) -> bool:
        """Whether the kernel wrote it, rather than a program."""
        return self.facility == _KERNEL_FACILITY


@dataclass(frozen=True, slots=True, kw_only=True)
class LogExcerpt:
    """The log between two points. At least ``lost`` records were overwritten before they could be read."""

    records: tuple[LogRecord, ...] = ()
    lost: int = 0
    unseen: str = ""
    """Why nothing could be read, for the user; empty where the log could be read."""
    shared: bool = False
    """Whether other programs share this kernel, so that its messages need not concern the run."""

    @property
    def kernel_texts(self) -> tuple[str, ...]:
        """The texts of the kernel's own records."""
        return tuple(record.text for record in self.records if record.is_from_kernel)

    def __add__(self, later: LogExcerpt) -> LogExcerpt:
        """Return this part of the log followed by ``later``."""
        return LogExcerpt(
            records=(*self.records, *later.records),
            lost=self.lost + later.lost,
            unseen=self.unseen or later.unseen,
            shared=self.shared or later.shared,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it in JSON types."""
        rows = [list(astuple(record)) for record in self.records]
        return {"records": rows, "lost": self.lost, "unseen": self.unseen, "shared": self.shared}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> LogExcerpt:
        """Build it from what `as_dict` returned."""
        records = tuple(
            LogRecord(facility=facility, level=level, sequence=sequence, at_us=at_us, text=text)
            for facility, level, sequence, at_us, text in facts.get("records", ())
        )
        return cls(
            records=records,
            lost=facts.get("lost", 0),
            unseen=facts.get("unseen", ""),
            shared=facts.get("shared", False),
        )


def records_of(data: bytes) -> tuple[LogRecord, ...]:
    """Return the lines of one read (``6,1234,5678901,-;text`` and dictionary lines); none for an invalid record.

    Usually one: several where the kernel printed them in one call.
    """
    head, semicolon, rest = data.partition(b";")
    fields = head.split(b",")
    if not semicolon or len(fields) < 3 or not all(field.isdigit() for field in fields[:3]):
        return ()
    priority, sequence, at_us = (int(field) for field in fields[:3])
    # Lines that begin with a space are the dictionary (SUBSYSTEM=…, DEVICE=…); a newline in the text is escaped.
    text = _ESCAPE.sub(lambda escape: bytes([int(escape[1], 16)]), rest.partition(b"\n")[0]).decode("utf-8", "replace")
    return tuple(
        LogRecord(facility=priority >> 3, level=priority & 7, sequence=sequence, at_us=at_us, text=line)
        for line in text.split("\n")
    )
