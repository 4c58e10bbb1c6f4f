"""Run requests on another kernel: boot a guest, open an execnet gateway into it, and read its events as they come.

This module manages the launcher process, its pipes and its end. The launcher manages QEMU and the deadlines in host
time; however this process ends, the launcher notices and ends QEMU.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import execnet
from execnet.gateway_base import Popen2IO, get_execmodel
from execnet.gateway_bootstrap import bootstrap_import
from execnet.gateway_io import popen_bootstrapline

from rttcheck.cli.request import REFUSED, RESULT, Event, RunRequest
from rttcheck.errors import GuestLost, KernelError, RttcheckError
from rttcheck.kernels.guest import EXIT_LOST, EXIT_USAGE, GuestSettings, launcher_command
from rttcheck.kernels.parent_death import die_with_parent

BOOT_S = 180.0
"""Host seconds from power-on to Python; a loaded machine without KVM takes half a minute."""

SILENCE_S = 180.0
"""Host seconds that a guest may spend on one scenario and its control run."""

OPEN_SILENCE_S = 4 * SILENCE_S
"""The same for a guest that stays up between requests: it may wait for two scenarios of every other guest."""

SERVE = "from rttcheck.cli.local_run import serve_requests; serve_requests(channel)"
"""What the gateway runs in the guest."""

_LEAVE_S = 20.0
"""Host seconds that the launcher may take to end after SIGTERM."""

_PAUSE_S = 0.5
"""Seconds after which a line of the launcher's is not the error that it ends with."""

_BACKSTOP_S = 2 * (BOOT_S + SILENCE_S)
"""Host seconds of silence after which the launcher itself hangs: longer than all of its own deadlines."""

PREFIX = "rttcheck: "


class _Kind(Enum):
    """What comes from a guest."""

    EVENT = "an event"
    LINE = "a line of standard error"
    DONE = "the gateway has ended"
    CLOSED = "standard error has ended"


def run_in_guest(request: RunRequest, release: str, *, note: Callable[[str], None]) -> Generator[Event]:
    """Boot the kernel of ``request``, run it there, and yield its events.

    ``release`` names the console's file, beside the recordings; ``note`` receives all other output of launcher and
    guest. Raises GuestLost when the guest dies, hangs or does not boot, KernelError when it cannot be started. An
    exception, or closing the generator, ends the guest.
    """
    recordings = Path(request.recordings)
    settings = GuestSettings(
        kernel=request.kernel,
        clock=request.clock,
        console=recordings.parent / "consoles" / f"{release}.log",
        rw=recordings,
        boot_s=BOOT_S,
        gateway_s=BOOT_S,
        silence_s=SILENCE_S,
    )
    with _connect(settings, note) as connection:
        connection.send(request)
        connection.send(None)
        yield from connection.events()


class OpenGuest:
    """A guest that runs one request after the other; see `open_guest`.

    In virtual time it is stopped between requests: an idle guest in virtual time jumps from one kernel timer to the
    next and occupies a whole processor of the host.
    """

    def __init__(self, connection: _Connection, *, pauses: bool) -> None:
        self._connection = connection
        self._pauses = pauses
        self._guest_events = connection.events()

    def events(self, request: RunRequest) -> Iterator[Event]:
        """Run ``request`` and yield its events, up to the last scenario's result.

        The guest begins with the call, not with the first event. Raises as `run_in_guest` does, and GuestLost where the
        guest has already ended.
        """
        self._signal(signal.SIGCONT)
        self._connection.send(request)
        return self._results(len(request.scenarios))

    def _results(self, left: int) -> Iterator[Event]:
        while left:
            event = next(self._guest_events, None)
            if event is None:
                raise GuestLost(f"the guest {self._connection.kernel} ended before its last scenario")
            yield event
            left -= event["event"] == RESULT
            if event["event"] == REFUSED:
                return
        self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the launcher's QEMU, if it has started."""
        if not self._pauses:
            return
        launcher = self._connection.launcher.pid
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text()
            for child in children.split():
                os.kill(int(child), number)


@contextlib.contextmanager
def open_guest(kernel: str, clock: str, *, console: Path, rw: Path, note: Callable[[str], None]) -> Iterator[OpenGuest]:
    """Boot a guest that runs requests until the block ends, where it is killed.

    ``rw`` is the directory for its recordings, ``console`` the file for its console; otherwise as `run_in_guest`.
    """
    settings = GuestSettings(
        kernel=kernel, clock=clock, console=console, rw=rw, boot_s=BOOT_S, gateway_s=BOOT_S, silence_s=OPEN_SILENCE_S
    )
    with _connect(settings, note) as connection:
        yield OpenGuest(connection, pauses=clock == "virtual")


class _Pipes(Popen2IO):
    """The pipes of a launcher as execnet wants them."""

    def __init__(self, launcher: subprocess.Popen[bytes]) -> None:
        super().__init__(launcher.stdin, launcher.stdout, get_execmodel("thread"))
        self.wait = launcher.wait
        self.kill = launcher.kill


@dataclass(slots=True)
class _Connection:
    """The gateway into one guest: requests go in, events and lines of standard error come out.

    The boot and every blocking read have a thread; the thread of the caller is interruptible at any time. The threads
    end with the launcher.
    """

    launcher: subprocess.Popen[bytes]
    kernel: str
    note: Callable[[str], None]
    _requests: SimpleQueue[RunRequest | None] = field(default_factory=SimpleQueue)
    _received: SimpleQueue[tuple[_Kind, Any]] = field(default_factory=SimpleQueue)
    _threads: list[threading.Thread] = field(default_factory=list)
    _gateway: Any = None

    def __post_init__(self) -> None:
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._serve, self._read_lines)]
        for thread in self._threads:
            thread.start()

    def send(self, request: RunRequest | None) -> None:
        """Send a request, or None after the last one. If the guest has ended, `events` raises the reason."""
        self._requests.put(request)

    def events(self) -> Generator[Event]:
        """Yield the guest's events until it has ended; raise the error that it ended with.

        The last lines of a launcher that failed are its error. To report them once, lines are held back until a pause
        shows that they are not the last.
        """
        held: list[str] = []
        shown_s = 0.0
        error: BaseException | None = None
        ended: set[_Kind] = set()
        while len(ended) < 2:
            kind, value = self._next(_PAUSE_S if held else _BACKSTOP_S)
            if kind is None and not held:
                raise GuestLost(f"the launcher of the guest {self.kernel} has written nothing for {_BACKSTOP_S:.0f} s")
            if kind is _Kind.LINE:
                held.append(value)
                shown_s = time.monotonic() + _PAUSE_S
            # Events come by another pipe, so that one may overtake the launcher's last lines, or be overtaken.
            if kind is None or (kind is _Kind.EVENT and time.monotonic() > shown_s):
                self._show(held)
            if kind is _Kind.EVENT:
                yield value
            elif kind in (_Kind.DONE, _Kind.CLOSED):
                ended.add(kind)
                error = value or error
                if kind is _Kind.DONE and not isinstance(value, EOFError | OSError):
                    # Its Python waits for another command, and there is none.
                    self.launcher.terminate()
        if error is not None:
            self._raise(error, held)
        self._show(held)

    def close(self) -> None:
        """Close the pipes of a launcher that has ended."""
        self.send(None)
        for thread in self._threads:
            thread.join(_LEAVE_S)
        if self._gateway is not None:
            self._gateway.join(_LEAVE_S)
        for pipe in (self.launcher.stdin, self.launcher.stdout, self.launcher.stderr):
            assert pipe is not None
            # What was not sent is of no use any more.
            with contextlib.suppress(OSError):
                pipe.close()

    def _next(self, timeout_s: float) -> tuple[_Kind | None, Any]:
        try:
            return self._received.get(timeout=timeout_s)
        except Empty:
            return None, None

    def _show(self, held: list[str]) -> None:
        while held:
            self.note(held.pop(0).removeprefix(PREFIX))

    def _serve(self) -> None:
        """Open the gateway and send it the requests."""
        # Not by an execnet.Group, which would start the launcher without a pipe for standard error.
        io = _Pipes(self.launcher)
        # The probe's signals need the main thread.
        spec = execnet.XSpec(f"popen//id={self.kernel}//execmodel=main_thread_only")
        try:
            bootstrap_import(io, spec)
            self._gateway = execnet.Gateway(io, spec)
            channel = self._gateway.remote_exec(SERVE)
            # The end wakes this thread, too, which may wait for a request.
            channel.setcallback(
                lambda event: self._requests.put(None) if event is None else self._received.put((_Kind.EVENT, event)),
                endmarker=None,
            )
            # A guest that has ended takes nothing; waitclose raises the reason.
            with contextlib.suppress(OSError):
                while (request := self._requests.get()) is not None:
                    channel.send(request.as_dict())
                channel.send(None)
            channel.waitclose()
        except Exception as error:
            self._received.put((_Kind.DONE, error))
        else:
            self._received.put((_Kind.DONE, None))

    def _read_lines(self) -> None:
        assert self.launcher.stderr is not None
        for line in self.launcher.stderr:
            self._received.put((_Kind.LINE, line.decode("utf-8", "replace").rstrip("\r\n")))
        self._received.put((_Kind.CLOSED, None))

    def _raise(self, error: BaseException, output: list[str]) -> None:
        """Raise what ended the guest: an exception of its Python, or the error that its launcher ended with."""
        if not isinstance(error, EOFError | OSError):
            raise RttcheckError(f"rttcheck in the guest {self.kernel} failed:\n{error}")
        status = self.launcher.wait(_LEAVE_S)
        first = next((number for number, line in enumerate(output) if line.startswith(PREFIX)), 0)
        nothing = f"the guest {self.kernel} wrote no message"
        sentence, *tail = (line.removeprefix(PREFIX) for line in output[first:] or [nothing])
        if status == EXIT_LOST:
            raise GuestLost(sentence, "\n".join(tail))
        if status == EXIT_USAGE and output:
            raise KernelError(sentence)
        last = "\n".join(output[-20:])
        raise RttcheckError(f"rttcheck in the guest {self.kernel} ended with status {status}; its last output:\n{last}")


@contextlib.contextmanager
def _connect(settings: GuestSettings, note: Callable[[str], None]) -> Iterator[_Connection]:
    """Start the launcher of a guest whose Python becomes an execnet gateway; end it when the block ends.

    It has its own process group, so that Ctrl-C reaches this process alone, which then ends the launcher properly.
    """
    launcher = subprocess.Popen(
        [*launcher_command(settings), "-u", "-c", popen_bootstrapline],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=die_with_parent(),
        process_group=0,
    )
    connection = _Connection(launcher, settings.kernel, note)
    try:
        yield connection
    finally:
        launcher.terminate()
        try:
            launcher.wait(_LEAVE_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            # The kernel kills QEMU when its parent dies (PR_SET_PDEATHSIG), even if the launcher cannot.
            launcher.kill()
            launcher.wait()
        connection.close()
