"""A stand-in for QEMU and the guest in it: says what a test tells it to on the descriptors that it is given."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import BinaryIO

control, stdin, stdout, stderr = (socket.socket(fileno=int(text)) for text in sys.argv[1:5])
behaviour = sys.argv[5]
orders: BinaryIO = control.makefile("rb")


def session() -> bytes:
    control.sendall(b"hello\n")
    script = orders.read(int(orders.readline()))
    control.sendall(b"session\n")
    return script


def echo() -> None:
    session()
    control.sendall(b"start\n")
    while got := stdin.recv(65536):
        stdout.sendall(got)
    stderr.sendall(b"to standard error")
    control.sendall(b"exit 7\n")


def talkative() -> None:
    session()
    control.sendall(b"start\n")
    stdout.sendall(b"x" * 3_000_000)
    control.sendall(b"exit 0\n")
    os._exit(0)


def panic() -> None:
    session()
    control.sendall(b"start\n")
    print("Kernel panic - not syncing: sysrq triggered crash", flush=True)


def killed() -> None:
    session()
    os.kill(os.getpid(), signal.SIGKILL)


def broken() -> None:
    print("qemu: no such device", flush=True)
    sys.exit(1)


def stuck_in_boot() -> None:
    print("still booting", flush=True)
    signal.pause()


def stuck_in_python() -> None:
    session()
    control.sendall(b"start\n")
    signal.pause()


def stuck_after_a_byte() -> None:
    session()
    control.sendall(b"start\n")
    stdout.sendall(b"1")
    signal.pause()


BEHAVIOURS: dict[str, Callable[[], None]] = {
    function.__name__: function
    for function in (echo, talkative, panic, killed, broken, stuck_in_boot, stuck_in_python, stuck_after_a_byte)
}

if __name__ == "__main__":
    BEHAVIOURS[behaviour]()
