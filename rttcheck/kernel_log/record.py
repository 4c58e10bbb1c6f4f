"""What a kernel says: one line of its log, and all that was heard of it between two points.

It owns the words and the format of a record of ``/dev/kmsg`` (Documentation/ABI/testing/dev-kmsg). It reads no device,
and refuses to know which lines are bad news.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

_KERNEL_FACILITY = 0
"""Facility of what the kernel says; what programs write to /dev/kmsg gets LOG_USER (devkmsg_write(), 3.5 and later)."""

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
    def is_kernels(self) -> bool:
        """Whether the kernel said it, and no program."""
        return self.facility == _KERNEL_FACILITY


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What was heard between two points. ``lost`` records, at least, were overwritten before they could be read."""

    records: tuple[LogRecord, ...] = ()
    lost: int = 0
    unseen: str = ""
    """Why nothing could be read, for a person; empty where the log could be read."""
    shared: bool = False
    """Whether this kernel is everybody's on the machine: what it says need not be about us."""

    @property
    def kernels(self) -> tuple[str, ...]:
        """The texts of what the kernel itself said."""
        return tuple(record.text for record in self.records if record.is_kernels)

    def __add__(self, later: Heard) -> Heard:
        """What was heard first, and then ``later``."""
        return Heard(
            records=(*self.records, *later.records),
            lost=self.lost + later.lost,
            unseen=self.unseen or later.unseen,
            shared=self.shared or later.shared,
        )

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        rows = [list(astuple(record)) for record in self.records]
        return {"records": rows, "lost": self.lost, "unseen": self.unseen, "shared": self.shared}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Heard:
        """What `as_dict` made."""
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
    """The lines of one read (``6,1234,5678901,-;text`` and lines of a dictionary); none for what is no record.

    Mostly one: several where the kernel printed them in one call.
    """
    head, semicolon, rest = data.partition(b";")
    fields = head.split(b",")
    if not semicolon or len(fields) < 3 or not all(field.isdigit() for field in fields[:3]):
        return ()
    priority, sequence, at_us = (int(field) for field in fields[:3])
    # Lines that begin with a blank are the dictionary (SUBSYSTEM=…, DEVICE=…); a newline of the text is escaped.
    text = _ESCAPE.sub(lambda escape: bytes([int(escape[1], 16)]), rest.partition(b"\n")[0]).decode("utf-8", "replace")
    return tuple(
        LogRecord(facility=priority >> 3, level=priority & 7, sequence=sequence, at_us=at_us, text=line)
        for line in text.split("\n")
    )
