"""Frozen guests: a guest is booted once, and its memory is kept for every session after that.

Owns making, keeping and finding them. In virtual time a booted guest that waits for its session is the same each time,
so nothing is lost by not booting it again: 10 s of emulation become 0.7 s. Frozen is what init says hello from: before
the host's files are mounted (QEMU cannot save a mounted 9p), and before anything of a session is known.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from rttcheck.errors import GuestLost, KernelError
from rttcheck.kernels.boot import wait_for_init
from rttcheck.kernels.cache import Progress, exclusive, staged
from rttcheck.kernels.console import Console
from rttcheck.kernels.machine import GuestMachine
from rttcheck.kernels.pruning import keep_within_limit
from rttcheck.kernels.qemu import Qemu

_MONITOR_S = 60.0
"""Deadline of one answer of QEMU's monitor, host seconds."""
_KEPT = 2
"""Frozen guests of one kernel release that are kept: two sessions with different settings do not thaw in turns."""


def frozen_guest(
    machine: GuestMachine, *, label: str, root: Path, boot_s: float, console: Console, progress: Progress
) -> Path:
    """The saved state of `machine` after its boot; made now when there is none yet.

    `label` says whose it is (the kernel's release); `boot_s` is the boot's deadline. Raises `GuestLost` when the guest
    does not boot, `KernelError` when the state cannot be kept.
    """
    target = root / "frozen" / f"{label}.{machine.digest()}"
    state = target / "state"
    if state.exists():
        # The least recently used goes first, see `_prune`.
        with contextlib.suppress(OSError):
            os.utime(target)
        return state
    with exclusive(root / "locks" / target.name, progress=progress):
        if not state.exists():
            progress(f"booting {label} for the first time")
            with staged(target) as staging:
                _freeze(machine, staging / "state", root=root, boot_s=boot_s, console=console)
            _prune(target, label)
    # A self-made kernel is never fetched, so its frozen guests are counted here.
    with exclusive(root, progress=progress):
        keep_within_limit(root, keep=(label,), progress=progress)
    return state


def empty_directory(root: Path) -> Path:
    """What a guest that may write nothing is given to write to."""
    empty = root / "empty"
    empty.mkdir(mode=0o555, parents=True, exist_ok=True)
    return empty


def thaw(state: Path) -> list[str]:
    """QEMU's options that make it go on from `state`."""
    return ["-incoming", f"exec:cat {shlex.quote(str(state))}"]


def discard(state: Path) -> None:
    """Throw a state away that did not thaw."""
    shutil.rmtree(state.parent, ignore_errors=True)


def _freeze(machine: GuestMachine, state: Path, *, root: Path, boot_s: float, console: Console) -> None:
    with Qemu(machine, rw=empty_directory(root)) as qemu:
        console.mark("power-on, to be frozen")
        wait_for_init(qemu, console, deadline_s=boot_s)
        console.mark("init")
        monitor = _Monitor(qemu)
        # It is not stopped first: it would come back stopped. It waits for its session, so it changes next to nothing.
        monitor.ask("migrate-set-capabilities", {"capabilities": [{"capability": "events", "state": True}]})
        monitor.ask("migrate-set-parameters", {"max-bandwidth": 1 << 40})
        monitor.ask("migrate", {"uri": f"exec:cat > {shlex.quote(str(state))}"})
        monitor.wait_for_migration(state)
        console.mark("frozen")


def _prune(newest: Path, label: str) -> None:
    def used(directory: Path) -> float:
        with contextlib.suppress(OSError):
            return directory.stat().st_mtime
        return 0.0

    siblings = [found for found in newest.parent.glob(f"{label}.*") if found != newest]
    for old in sorted(siblings, key=used, reverse=True)[_KEPT - 1 :]:
        shutil.rmtree(old, ignore_errors=True)


class _Monitor:
    """QMP (docs/interop/qmp-spec.txt), as much of it as freezing needs."""

    def __init__(self, qemu: Qemu) -> None:
        qemu.monitor.settimeout(_MONITOR_S)
        self._file = qemu.monitor.makefile("rwb")
        self._read()
        self.ask("qmp_capabilities", {})

    def ask(self, command: str, arguments: Mapping[str, object]) -> None:
        """Send `command` and wait for its answer; raises `GuestLost` when it is an error."""
        self._file.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        self._file.flush()
        while "return" not in (answer := self._read()):
            if "error" in answer:
                raise GuestLost(f"the guest cannot be frozen, QEMU refuses {command} ({answer['error']})")

    def wait_for_migration(self, state: Path) -> None:
        """Until everything is in `state`: QEMU says so with an event once it is asked for those."""
        while True:
            event = self._read()
            if event.get("event") == "MIGRATION":
                data = event.get("data")
                status = data.get("status") if isinstance(data, dict) else None
                if status == "completed":
                    return
                if status == "failed":
                    raise KernelError(
                        f"a booted guest cannot be kept in {state.parent.parent} (it takes 110 MB, and the disk may be "
                        "full); free some space or set RTTCHECK_CACHE"
                    )

    def _read(self) -> dict[str, object]:
        try:
            line = self._file.readline()
        except TimeoutError as error:
            raise GuestLost(f"the guest's QEMU did not answer within {_MONITOR_S:.0f} s") from error
        answer = json.loads(line) if line else {"error": "it is gone"}
        if not isinstance(answer, dict):
            raise GuestLost(f"the guest's QEMU said {line!r}, which is no QMP")
        return answer
