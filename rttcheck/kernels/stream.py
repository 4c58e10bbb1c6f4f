"""Bytes on their way between two descriptors, one of which may be slow.

Owns one direction: what was read and not yet written, and when to read on. The descriptors are somebody else's. Knows
nothing of guests.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable

_CHUNK = 65536
_ATOMIC = 4096
"""A pipe that polls writable takes this much without blocking (PIPE_BUF, pipe(7)); others may take less, which is fine."""
_HELD = 1 << 20
"""So much is held for a slow reader before its writer has to wait."""


class Stream:
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

    def interest(self, poll: select.poll) -> None:
        """Register with `poll` whatever can make it go on."""
        if self.source is not None and len(self.pending) < _HELD:
            poll.register(self.source, select.POLLIN)
        if self.sink is not None and self.pending:
            poll.register(self.sink, select.POLLOUT)

    def step(self, ready: dict[int, int]) -> None:
        """Move what can be moved without blocking; `ready` is what ``poll`` returned."""
        if self.source is not None and self.source in ready:
            self.read()
        if self.sink is not None and self.pending and self.sink in ready:
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
