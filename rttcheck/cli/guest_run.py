"""Run a request on another kernel: boot a guest, send it the request, and read its events as they come.

This module manages the launcher process, its pipes and its end. The launcher manages QEMU and the deadlines in host
time; however this process ends, the launcher notices and ends QEMU.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from rttcheck.cli.exit_status import ExitStatus
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

_LEAVE_S = 20.0
"""Host seconds that the launcher may take to end after SIGTERM."""

_PAUSE_S = 0.5
"""Seconds after which a line of the launcher's is not the error that it ends with."""

_BACKSTOP_S = 2 * (BOOT_S + SILENCE_S)
"""Host seconds of silence after which the launcher itself hangs: longer than all of its own deadlines."""

PREFIX = "rttcheck: "


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
    with _start_launcher(settings) as launcher:
        _send_request(launcher, request)
        assert launcher.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            launcher.stdin.close()
        yield from _guest_events(launcher, settings.kernel, note)


class OpenGuest:
    """A guest that runs one request after the other; see `open_guest`.

    In virtual time it is stopped between requests: an idle guest in virtual time jumps from one kernel timer to the
    next and occupies a whole processor of the host.
    """

    def __init__(self, launcher: subprocess.Popen[bytes], settings: GuestSettings, note: Callable[[str], None]) -> None:
        self._launcher = launcher
        self._kernel = settings.kernel
        self._pauses = settings.clock == "virtual"
        self._guest_events = _guest_events(launcher, settings.kernel, note)

    def events(self, request: RunRequest) -> Iterator[Event]:
        """Run ``request``, which has ``more_follow`` set, and yield its events, up to the last scenario's result.

        The guest begins with the call, not with the first event. Raises as `run_in_guest` does, and GuestLost where the
        guest has already ended.
        """
        self._send(signal.SIGCONT)
        _send_request(self._launcher, request)
        return self._results(len(request.scenarios))

    def _results(self, left: int) -> Iterator[Event]:
        while left:
            event = next(self._guest_events, None)
            if event is None:
                raise GuestLost(f"the guest {self._kernel} ended before its last scenario")
            yield event
            left -= event["event"] == RESULT
            if event["event"] == REFUSED:
                return
        self._send(signal.SIGSTOP)

    def _send(self, number: signal.Signals) -> None:
        """Send a signal to the launcher's QEMU, if it has started."""
        if not self._pauses:
            return
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{self._launcher.pid}/task/{self._launcher.pid}/children").read_text()
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
    with _start_launcher(settings) as launcher:
        yield OpenGuest(launcher, settings, note)


def _guest_events(launcher: subprocess.Popen[bytes], kernel: str, note: Callable[[str], None]) -> Iterator[Event]:
    """Yield the guest's events until it has ended; raise the error that its exit status stands for.

    The last lines of a launcher that failed are its error. To report them once, lines are held back until more output
    shows that they are not the last.
    """
    held: list[str] = []
    for line, is_output in _lines(launcher, kernel):
        event = _event(line) if is_output and line is not None else None
        if line is None or event is not None:
            while held:
                note(held.pop(0).removeprefix(PREFIX))
        if event is not None:
            yield event
        elif line is not None:
            held.append(line)
    status = launcher.wait(_LEAVE_S)
    _raise_for_status(status, held, kernel)
    for line in held:
        note(line.removeprefix(PREFIX))


def _send_request(launcher: subprocess.Popen[bytes], request: RunRequest) -> None:
    """Write a request to the launcher. If it has ended, `_guest_events` raises the reason."""
    assert launcher.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        launcher.stdin.write(request.to_json().encode() + b"\n")


def _raise_for_status(status: int, output: list[str], kernel: str) -> None:
    """Raise the error of a launcher's exit status; none for 0 and for the statuses that the last event reports."""
    first = next((number for number, line in enumerate(output) if line.startswith(PREFIX)), 0)
    sentence, *tail = (line.removeprefix(PREFIX) for line in output[first:] or [f"the guest {kernel} wrote no message"])
    if status == EXIT_LOST:
        raise GuestLost(sentence, "\n".join(tail))
    if status == EXIT_USAGE and output:
        raise KernelError(sentence)
    if status not in (ExitStatus.PASSED, ExitStatus.UNABLE, ExitStatus.USAGE):
        last = "\n".join(output[-20:])
        raise RttcheckError(f"rttcheck in the guest {kernel} ended with status {status}; its last output:\n{last}")


@contextlib.contextmanager
def _start_launcher(settings: GuestSettings) -> Iterator[subprocess.Popen[bytes]]:
    """Start the launcher of a guest that waits for a request; end it when the block ends.

    It has its own process group, so that Ctrl-C reaches this process alone, which then ends the launcher properly.
    """
    with subprocess.Popen(
        [*launcher_command(settings), "-m", "rttcheck.cli", "run", "--emit-rows"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Buffered output would raise BrokenPipeError again when the pipe is closed.
        bufsize=0,
        preexec_fn=die_with_parent(),
        process_group=0,
    ) as launcher:
        try:
            yield launcher
        finally:
            launcher.terminate()
            try:
                launcher.wait(_LEAVE_S)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                # The kernel kills QEMU when its parent dies (PR_SET_PDEATHSIG), even if the launcher cannot.
                launcher.kill()


def _lines(launcher: subprocess.Popen[bytes], kernel: str) -> Iterator[tuple[str | None, bool]]:
    """Yield lines of both pipes as they come, each with whether it is from standard output; None after a pause.

    Ends when both pipes are closed. Raises GuestLost when nothing comes for `_BACKSTOP_S`.
    """
    partial = {launcher.stdout: b"", launcher.stderr: b""}
    with selectors.DefaultSelector() as selector:
        for pipe in partial:
            assert pipe is not None
            selector.register(pipe, selectors.EVENT_READ)
        paused = True
        while selector.get_map():
            ready = selector.select(_BACKSTOP_S if paused else _PAUSE_S)
            if not ready and paused:
                raise GuestLost(f"the launcher of the guest {kernel} has written nothing for {_BACKSTOP_S:.0f} s")
            paused = not ready
            if paused:
                yield None, False
            for key, _ in ready:
                pipe = launcher.stdout if key.fileobj is launcher.stdout else launcher.stderr
                got = os.read(key.fd, 65536)
                *whole, partial[pipe] = (partial[pipe] + got).split(b"\n")
                if not got:
                    selector.unregister(key.fileobj)
                    whole, partial[pipe] = [partial[pipe]] if partial[pipe] else [], b""
                for line in whole:
                    yield line.decode("utf-8", "replace").rstrip("\r"), pipe is launcher.stdout


def _event(line: str) -> Event | None:
    """Return the event in a line; None for any other line."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None
