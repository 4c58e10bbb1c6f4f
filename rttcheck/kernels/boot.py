"""Wait for a guest's boot, from power-on to init: for guests that are to be frozen and for the trial of KVM."""

from __future__ import annotations

import time

from rttcheck.errors import GuestLost
from rttcheck.kernels.console import Console
from rttcheck.kernels.qemu import Qemu
from rttcheck.kernels.stream import ByteStream, wait


def wait_for_init(qemu: Qemu, console: Console, *, deadline_s: float) -> None:
    """Wait until the guest's init reports ``hello``; it then waits for its session.

    `deadline_s` is in seconds of host time. Raises `GuestLost`, with the console's tail, when the guest dies or does
    not boot in time.
    """
    ends = time.monotonic() + deadline_s
    received = bytearray()
    streams = [
        ByteStream(source=qemu.ports["control"].fileno(), received=received.extend),
        ByteStream(source=qemu.console, received=console.write),
    ]
    while b"hello\n" not in received:
        ready = wait(streams, also=qemu.ended, timeout_s=ends - time.monotonic())
        for stream in streams:
            stream.step(ready)
        if qemu.ended in ready or not ready:
            while streams[1].read():
                pass
            how = qemu.why_it_ended() if qemu.ended in ready else "did not boot before its deadline"
            raise GuestLost(f"the guest {console.lose(how)}", console.tail)
