"""The relay's shared memory: counters, and a record of each packet.

The layout is in 64-bit words of this machine's byte order: one page of counters, then four words a record. The relay
writes and the other process reads at any time; both map the same memory file, which is freed when both have closed it.
Standard library only, because the relay's process has nothing else.
"""

from __future__ import annotations

import mmap
import os
from enum import IntEnum

PAGE_WORDS = 512
RECORD_WORDS = 4
"""taken, due, released (CLOCK_MONOTONIC, ns; 0: not), and a word made by `tag`."""

RECORDS, UNRECORDED, CLOCK_SET = 0, 1, 2
"""Words of the page: records written, packets without a record for lack of room, how often the time of day was set."""

_COUNTERS, _A_DIRECTION = 16, 32

LENGTH_BITS, FATE_SHIFT, BACK_SHIFT, COPY_SHIFT, SETTING_SHIFT = 32, 32, 40, 41, 48
SETTINGS = 1 << 15
"""The number of an impairment in a record restarts at 0 after so many."""


class Count(IntEnum):
    """The counters of each direction, since its impairment was installed."""

    TAKEN = 0
    RELEASED = 1
    RELEASED_BYTES = 2
    LOST = 3
    OVERFLOW = 4
    REPLACED = 5
    REFUSED = 6
    COPIES = 7
    REORDERED = 8
    WAITING = 9
    WAITING_BYTES = 10
    RING_FULL = 11


def counter(direction: int, count: Count) -> int:
    """Return the index of a counter's word in the page; direction 0 is out, 1 is back."""
    return _COUNTERS + _A_DIRECTION * direction + count


def tag(length: int, fate: int, direction: int, copy: bool, setting: int) -> int:
    """Return the last word of a record: the packet's length in bytes, its fate, direction, copy flag and setting."""
    return length | fate << FATE_SHIFT | direction << BACK_SHIFT | copy << COPY_SHIFT | setting << SETTING_SHIFT


class Journal:
    """The mapped shared memory; ``words`` is all of it."""

    def __init__(self, fd: int) -> None:
        """Map the file that `make` created; the descriptor remains the caller's."""
        size = os.fstat(fd).st_size
        self._memory = mmap.mmap(fd, size)
        self.words = memoryview(self._memory).cast("q")
        self._end = size // 8

    @staticmethod
    def make(records: int) -> int:
        """Create a memory file with room for so many records. Memory is allocated only as it is written."""
        fd = os.memfd_create("rttcheck-relay")
        os.ftruncate(fd, (PAGE_WORDS + RECORD_WORDS * records) * 8)
        return fd

    def enter(self, taken_ns: int, due_ns: int, tagged: int) -> int:
        """Write a record, not yet released; return the index of its first word, or count it and return 0 when full."""
        words = self.words
        written = words[RECORDS]
        at = PAGE_WORDS + RECORD_WORDS * written
        if at >= self._end:
            words[UNRECORDED] += 1
            return 0
        words[at], words[at + 1], words[at + 3] = taken_ns, due_ns, tagged
        words[RECORDS] = written + 1
        return at

    def counted(self, direction: int) -> dict[Count, int]:
        """Return all counters of a direction."""
        return {count: self.words[counter(direction, count)] for count in Count}

    def restart(self, direction: int) -> None:
        """Reset a direction's counters to 0."""
        for count in Count:
            self.words[counter(direction, count)] = 0

    def close(self) -> None:
        self.words.release()
        self._memory.close()
