"""A boot, from power-on to init: no more is asked of a guest that is to be frozen, or of a trial of KVM.

Owns the wait for it. Knows no sessions.
"""

from __future__ import annotations

import time

from rttcheck.errors import GuestLost
from rttcheck.kernels.console import Console
from rttcheck.kernels.qemu import Qemu
from rttcheck.kernels.stream import ByteStream, wait


def wait_for_init(qemu: Qemu, console: Console, *, deadline_s: float) -> None:
    """Until the guest's init says hello; it waits for its session then.

    `deadline_s` is host time. Raises `GuestLost`, with the console's tail, when the guest dies or is late.
    """
    ends = time.monotonic() + deadline_s
    said = bytearray()
    streams = [
        ByteStream(source=qemu.ports["control"].fileno(), heard=said.extend),
        ByteStream(source=qemu.console, heard=console.write),
    ]
    while b"hello\n" not in said:
        ready = wait(streams, also=qemu.ended, timeout_s=ends - time.monotonic())
        for stream in streams:
            stream.step(ready)
        if qemu.ended in ready or not ready:
            while streams[1].read():
                pass
            how = qemu.why_it_ended() if qemu.ended in ready else "did not boot before its deadline"
            raise GuestLost(f"the guest {console.lose(how)}", console.tail)
