"""One QEMU process and the descriptors between it and this process.

QEMU is killed when the block ends, and by the kernel when this process dies.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType

from rttcheck.errors import KernelError
from rttcheck.kernels.machine import PORTS, GuestMachine
from rttcheck.kernels.parent_death import die_with_parent


class Qemu:
    """A running QEMU, as a context manager.

    ``state`` is the descriptor of a saved state to resume from. ``ports`` are this side's ends of the guest's ports
    (non-blocking), ``monitor`` that of its QMP monitor (blocking); ``console`` is the pipe of the serial console;
    ``ended`` polls readable when the process has ended. Entering raises `KernelError` when it cannot be started.
    """

    def __init__(self, machine: GuestMachine, *, rw: Path, state: int | None = None) -> None:
        self._machine = machine
        self._rw = rw
        self._state = state
        self._stack = contextlib.ExitStack()
        self.ports: dict[str, socket.socket] = {}
        self.monitor: socket.socket
        self.console = -1
        self.ended = -1
        self._process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def __enter__(self) -> Qemu:
        with contextlib.ExitStack() as stack:
            theirs: dict[str, int] = {}
            with contextlib.ExitStack() as ends:
                for port in (*PORTS, "monitor"):
                    ours, end = socket.socketpair()
                    stack.enter_context(ours)
                    theirs[port] = ends.enter_context(end).fileno()
                    if port == "monitor":
                        self.monitor = ours
                    else:
                        ours.setblocking(False)
                        self.ports[port] = ours
                command = self._machine.command(name=f"rttcheck-{os.getpid()}", rw=self._rw, sockets=theirs)
                command += ["-chardev", f"socket,id=rttcheck.monitor,fd={theirs['monitor']}"]
                command += ["-mon", "chardev=rttcheck.monitor,mode=control"]
                if self._state is not None:
                    theirs["state"] = self._state
                    command += ["-incoming", f"fd:{self._state}"]
                self._process = stack.enter_context(_spawn(command, tuple(theirs.values())))
                stack.callback(self._process.kill)
            self.ended = os.pidfd_open(self._process.pid)
            stack.callback(os.close, self.ended)
            assert self._process.stdout is not None
            self.console = self._process.stdout.fileno()
            os.set_blocking(self.console, False)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def why_it_ended(self) -> str:
        """Wait for its end and return the reason, as the end of a sentence."""
        status = self._process.wait()
        if status < 0:
            return f"was killed on the host ({signal.Signals(-status).name})"
        return f"could not run (QEMU's exit status is {status})" if status else "died"


def _spawn(command: list[str], sockets: tuple[int, ...]) -> subprocess.Popen[bytes]:
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
        raise KernelError(
            f"QEMU cannot be executed ({error.strerror}: {command[0]}), and guests run in it; "
            "apt-get install --reinstall qemu-system-x86"
        ) from error
