"""The layout of the application's writes to the kernel, with their times, as a NumPy dtype."""

from __future__ import annotations

from typing import Final

import numpy as np

WRITE: Final = np.dtype(
    [
        ("begin_ns", "<i8"),  # CLOCK_MONOTONIC before the system call
        ("end", "<i8"),  # offset one past the last sequence number that the call gave the kernel
        ("connection", "<u4"),  # index into the recording's flows
        ("server", "u1"),  # 1 where the server called, 0 where the client did
        ("reserved", "u1", (3,)),
    ]
)
"""One system call that gave TCP something to send: ``connect()``, a write, ``shutdown()``.

Offsets count from the sender's initial sequence number: SYN and FIN take one each, so the first byte of data is 1.
Nothing between the ``end`` of the previous call and this ``end`` can have been sent before ``begin_ns``. A server's SYN
is its kernel's answer and has no call.
"""
