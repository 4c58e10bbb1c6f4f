"""Bytes on their way from one descriptor to another, either of which may be slow.

A stream buffers what was read and not yet written, and limits that buffer. It does not own the descriptors.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterable, Mapping

_CHUNK = 65536
_ATOMIC = 4096
"""A pipe that polls writable takes this much without blocking (PIPE_BUF, pipe(7)); others may take less."""
_HELD = 1 << 20
"""Bytes that are buffered for a slow reader before its writer has to wait."""


class ByteStream:
    """Bytes from `source` to `sink`; without a source only `pending` is written, without a sink bytes are only read.

    `received` is called with the bytes read from `source`. `ended` is called once, after the last byte was written.
    """

    def __init__(
        self,
        *,
        source: int | None = None,
        sink: int | None = None,
        received: Callable[[bytes], None] | None = None,
        ended: Callable[[], None] | None = None,
        pending: bytes = b"",
    ) -> None:
        self.source = source
        self.sink = sink
        self.pending = bytearray(pending)
        self.moved = 0
        self._received = received
        self._ended = ended

    def interest(self) -> list[tuple[int, int]]:
        """Return the (descriptor, poll events) on which it can continue."""
        wanted = []
        if self.source is not None and len(self.pending) < _HELD:
            wanted.append((self.source, select.POLLIN))
        if self.sink is not None and self.pending:
            wanted.append((self.sink, select.POLLOUT))
        return wanted

    def step(self, ready: Mapping[int, int]) -> None:
        """Read and write what is possible without blocking; `ready` is the result of `wait`."""
        if self.source is not None and ready.get(self.source, 0) & ~select.POLLOUT:
            self.read()
        if self.sink is not None and self.pending and ready.get(self.sink, 0) & ~select.POLLIN:
            self.write()
        self._settle()

    def read(self) -> bool:
        """Read once; return False when there was nothing, or at the end."""
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
        if self._received is not None:
            self._received(got)
        if self.sink is not None:
            self.pending += got
        return True

    def write(self) -> None:
        """Write once; when the reader has closed its end, drop everything."""
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
        if self.source is None and not self.pending and self._ended is not None:
            self._ended()
            self._ended = None


def wait(streams: Iterable[ByteStream], *, also: int, timeout_s: float) -> dict[int, int]:
    """Wait until one of `streams` can continue, `also` is readable, or `timeout_s` is over; return poll(2)'s events."""
    masks = {also: select.POLLIN}
    for stream in streams:
        for descriptor, events in stream.interest():
            # One descriptor may be a sink and a source; poll takes one mask for it.
            masks[descriptor] = masks.get(descriptor, 0) | events
    poll = select.poll()
    for descriptor, mask in masks.items():
        poll.register(descriptor, mask)
    return dict(poll.poll(max(0.0, 1000 * timeout_s)))
