"""One running QEMU: its ports, its console, its deadlines, its end.

Owns the process and every descriptor between it and us; all of them are gone when the block ends. Knows what the
guest's init reports (hello, start, exit) but not what runs in the guest.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from types import TracebackType
from typing import BinaryIO

from rttcheck.errors import GuestLost, KernelError
from rttcheck.kernels.console import MARK, TAIL_BYTES, tail_of
from rttcheck.kernels.guest import GuestSettings
from rttcheck.kernels.initramfs import initramfs_of
from rttcheck.kernels.kernel import Kernel
from rttcheck.kernels.leash import die_with_parent
from rttcheck.kernels.machine import PORTS, qemu_command
from rttcheck.kernels.session import Session
from rttcheck.kernels.stream import Stream

_LEAVE_S = 15.0
"""Host seconds that a guest has for its own end once the other end of its gateway is gone."""


class Emulator:
    """A guest in QEMU, as a context manager; `run` returns when the guest is done.

    Entering raises `KernelError` when it cannot be started.
    """

    def __init__(self, kernel: Kernel, settings: GuestSettings, session: Session) -> None:
        self._kernel = kernel
        self._settings = settings
        self._session = session
        self._stack = contextlib.ExitStack()
        self._ports: dict[str, socket.socket] = {}
        self._qemu: subprocess.Popen[bytes]
        self._ended = -1
        self._file: BinaryIO | None = None
        self._console = bytearray()
        self._report = b""
        self._status: int | None = None
        self._started = 0.0
        self._phase = "boot"
        self._phase_began = 0.0

    def __enter__(self) -> Emulator:
        with contextlib.ExitStack() as stack:
            initramfs = initramfs_of(self._kernel)
            console = self._settings.console
            if console is not None:
                console.parent.mkdir(parents=True, exist_ok=True)
                self._file = stack.enter_context(console.open("wb", buffering=0))
            theirs: dict[str, int] = {}
            with contextlib.ExitStack() as ends:
                for port in PORTS:
                    ours, end = socket.socketpair()
                    self._ports[port] = stack.enter_context(ours)
                    theirs[port] = ends.enter_context(end).fileno()
                    ours.setblocking(False)
                command = qemu_command(
                    self._kernel,
                    self._settings,
                    name=f"rttcheck-{os.getpid()}",
                    initramfs=initramfs,
                    sockets=theirs,
                )
                self._started = self._phase_began = time.monotonic()
                self._qemu = stack.enter_context(self._spawn(command, tuple(theirs.values())))
                stack.callback(self._qemu.kill)
            self._ended = os.pidfd_open(self._qemu.pid)
            stack.callback(os.close, self._ended)
            self._mark("power-on")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def run(self, *, stdin: int, stdout: int, stderr: int) -> int:
        """Carry bytes until the guest has ended; the exit status of its Python (128 + N: killed by signal N).

        Raises `GuestLost`, with the console's tail, when the guest dies or passes one of its deadlines.
        """
        script = self._session.script().encode()
        port = {name: end.fileno() for name, end in self._ports.items()}
        assert self._qemu.stdout is not None
        os.set_blocking(self._qemu.stdout.fileno(), False)
        inward = Stream(source=stdin, sink=port["stdin"], closed=self._end_of_input)
        outward = [
            Stream(source=port["stdout"], sink=stdout),
            Stream(source=port["stderr"], sink=stderr),
            Stream(source=port["control"], heard=self._reported),
            Stream(source=self._qemu.stdout.fileno(), heard=self._keep),
        ]
        streams = [inward, Stream(sink=port["control"], pending=b"%d\n%b" % (len(script), script)), *outward]
        moved, heard = 0, self._started
        while True:
            poll = select.poll()
            poll.register(self._ended, select.POLLIN)
            for stream in streams:
                stream.interest(poll)
            ready = dict(poll.poll(1000 * self._remaining(heard)))
            for stream in streams:
                stream.step(ready)
            if self._ended in ready:
                break
            if self._phase == "gateway" and outward[0].moved:
                self._enter("run", "first byte")
            total = sum(stream.moved for stream in streams)
            if total != moved:
                moved, heard = total, time.monotonic()
        for stream in outward:
            while stream.read():
                pass
            while stream.pending:
                stream.write()
        return self._verdict()

    def _spawn(self, command: list[str], sockets: tuple[int, ...]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=sockets,
                preexec_fn=die_with_parent(),
                process_group=0,
            )
        except OSError as error:
            raise KernelError(f"QEMU cannot be started ({error.strerror}: {command[0]}); install it") from error

    def _remaining(self, heard: float) -> float:
        """Seconds to the nearest deadline; `GuestLost` when one has passed."""
        limits = self._settings
        now = time.monotonic()
        deadlines = [(heard + limits.silence_s, f"said nothing for {limits.silence_s:.0f} s")]
        if limits.overall_s is not None:
            deadlines.append((self._started + limits.overall_s, f"was not done after {limits.overall_s:.0f} s"))
        allowed = {"boot": limits.boot_s, "gateway": limits.gateway_s, "leave": _LEAVE_S}.get(self._phase)
        if allowed is not None:
            what = {
                "boot": "did not boot",
                "gateway": "booted, but its Python did not answer",
                "leave": "did not end after its input had",
            }[self._phase]
            deadlines.append((self._phase_began + allowed, f"{what} within {allowed:.0f} s"))
        ends, reason = min(deadlines)
        if ends <= now:
            raise self._lost(f"{reason} of host time")
        return ends - now

    def _end_of_input(self) -> None:
        with contextlib.suppress(OSError):
            self._ports["stdin"].shutdown(socket.SHUT_WR)
        if self._settings.gateway:
            self._enter("leave", "end of input")

    def _reported(self, text: bytes) -> None:
        *lines, self._report = (self._report + text).split(b"\n")
        for line in lines:
            word, _, rest = line.decode("ascii", "replace").partition(" ")
            if word == "hello":
                self._mark("init")
            elif word == "start" and self._phase == "boot":
                self._enter("gateway" if self._settings.gateway else "run", "start of Python")
            elif word == "exit" and rest.isdigit():
                self._status = int(rest)
                self._mark(f"exit {rest}")

    def _keep(self, text: bytes) -> None:
        self._console += text
        del self._console[:-TAIL_BYTES]
        if self._file is not None:
            self._file.write(text)

    def _enter(self, phase: str, event: str) -> None:
        self._phase, self._phase_began = phase, time.monotonic()
        self._mark(event)

    def _mark(self, event: str) -> None:
        fresh = b"" if not self._console or self._console.endswith(b"\n") else b"\n"
        self._keep(fresh + f"{MARK}{time.monotonic() - self._started:.3f} s {event}\n".encode())

    def _verdict(self) -> int:
        status = self._qemu.wait()
        self._mark("power-off")
        if self._status is not None:
            return self._status
        if status < 0:
            raise self._lost(f"was killed on the host ({signal.Signals(-status).name})")
        if status:
            raise self._lost(f"could not run (QEMU's exit status {status})")
        raise self._lost("died")

    def _lost(self, reason: str) -> GuestLost:
        self._mark(f"lost: {reason}")
        where = f"; its console is in {self._settings.console}" if self._settings.console is not None else ""
        return GuestLost(f"the guest {self._settings.kernel} {reason}{where}", tail_of(bytes(self._console)))
