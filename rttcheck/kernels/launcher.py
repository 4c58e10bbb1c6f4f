"""Boot a guest and run this Python in it: ``python -m rttcheck.kernels.launcher --kernel SPEC -- ARGS``.

The launcher runs one QEMU from power-on to its end: bytes in both directions, deadlines in host time, the console file.
Its exit status is that of the guest's Python, or `EXIT_LOST` for a guest that died or hung. QEMU ends with it. Programs
pass all settings as one option, ``--settings JSON`` (`GuestSettings.to_json`).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import BinaryIO

from rttcheck.errors import GuestLost, KernelError
from rttcheck.kernels.archive import at_hand
from rttcheck.kernels.cache import cache_root, say
from rttcheck.kernels.console import Console
from rttcheck.kernels.emulator import Emulator, NotThawed
from rttcheck.kernels.frozen import FrozenGuest, discard, empty_directory, frozen_guest
from rttcheck.kernels.guest import BOOT_VARIABLE, EXIT_LOST, EXIT_USAGE, GuestSettings
from rttcheck.kernels.initramfs import initramfs_of
from rttcheck.kernels.kernel import BootableKernel
from rttcheck.kernels.kvm import DEVICE, kvm_works
from rttcheck.kernels.machine import GuestMachine
from rttcheck.kernels.parent_death import exit_when_parent_dies
from rttcheck.kernels.python_image import PythonImage
from rttcheck.kernels.session import GuestSession

_PASSED_ON = (
    "COLUMNS",
    "FORCE_COLOR",
    "HYPOTHESIS_",
    "LANG",
    "LC_",
    "NO_COLOR",
    "PYTEST_",
    "PYTHON",
    "PY_",
    "RTTCHECK_",
)
"""Names, or prefixes of names, of variables that are passed on to the guest."""


def guest_environment(settings: GuestSettings, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the guest's Python; `environment` is the launcher's."""
    passed = {name: value for name, value in environment.items() if name.startswith(_PASSED_ON) and name.isidentifier()}
    return {
        **passed,
        "HOME": environment.get("HOME", "/root"),
        "PATH": environment.get("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        "NPY_DISABLE_CPU_FEATURES": _without_avx2(),
        # The plugin imports all of hypothesis at the end of a session: 9 s of emulation.
        "PYTEST_ADDOPTS": f"{environment.get('PYTEST_ADDOPTS', '')} -p no:hypothesispytest".strip(),
        "PYTHONDONTWRITEBYTECODE": "1",
        "RTTCHECK_CLOCK": settings.clock,
        "RTTCHECK_GUEST": "1",
        "RTTCHECK_KERNEL": settings.kernel,
        "TMPDIR": "/tmp",
        **dict(settings.environment),
    }


def _without_avx2() -> str:
    """Return NumPy's name of the processor feature that it must not use: another name is a warning as it is imported.

    QEMU 7.2 emulates AVX2 wrongly: NumPy's argsort came out unsorted in 39 of 100 cases, and a sound kernel failed.
    """
    major, minor = (int(part) for part in metadata.version("numpy").split(".")[:2])
    return "X86_V3" if (major, minor) >= (2, 4) else "AVX2"


def session_of(kernel: BootableKernel, settings: GuestSettings, arguments: Sequence[str]) -> GuestSession:
    """Return the session that runs this Python with `arguments`, in ``settings.cwd`` or else in this directory."""
    return GuestSession(
        argv=[sys.executable, *arguments],
        cwd=settings.cwd if settings.cwd is not None else Path.cwd(),
        environment=guest_environment(settings, os.environ),
        modules=kernel.modules,
        rw=settings.rw,
        rw_at=settings.rw_at,
        binds=settings.binds,
    )


def command_parser() -> argparse.ArgumentParser:
    """Return the parser of the launcher's options."""
    parser = argparse.ArgumentParser(
        prog="python -m rttcheck.kernels.launcher",
        description="Boot a kernel in QEMU with this machine's files and run this Python in it.",
    )
    guest = parser.add_mutually_exclusive_group(required=True)
    guest.add_argument("--kernel", metavar="SPEC", help="debian:6.12, debian:6.12.107+deb13 or a path")
    guest.add_argument("--settings", metavar="JSON", help="all settings of the guest, as programs pass them")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="-- ARGS", help="arguments for Python")
    return parser


def settings_of(options: argparse.Namespace) -> GuestSettings:
    """Return the settings that the parsed options describe. Raises `KernelError` for invalid ones."""
    if options.settings is not None:
        return GuestSettings.of_json(options.settings)
    return GuestSettings(kernel=options.kernel)


def _terminated(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def launch(settings: GuestSettings, arguments: Sequence[str]) -> int:
    """Run this Python with `arguments` in a guest, on this process' standard streams; return its exit status.

    Raises `KernelError` when the kernel does not exist or cannot be booted, or when ``rw`` is not a directory, and
    `GuestLost` when the guest dies or hangs.
    """
    if settings.rw is not None:
        if not settings.rw.is_dir():
            raise KernelError(f"--rw {settings.rw} is no directory; make it first")
        settings = replace(settings, rw=settings.rw.resolve())
    with at_hand(settings.kernel) as kernel:
        return _launch(kernel, settings, arguments)


def _launch(kernel: BootableKernel, settings: GuestSettings, arguments: Sequence[str]) -> int:
    root = cache_root()
    machine = _machine(kernel, settings, root)
    with contextlib.ExitStack() as stack:
        file: BinaryIO | None = None
        if settings.console is not None:
            file = stack.enter_context(_console_file(settings.console))
        console = Console(file)
        session = session_of(kernel, settings, arguments)
        frozen: FrozenGuest | None = None
        if settings.clock == "virtual" and not settings.fresh and os.environ.get(BOOT_VARIABLE) != "fresh":
            frozen = frozen_guest(
                machine,
                PythonImage.of(session.environment),
                label=kernel.release,
                root=root,
                boot_s=settings.boot_s,
                console=console,
                progress=say,
            )
        rw = settings.rw if settings.rw is not None else empty_directory(root)
        if frozen is not None:
            warm = replace(session, python=frozen.python, forget=frozen.changed)
            emulator = Emulator(frozen.machine, settings, console, frozen=frozen.state)
            try:
                return emulator.run(warm, rw=rw, stdin=0, stdout=1, stderr=2)
            except NotThawed as lost:
                discard(frozen.state)
                say(f"{lost}; booting it instead")
        return Emulator(machine, settings, console, frozen=None).run(session, rw=rw, stdin=0, stdout=1, stderr=2)


def _machine(kernel: BootableKernel, settings: GuestSettings, root: Path) -> GuestMachine:
    """Return an emulated machine, or one with KVM for real time where KVM works."""
    initramfs = initramfs_of(kernel, root)
    if settings.clock == "real" and os.access(DEVICE, os.R_OK | os.W_OK):
        fast = GuestMachine.build(kernel, settings, initramfs=initramfs, kvm=True)
        if kvm_works(fast, root=root):
            return fast
    return GuestMachine.build(kernel, settings, initramfs=initramfs)


def _console_file(path: Path) -> BinaryIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("wb", buffering=0)
    except OSError as error:
        raise KernelError(f"the console cannot be written to {path} ({error.strerror}); give another file") from error


def _mark_failure(path: Path, how: str) -> None:
    """Write to the console file, too, why there is no guest: its reader may not see standard error."""
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        Console(file).lose(how)


def main(command_line: Sequence[str] | None = None) -> int:
    """Run the launcher; return its exit status."""
    parent = os.getppid()
    with _ended_by(signal.SIGTERM, signal.SIGHUP):
        exit_when_parent_dies(parent)
        return _run(command_line)


@contextlib.contextmanager
def _ended_by(*signals: signal.Signals) -> Iterator[None]:
    """While the context lasts, raise SystemExit on each of these signals; that ends QEMU as well."""
    before = {number: signal.signal(number, _terminated) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(command_line: Sequence[str] | None) -> int:
    options = command_parser().parse_args(command_line)
    arguments = options.arguments[1:] if options.arguments[:1] == ["--"] else options.arguments
    settings: GuestSettings | None = None
    try:
        settings = settings_of(options)
        return launch(settings, arguments)
    except KernelError as error:
        print(f"rttcheck: {error}", file=sys.stderr, flush=True)
        if settings is not None and settings.console is not None:
            _mark_failure(settings.console, f"could not be started: {error}")
        return EXIT_USAGE
    except GuestLost as lost:
        # A controller that keeps the console reports its end itself, once for all tests that were lost.
        reported = settings is not None and settings.gateway and settings.console is not None
        tail = "" if reported else f"\n{lost.console_tail}"
        print(f"rttcheck: {lost}{tail}", file=sys.stderr, flush=True)
        return EXIT_LOST
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
