"""One session in one guest: carry its bytes, watch its deadlines, return its exit status.

The phases of a session follow what the guest's init reports (hello, session, start, exit).
"""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import BinaryIO

from rttcheck.errors import GuestLost
from rttcheck.kernels.console import Console
from rttcheck.kernels.guest import GuestSettings
from rttcheck.kernels.machine import GuestMachine
from rttcheck.kernels.patience import Instant, Patience
from rttcheck.kernels.qemu import Qemu
from rttcheck.kernels.session import GuestSession
from rttcheck.kernels.stream import ByteStream, wait

_THAW_S = 30.0
"""Deadline for a frozen guest to resume, seconds (`rttcheck.kernels.patience`)."""
_LEAVE_S = 15.0
"""Deadline for a guest to end after its gateway was closed, seconds."""


class NotThawed(GuestLost):
    """A frozen guest did not resume. Nothing of the session has run yet, so that the guest can be booted instead."""


class Emulator:
    """Runs one session in one guest; each is for one call of `run`."""

    def __init__(
        self, machine: GuestMachine, settings: GuestSettings, console: Console, *, frozen: Path | None
    ) -> None:
        self._machine = machine
        self._settings = settings
        self._console = console
        self._frozen = frozen
        self._report = b""
        self._status: int | None = None
        self._phase = "boot" if frozen is None else "thaw"
        self._patience: Patience
        self._began: Instant
        self._phase_began: Instant

    def run(self, session: GuestSession, *, rw: Path, stdin: int, stdout: int, stderr: int) -> int:
        """Carry bytes until the guest has ended; return the exit status of its Python (128 + N: killed by signal N).

        Raises `GuestLost`, with the console's tail, when the guest dies or passes one of its deadlines.
        """
        with contextlib.ExitStack() as stack:
            state = None if self._frozen is None else stack.enter_context(self._opened(self._frozen)).fileno()
            qemu = stack.enter_context(Qemu(self._machine, rw=rw, state=state))
            self._patience = Patience(qemu.pid, always_works=self._settings.clock == "virtual")
            self._began = self._phase_began = self._patience.now()
            self._console.mark("power-on" if self._frozen is None else "thawing")
            outward = self._carry(qemu, session, stdin, stdout, stderr)
            for stream in outward:
                while stream.read():
                    pass
                while stream.pending:
                    stream.write()
            how = qemu.why_it_ended()
        self._console.mark("power-off")
        if self._status is None:
            raise self._lost(how)
        return self._status

    def _opened(self, state: Path) -> BinaryIO:
        try:
            return state.open("rb", buffering=0)
        except OSError as error:
            raise NotThawed(f"the frozen guest {state} cannot be read ({error.strerror})") from None

    def _carry(self, qemu: Qemu, session: GuestSession, stdin: int, stdout: int, stderr: int) -> list[ByteStream]:
        """Carry bytes until QEMU has ended; return the streams that may still have output of the guest."""
        script = session.script().encode()
        port = {name: end.fileno() for name, end in qemu.ports.items()}

        def end_of_input() -> None:
            with contextlib.suppress(OSError):
                qemu.ports["stdin"].shutdown(socket.SHUT_WR)
            if self._settings.gateway:
                self._enter("leave", "end of input")

        inward = ByteStream(source=stdin, sink=port["stdin"], ended=end_of_input)
        outward = [
            ByteStream(source=port["stdout"], sink=stdout),
            ByteStream(source=port["stderr"], sink=stderr),
            ByteStream(source=port["control"], received=self._reported),
            ByteStream(source=qemu.console, received=self._console.write),
        ]
        session_script = ByteStream(sink=port["control"], pending=b"%d\n%b" % (len(script), script))
        moved, last = 0, self._began
        while True:
            # Input is not read until Python runs, so that a guest that does not thaw has used none of it.
            streams = [session_script, *outward] if self._phase in ("boot", "thaw") else [inward, *outward]
            ready = wait(streams, also=qemu.ended, timeout_s=self._remaining(last))
            for stream in streams:
                stream.step(ready)
            if qemu.ended in ready:
                return outward
            if self._phase == "gateway" and outward[0].moved:
                self._enter("run", "first byte")
            total = sum(stream.moved for stream in (inward, session_script, *outward))
            if total != moved:
                moved, last = total, self._patience.now()

    def _remaining(self, last: Instant) -> float:
        """Return the seconds to the nearest deadline; `last` is when bytes last moved. Raises when one has passed."""
        limits, passed_s = self._settings, self._patience.passed_s
        left = [(limits.silence_s - passed_s(last), f"sent nothing for {limits.silence_s:.0f} s")]
        if limits.overall_s is not None:
            left.append((limits.overall_s - passed_s(self._began), f"was not finished after {limits.overall_s:.0f} s"))
        phases = {
            "thaw": (_THAW_S, "did not resume from its frozen state"),
            "boot": (limits.boot_s, "did not boot"),
            "gateway": (limits.gateway_s, "booted, but its Python did not answer"),
            "leave": (_LEAVE_S, "did not end after its input was closed"),
        }
        if self._phase in phases:
            allowed, what = phases[self._phase]
            left.append((allowed - passed_s(self._phase_began), f"{what} within {allowed:.0f} s"))
        left_s, reason = min(left)
        if left_s <= 0:
            raise self._lost(f"{reason} of host time")
        return left_s

    def _reported(self, text: bytes) -> None:
        *lines, self._report = (self._report + text).split(b"\n")
        for line in lines:
            event, _, rest = line.decode("ascii", "replace").partition(" ")
            if event == "hello":
                self._console.mark("init")
            elif event == "session" and self._phase == "thaw":
                self._enter("boot", "thawed")
            elif event == "start" and self._phase == "boot":
                self._enter("gateway" if self._settings.gateway else "run", "start of Python")
            elif event == "exit" and rest.isdigit():
                self._status = int(rest)
                self._console.mark(f"exit {rest}")

    def _enter(self, phase: str, event: str) -> None:
        self._phase, self._phase_began = phase, self._patience.now()
        self._console.mark(event)

    def _lost(self, reason: str) -> GuestLost:
        how = self._console.lose(reason)
        kept = self._settings.console
        where = f"; its console is in {kept}" if kept is not None else ""
        kind = NotThawed if self._phase == "thaw" else GuestLost
        return kind(f"the guest {self._settings.kernel} {how}{where}", self._console.tail)
