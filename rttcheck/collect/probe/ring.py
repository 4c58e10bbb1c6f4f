"""Read a BPF ring buffer of events into NumPy arrays.

Memory is bounded by the ring: events that do not fit are dropped and counted by the program, never queued here.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from rttcheck.collect.probe.libbpf import Libbpf, libbpf


class EventRing:
    """The reading end of a ring buffer; see :func:`open_ring`."""

    def __init__(self, library: Libbpf, handle: int, sink: int, dtype: np.dtype) -> None:
        self._library = library
        self._handle = handle
        self._sink = sink
        self._dtype = dtype

    def take(self) -> np.ndarray:
        """Return all events in the ring, in order; the ring is empty afterwards. Raises Refused."""
        result = self._library.call.ring_buffer__consume(self._handle)
        if result != -errno.EINTR:
            self._library.check(result, "read the ring buffer's events")
        size = os.lseek(self._sink, 0, os.SEEK_CUR)
        events: np.ndarray = np.empty(size // self._dtype.itemsize, self._dtype)
        if size:
            os.preadv(self._sink, [events.view(np.uint8).data], 0)
            os.lseek(self._sink, 0, os.SEEK_SET)
            os.ftruncate(self._sink, 0)
        return events

    def wait(self, timeout_s: float) -> bool:
        """Wait until the ring has an event and its writer wakes readers; return False when the time is over first."""
        with select.epoll() as poll:
            poll.register(self._library.call.ring_buffer__epoll_fd(self._handle), select.EPOLLIN)
            return bool(poll.poll(timeout_s))


@contextmanager
def open_ring(map_fd: int, dtype: np.dtype) -> Iterator[EventRing]:
    """Read the ring buffer map ``map_fd``, all of whose records are of ``dtype``. Raises Refused."""
    library = libbpf()
    # libbpf passes each record to callback(context, data, size), and write(fd, data, size) is such a function: the
    # records go into a memory file without a Python call for each of them.
    write = ctypes.cast(ctypes.CDLL(None).write, ctypes.c_void_p)
    sink = os.memfd_create("rttcheck-events")
    try:
        handle = library.pointer(library.call.ring_buffer__new(map_fd, write, sink, None), "map the ring buffer")
        try:
            yield EventRing(library, handle, sink, dtype)
        finally:
            library.call.ring_buffer__free(handle)
    finally:
        os.close(sink)
