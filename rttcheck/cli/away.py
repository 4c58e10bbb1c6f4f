"""An order carried out on another kernel: a guest is booted, told the order, and its events are read as they come.

Owns the launcher's process: its pipes, its end. The launcher owns QEMU and the deadlines in host time; whatever ends
this process, the launcher hears of it and takes QEMU with it.
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
from rttcheck.cli.order import REFUSED, RESULT, Event, Order
from rttcheck.errors import GuestLost, KernelError, RttcheckError
from rttcheck.kernels.guest import EXIT_LOST, EXIT_USAGE, GuestSettings, launcher_command
from rttcheck.kernels.parent_death import die_with_parent

BOOT_S = 180.0
"""Host seconds from power-on to Python; a loaded machine without KVM takes half a minute."""

SILENCE_S = 180.0
"""Host seconds that a guest may spend on one scenario and its control run."""

OPEN_SILENCE_S = 4 * SILENCE_S
"""The same for a guest that is kept open while others work: it waits for up to two scenarios of each of them."""

_LEAVE_S = 20.0
"""Host seconds that the launcher has for its end after it was told to go."""

_PAUSE_S = 0.5
"""After so long a line of the launcher's is not the error that it ends with."""

_BACKSTOP_S = 2 * (BOOT_S + SILENCE_S)
"""Beyond all of the launcher's own deadlines: if it says nothing for so long it is the launcher that hangs."""

PREFIX = "rttcheck: "


def events(order: Order, release: str, *, note: Callable[[str], None]) -> Generator[Event]:
    """Boot the order's kernel and yield its events.

    ``release`` names the console's file, beside the recordings; ``note`` is given what launcher and guest say besides.
    Raises GuestLost when the guest dies, hangs or does not boot, KernelError when it cannot be started. Left early, by
    an exception or by closing the generator, it leaves nothing running.
    """
    recordings = Path(order.recordings)
    settings = GuestSettings(
        kernel=order.kernel,
        clock=order.clock,
        console=recordings.parent / "consoles" / f"{release}.log",
        rw=recordings,
        boot_s=BOOT_S,
        gateway_s=BOOT_S,
        silence_s=SILENCE_S,
    )
    with _launched(settings) as launcher:
        _tell(launcher, order)
        assert launcher.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            launcher.stdin.close()
        yield from _told(launcher, settings.kernel, note)


class OpenGuest:
    """A guest that carries out one order after the other; see `open_guest`.

    In virtual time it stands still between orders: an idle guest jumps from one timer of its kernel's to the next, as
    fast as a whole processor of the host's can.
    """

    def __init__(self, launcher: subprocess.Popen[bytes], settings: GuestSettings, note: Callable[[str], None]) -> None:
        self._launcher = launcher
        self._kernel = settings.kernel
        self._pauses = settings.clock == "virtual"
        self._told = _told(launcher, settings.kernel, note)

    def events(self, order: Order) -> Iterator[Event]:
        """Carry out the order, which must say that more follow; its events, up to its last scenario's result.

        The guest begins at once, whenever the first event is asked for. Raises as the function `events` does, GuestLost
        also where the guest has ended.
        """
        self._send(signal.SIGCONT)
        _tell(self._launcher, order)
        return self._results(len(order.wanted))

    def _results(self, left: int) -> Iterator[Event]:
        while left:
            event = next(self._told, None)
            if event is None:
                raise GuestLost(f"the guest {self._kernel} ended before its last scenario")
            yield event
            left -= event["event"] == RESULT
            if event["event"] == REFUSED:
                return
        self._send(signal.SIGSTOP)

    def _send(self, number: signal.Signals) -> None:
        """Signal the launcher's QEMU, if it has one yet."""
        if not self._pauses:
            return
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{self._launcher.pid}/task/{self._launcher.pid}/children").read_text()
            for child in children.split():
                os.kill(int(child), number)


@contextlib.contextmanager
def open_guest(kernel: str, clock: str, *, console: Path, rw: Path, note: Callable[[str], None]) -> Iterator[OpenGuest]:
    """Boot a guest that takes orders until the block ends, where it is killed.

    ``rw`` is what it writes its recordings to, ``console`` a file; else as `events`.
    """
    settings = GuestSettings(
        kernel=kernel, clock=clock, console=console, rw=rw, boot_s=BOOT_S, gateway_s=BOOT_S, silence_s=OPEN_SILENCE_S
    )
    with _launched(settings) as launcher:
        yield OpenGuest(launcher, settings, note)


def _told(launcher: subprocess.Popen[bytes], kernel: str, note: Callable[[str], None]) -> Iterator[Event]:
    """The guest's events until it has ended; raises what its end means.

    The last words of a launcher are its error, to be told once: they are held until they turn out not to be the last.
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
    _conclude(status, held, kernel)
    for line in held:
        note(line.removeprefix(PREFIX))


def _tell(launcher: subprocess.Popen[bytes], order: Order) -> None:
    """Write an order; a launcher that is gone says why elsewhere."""
    assert launcher.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        launcher.stdin.write(order.to_json().encode() + b"\n")


def _conclude(status: int, said: list[str], kernel: str) -> None:
    """Raise what the launcher's exit status means; 0, and the statuses that the last event told of, mean nothing."""
    first = next((number for number, line in enumerate(said) if line.startswith(PREFIX)), 0)
    sentence, *tail = (line.removeprefix(PREFIX) for line in said[first:] or [f"the guest {kernel} said nothing"])
    if status == EXIT_LOST:
        raise GuestLost(sentence, "\n".join(tail))
    if status == EXIT_USAGE and said:
        raise KernelError(sentence)
    if status not in (ExitStatus.PASSED, ExitStatus.UNABLE, ExitStatus.USAGE):
        words = "\n".join(said[-20:])
        raise RttcheckError(f"rttcheck in the guest {kernel} ended with status {status}; the last it said:\n{words}")


@contextlib.contextmanager
def _launched(settings: GuestSettings) -> Iterator[subprocess.Popen[bytes]]:
    """The launcher of a guest that waits for an order; gone when the block ends.

    In a process group of its own, so that Ctrl-C reaches this process alone, which then ends the launcher in order.
    """
    with subprocess.Popen(
        [*launcher_command(settings), "-m", "rttcheck.cli", "run", "--emit-rows"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A reader that is gone must not be met again when the pipe is closed.
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
                # QEMU dies with its parent: the kernel sees to that, not the launcher.
                launcher.kill()


def _lines(launcher: subprocess.Popen[bytes], kernel: str) -> Iterator[tuple[str | None, bool]]:
    """Lines of both pipes as they come, and whether each is of the output; None when some were followed by a pause.

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
                raise GuestLost(f"the launcher of the guest {kernel} has said nothing for {_BACKSTOP_S:.0f} s")
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
    """The event that a line is; None for whatever else was printed there."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None
