"""Wait for a guest's boot, from power-on to init: for guests that are to be frozen and for the trial of KVM."""

from __future__ import annotations

from rttcheck.errors import GuestLost
from rttcheck.kernels.console import Console
from rttcheck.kernels.patience import Patience
from rttcheck.kernels.qemu import Qemu
from rttcheck.kernels.stream import ByteStream, wait


def wait_for_init(qemu: Qemu, console: Console, *, deadline_s: float, virtual: bool) -> bool:
    """Wait until the guest's init reports ``hello``; it then waits for its session. Return whether Python has started.

    `deadline_s` is in seconds, see `rttcheck.kernels.patience`; `virtual`: the guest is in virtual time. Raises
    `GuestLost`, with the console's tail, when the guest dies or does not boot in time.
    """
    patience = Patience(qemu.pid, always_works=virtual)
    began = patience.now()
    received = bytearray()
    streams = [
        ByteStream(source=qemu.ports["control"].fileno(), received=received.extend),
        ByteStream(source=qemu.console, received=console.write),
    ]
    while b"hello\n" not in received:
        left_s = deadline_s - patience.passed_s(began)
        ready = wait(streams, also=qemu.ended, timeout_s=left_s)
        for stream in streams:
            stream.step(ready)
        if qemu.ended in ready or left_s <= 0:
            while streams[1].read():
                pass
            how = qemu.why_it_ended() if qemu.ended in ready else "did not boot before its deadline"
            raise GuestLost(f"the guest {console.lose(how)}", console.tail)
    return b"no python\n" not in received
