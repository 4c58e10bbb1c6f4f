"""The relay's loop: take frames from both ports, hold them, and send each out of the other port when it is due.

Keeps the queue of held frames and the record of each packet; `line` decides a packet's time, `port` reads the ring, and
`process` handles requests. Never early: a frame is passed to the kernel only after the clock has reached its time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from heapq import heappop, heappush

from .clock import Clock
from .journal import BACK_SHIFT, CLOCK_SET, COPY_SHIFT, FATE_SHIFT, SETTING_SHIFT, SETTINGS, Count, Journal, counter
from .line import Fate, Line
from .port import Port
from .waiting import Waiting

DIRECTIONS = (0, 1)
"""Out (from the near port to the far one) and back."""

_BATCH = 16
_LOOK_NS = 5_000_000
"""The control socket is read at least this often, however busy the line is."""
_IDLE_NS = 3_600_000_000_000
_COUNT_OF = {
    Fate.LOST: Count.LOST,
    Fate.OVERFLOW: Count.OVERFLOW,
    Fate.REPLACED: Count.REPLACED,
    Fate.REFUSED: Count.REFUSED,
}
_FATE_BITS = 0xFF << FATE_SHIFT

Held = tuple[int, int, bytes, int, int, int]
"""When it is due, its number (which settles ties), the frame, its direction, its record, its length."""


class Pump:
    """Both directions of the relay at work."""

    def __init__(self, near: Port, far: Port, journal: Journal, waiting: Waiting, clock: Clock) -> None:
        """``waiting`` watches the two ports first, in this order, then the descriptors that `run` is to return for."""
        self._ports = (near, far)
        self._journal, self._words, self._waiting, self._clock = journal, journal.words, waiting, clock
        self._held: list[Held] = []
        self._number = 0
        self._setting = -1
        self._lines = (Line(None, 0), Line(None, 0))
        self._tags = (0, 1 << BACK_SHIFT)
        self._base = tuple(counter(direction, Count.TAKEN) for direction in DIRECTIONS)

    def impair(self, out: Line, back: Line) -> None:
        """Take all packets that have arrived, drop the waiting ones, reset the counters, and use these lines."""
        for direction in DIRECTIONS:
            while self._ports[direction].ready():
                self._take(direction)
        while self._held:
            _due, _number, _frame, direction, record, length = heappop(self._held)
            self._drop(direction, record, length, Fate.REPLACED)
        self._lines = (out, back)
        self._setting = (self._setting + 1) % SETTINGS
        self._tags = (self._setting << SETTING_SHIFT, self._setting << SETTING_SHIFT | 1 << BACK_SHIFT)
        for direction in DIRECTIONS:
            self._ports[direction].dropped()
            self._journal.restart(direction)

    def run(self, look: Callable[[], bool]) -> None:
        """Work until ``look`` returns True; it is called when a descriptor beyond the ports is readable."""
        held, waiting, now = self._held, self._waiting, time.monotonic_ns
        near, far = self._ports
        looked_ns = 0
        while True:
            moved = False
            now_ns = now()
            for direction in DIRECTIONS:
                port = self._ports[direction]
                for _ in range(_BATCH):
                    if not port.ready():
                        port.seen_empty(now_ns)
                        break
                    self._take(direction)
                    moved = True
                    if held and held[0][0] <= now():
                        self._release()
            while held and held[0][0] <= now():
                self._release()
            now_ns = now()
            if now_ns - looked_ns >= _LOOK_NS:
                looked_ns = until_ns = now_ns
                self._watch(now_ns)
            elif moved:
                continue
            else:
                until_ns = held[0][0] - waiting.early_ns if held else now_ns + _IDLE_NS
            if until_ns > now_ns or until_ns == looked_ns:
                if waiting.sleep(until_ns, now_ns) and (waiting.ready(2) or waiting.ready(3)) and look():
                    return
            else:
                due_ns = held[0][0]
                while now() < due_ns and not near.ready() and not far.ready():
                    pass

    def _watch(self, now_ns: int) -> None:
        self._waiting.watch_load(now_ns)
        self._words[CLOCK_SET] = self._clock.set_times
        for direction in DIRECTIONS:
            self._words[self._base[direction] + Count.RING_FULL] += self._ports[direction].dropped()

    def _take(self, direction: int) -> None:
        taken_ns, length, frame = self._ports[direction].take(self._ports[1 - direction])
        words, base, line = self._words, self._base[direction], self._lines[direction]
        words[base] += 1
        tag = length | self._tags[direction]
        if frame is None:
            self._journal.enter(taken_ns, 0, tag | Fate.REFUSED << FATE_SHIFT)
            words[base + Count.REFUSED] += 1
            return
        for due_ns, fate, copy in line.admit(taken_ns, length):
            record = self._journal.enter(taken_ns, due_ns, tag | fate << FATE_SHIFT | copy << COPY_SHIFT)
            if not due_ns:
                words[base + _COUNT_OF[fate]] += 1
                continue
            if copy:
                words[base + Count.COPIES] += 1
            if fate:
                words[base + Count.REORDERED] += 1
            self._number += 1
            heappush(self._held, (due_ns, self._number, frame, direction, record, length))
            words[base + Count.WAITING_BYTES] += length
        words[base + Count.WAITING] = line.waiting

    def _release(self) -> None:
        _due, _number, frame, direction, record, length = heappop(self._held)
        now_ns = time.monotonic_ns()
        try:
            self._ports[1 - direction].send(frame)
        except OSError:
            self._drop(direction, record, length, Fate.REFUSED)
            return
        words, base, line = self._words, self._base[direction], self._lines[direction]
        line.waiting -= 1
        if record:
            words[record + 2] = now_ns
        words[base + Count.RELEASED] += 1
        words[base + Count.RELEASED_BYTES] += length
        words[base + Count.WAITING] = line.waiting
        words[base + Count.WAITING_BYTES] -= length

    def _drop(self, direction: int, record: int, length: int, fate: Fate) -> None:
        """Record a packet that waited and is dropped."""
        words, base, line = self._words, self._base[direction], self._lines[direction]
        line.waiting -= 1
        if record:
            words[record + 3] = words[record + 3] & ~_FATE_BITS | fate << FATE_SHIFT
        words[base + _COUNT_OF[fate]] += 1
        words[base + Count.WAITING] = line.waiting
        words[base + Count.WAITING_BYTES] -= length
