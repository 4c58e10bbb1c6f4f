"""Bytes on their way between two descriptors, one of which may be slow.

Owns one direction: what was read and not yet written, and when to read on. The descriptors are somebody else's. Knows
nothing of guests.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterable, Mapping

_CHUNK = 65536
_ATOMIC = 4096
"""A pipe that polls writable takes this much without blocking (PIPE_BUF, pipe(7)); others may take less."""
_HELD = 1 << 20
"""So much is held for a slow reader before its writer has to wait."""


class ByteStream:
    """From `source` to `sink`; either may be missing: then `pending` is filled by others, or `heard` is all there is.

    `heard` is told every byte that came out of `source`. `closed` is called once, after the last byte has gone.
    """

    def __init__(
        self,
        *,
        source: int | None = None,
        sink: int | None = None,
        heard: Callable[[bytes], None] | None = None,
        closed: Callable[[], None] | None = None,
        pending: bytes = b"",
    ) -> None:
        self.source = source
        self.sink = sink
        self.pending = bytearray(pending)
        self.moved = 0
        self._heard = heard
        self._closed = closed

    def interest(self) -> list[tuple[int, int]]:
        """Descriptors and poll events that can make it go on."""
        wanted = []
        if self.source is not None and len(self.pending) < _HELD:
            wanted.append((self.source, select.POLLIN))
        if self.sink is not None and self.pending:
            wanted.append((self.sink, select.POLLOUT))
        return wanted

    def step(self, ready: Mapping[int, int]) -> None:
        """Move what can be moved without blocking; `ready` is what `wait` returned."""
        if self.source is not None and ready.get(self.source, 0) & ~select.POLLOUT:
            self.read()
        if self.sink is not None and self.pending and ready.get(self.sink, 0) & ~select.POLLIN:
            self.write()
        self._settle()

    def read(self) -> bool:
        """Read once; False when there was nothing or nothing more will come."""
        if self.source is None:
            return False
        try:
            got = os.read(self.source, _CHUNK)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            got = b""
        if not got:
            self.source = None
            return False
        self.moved += len(got)
        if self._heard is not None:
            self._heard(got)
        if self.sink is not None:
            self.pending += got
        return True

    def write(self) -> None:
        """Write once; a reader that is gone takes everything."""
        if self.sink is None:
            return
        try:
            done = os.write(self.sink, self.pending[:_ATOMIC])
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            self.sink, self.source = None, None
            self.pending.clear()
            return
        self.moved += done
        del self.pending[:done]

    def _settle(self) -> None:
        if self.source is None and not self.pending and self._closed is not None:
            self._closed()
            self._closed = None


def wait(streams: Iterable[ByteStream], *, also: int, timeout_s: float) -> dict[int, int]:
    """Sleep until one of `streams` can go on, `also` polls readable, or `timeout_s` is over; poll(2)'s events."""
    masks = {also: select.POLLIN}
    for stream in streams:
        for descriptor, events in stream.interest():
            # One descriptor may be a sink here and a source there: poll knows one mask for it.
            masks[descriptor] = masks.get(descriptor, 0) | events
    poll = select.poll()
    for descriptor, mask in masks.items():
        poll.register(descriptor, mask)
    return dict(poll.poll(max(0.0, 1000 * timeout_s)))
