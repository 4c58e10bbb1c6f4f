"""Frozen guests: a guest is booted once, and its memory is saved for later sessions.

In virtual time a booted guest that waits for its session is always the same, so thawing it replaces an emulated boot
and the imports of Python. The state is saved when init reports ``hello``: before the host's files are mounted (QEMU
cannot save a mounted 9p), and before anything of a session is known. Python runs already then, from the initramfs, and
has imported what sessions need (`rttcheck.kernels.warm_python`).
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rttcheck.errors import GuestLost, KernelError
from rttcheck.kernels.boot import wait_for_init
from rttcheck.kernels.cache import Progress, exclusive, staged
from rttcheck.kernels.console import Console
from rttcheck.kernels.initramfs import add_python
from rttcheck.kernels.machine import GuestMachine
from rttcheck.kernels.pruning import keep_within_limit
from rttcheck.kernels.python_image import PythonImage
from rttcheck.kernels.qemu import Qemu

_MONITOR_S = 60.0
"""Deadline for an answer of QEMU's monitor, seconds of host time."""
_SAME = 10
"""Hexadecimal digits of a state's name for its machine and environment; the other six are for rttcheck's sources."""
_STATE, _INITRAMFS, _PYTHON, _SEEN = "state", "initramfs", "python", "seen"
"""Files of a frozen guest: its memory, the initramfs while it boots, one that is there if Python is inside, and the
names of states with other sources that were asked for."""
_KEPT = 2
"""Frozen guests kept of one kernel release: enough for two sessions with different settings at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenGuest:
    """A saved guest: its machine and the file of its state.

    ``python`` is the executable of the Python inside, empty if there is none; ``changed``: rttcheck's sources have
    changed since it was saved.
    """

    machine: GuestMachine
    state: Path
    python: str = ""
    changed: bool = False


def frozen_guest(
    machine: GuestMachine,
    python: PythonImage,
    *,
    label: str,
    root: Path,
    boot_s: float,
    console: Console,
    progress: Progress,
) -> FrozenGuest:
    """Return `machine` as it was saved after its boot, with `python` inside; boot and save it if there is none yet.

    A state with other sources of rttcheck is used the first time that these sources are seen, so that a changed file
    costs its import and not a boot; the second time a new state is saved. `label` is the kernel's release, `boot_s` the
    boot's deadline in seconds. Raises `GuestLost` when the guest does not boot, `KernelError` when the state cannot be
    saved.
    """
    inside = replace(machine, identity=f"{machine.identity} {python.key}")
    environment = inside.digest()[:_SAME]
    target = root / "frozen" / f"{label}.{environment}{python.sources[: 16 - _SAME]}"
    if not (target / _STATE).exists():
        older = _seen_first(target, label, environment)
        if older is not None:
            return _kept(older, inside, python, changed=True)
        with exclusive(root / "locks" / target.name, progress=progress):
            if not (target / _STATE).exists():
                progress(f"booting {label} for the first time")
                with staged(target) as staging:
                    _freeze(inside, python, staging, root=root, boot_s=boot_s, console=console, progress=progress)
                _prune(target, label)
    # A kernel built by the user is never fetched, so its frozen guests are counted here.
    with exclusive(root, progress=progress):
        keep_within_limit(root, keep=(label,), progress=progress)
    return _kept(target, inside, python, changed=False)


def _kept(target: Path, machine: GuestMachine, python: PythonImage, *, changed: bool) -> FrozenGuest:
    # The least recently used goes first, see `_prune`.
    with contextlib.suppress(OSError):
        os.utime(target)
    return FrozenGuest(
        machine=machine,
        state=target / _STATE,
        python=python.executable if (target / _PYTHON).exists() else "",
        changed=changed,
    )


def _seen_first(target: Path, label: str, environment: str) -> Path | None:
    """Return the newest state with other sources, if those of `target` are seen for the first time."""
    others = [found for found in target.parent.glob(f"{label}.{environment}*") if (found / _PYTHON).exists()]
    if not others:
        return None
    newest = max(others, key=_used)
    seen = newest / _SEEN
    with contextlib.suppress(OSError):
        if seen.exists() and target.name in seen.read_text().split():
            return None
        with seen.open("a") as file:
            file.write(f"{target.name}\n")
    return newest


def empty_directory(root: Path) -> Path:
    """Return an empty read-only directory, for guests that share no directory for writing."""
    empty = root / "empty"
    empty.mkdir(mode=0o555, parents=True, exist_ok=True)
    return empty


def discard(state: Path) -> None:
    """Remove a state that could not be resumed."""
    shutil.rmtree(state.parent, ignore_errors=True)


def _freeze(
    machine: GuestMachine,
    python: PythonImage,
    directory: Path,
    *,
    root: Path,
    boot_s: float,
    console: Console,
    progress: Progress,
) -> None:
    """Boot `machine` with `python` in its initramfs, and save its state in `directory`."""
    inside = directory / _INITRAMFS
    try:
        add_python(machine.initramfs, python, inside)
    except KernelError as error:
        progress(f"{error}; it starts with each session instead")
        shutil.copyfile(machine.initramfs, inside)
    with Qemu(replace(machine, initramfs=inside), rw=empty_directory(root)) as qemu:
        console.mark("power-on, to be frozen")
        if wait_for_init(qemu, console, deadline_s=boot_s, virtual=True):
            (directory / _PYTHON).touch()
        else:
            progress("Python did not start in the guest before it was frozen; it starts with each session instead")
        console.mark("init")
        monitor = _Monitor(qemu)
        # Not stopped first, because it would resume stopped. It waits for its session, so hardly anything changes.
        monitor.ask("migrate-set-capabilities", {"capabilities": [{"capability": "events", "state": True}]})
        monitor.ask("migrate-set-parameters", {"max-bandwidth": 1 << 40})
        state = directory / _STATE
        monitor.ask("migrate", {"uri": f"exec:cat > {shlex.quote(str(state))}"})
        monitor.wait_for_migration(state)
        console.mark("frozen")
    # It was read at power-on; a guest that is resumed never looks at it.
    inside.unlink()


def _prune(newest: Path, label: str) -> None:
    siblings = [found for found in newest.parent.glob(f"{label}.*") if found != newest]
    for old in sorted(siblings, key=_used, reverse=True)[_KEPT - 1 :]:
        shutil.rmtree(old, ignore_errors=True)


def _used(directory: Path) -> float:
    with contextlib.suppress(OSError):
        return directory.stat().st_mtime
    return 0.0


class _Monitor:
    """The part of QMP (docs/interop/qmp-spec.txt) that freezing needs."""

    def __init__(self, qemu: Qemu) -> None:
        qemu.monitor.settimeout(_MONITOR_S)
        self._file = qemu.monitor.makefile("rwb")
        self._read()
        self.ask("qmp_capabilities", {})

    def ask(self, command: str, arguments: Mapping[str, object]) -> None:
        """Send `command` and wait for its answer. Raises `GuestLost` when that is an error."""
        self._file.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        self._file.flush()
        while "return" not in (answer := self._read()):
            if "error" in answer:
                raise GuestLost(f"the guest cannot be frozen, QEMU refuses {command} ({answer['error']})")

    def wait_for_migration(self, state: Path) -> None:
        """Wait until everything is in `state`; QEMU reports that with an event."""
        while True:
            event = self._read()
            if event.get("event") == "MIGRATION":
                data = event.get("data")
                status = data.get("status") if isinstance(data, dict) else None
                if status == "completed":
                    return
                if status == "failed":
                    raise KernelError(
                        f"a booted guest cannot be saved in {state.parent.parent} (it takes 400 MB, and the disk "
                        "may be full); free some space or set RTTCHECK_CACHE"
                    )

    def _read(self) -> dict[str, object]:
        try:
            line = self._file.readline()
        except TimeoutError as error:
            raise GuestLost(f"the guest's QEMU did not answer within {_MONITOR_S:.0f} s") from error
        answer = json.loads(line) if line else {"error": "it has ended"}
        if not isinstance(answer, dict):
            raise GuestLost(f"the guest's QEMU sent {line!r}, which is no QMP")
        return answer
