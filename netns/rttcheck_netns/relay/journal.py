"""What the relay did, in memory that it shares with whoever started it: counters, and a record for each packet.

Owns the layout, in 64-bit words of this machine's byte order: one page of counters, then four words a record. Refuses
to know what is measured with it. The relay writes and the other process reads whenever it likes; both map the same file
in memory, which ends with the last of them. Standard library only: the relay's own process has nothing else.
"""

from __future__ import annotations

import mmap
import os
from enum import IntEnum

PAGE_WORDS = 512
RECORD_WORDS = 4
"""taken, due, released (CLOCK_MONOTONIC, ns; 0: not), and a word that `tag` makes."""

RECORDS, UNRECORDED, CLOCK_SET = 0, 1, 2
"""Words of the page: records written, packets that no record was left for, times that the time of day was set."""

_COUNTERS, _A_DIRECTION = 16, 32

LENGTH_BITS, FATE_SHIFT, BACK_SHIFT, COPY_SHIFT, SETTING_SHIFT = 32, 32, 40, 41, 48
SETTINGS = 1 << 15
"""The number of an impairment in a record starts again at 0 after as many."""


class Count(IntEnum):
    """The counters of each direction, since its impairment was put in place."""

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
    """The word of the page that a counter is in; direction 0 is out, 1 is back."""
    return _COUNTERS + _A_DIRECTION * direction + count


def tag(length: int, fate: int, direction: int, copy: bool, setting: int) -> int:
    """The last word of a record: the packet's length in bytes and what became of it."""
    return length | fate << FATE_SHIFT | direction << BACK_SHIFT | copy << COPY_SHIFT | setting << SETTING_SHIFT


class Journal:
    """The shared memory, mapped; ``words`` is all of it."""

    def __init__(self, fd: int) -> None:
        """Map what `make` made; the descriptor stays the caller's."""
        size = os.fstat(fd).st_size
        self._memory = mmap.mmap(fd, size)
        self.words = memoryview(self._memory).cast("q")
        self._end = size // 8

    @staticmethod
    def make(records: int) -> int:
        """A file in memory with room for so many records. Nothing is taken from the machine before it is written to."""
        fd = os.memfd_create("rttcheck-relay")
        os.ftruncate(fd, (PAGE_WORDS + RECORD_WORDS * records) * 8)
        return fd

    def enter(self, taken_ns: int, due_ns: int, tagged: int) -> int:
        """Write a record, not yet released; return its first word, or 0 when there is no room, which is counted."""
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
        """All counters of a direction."""
        return {count: self.words[counter(direction, count)] for count in Count}

    def restart(self, direction: int) -> None:
        """Put a direction's counters back to 0."""
        for count in Count:
            self.words[counter(direction, count)] = 0

    def close(self) -> None:
        self.words.release()
        self._memory.close()
