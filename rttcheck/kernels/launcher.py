"""Boot a guest and run this Python in it: ``python -m rttcheck.kernels.launcher --kernel SPEC -- ARGS``.

Owns one QEMU from power-on to its end: bytes in both directions, deadlines in host time, the console's file, the exit
status. It passes the status of the guest's Python on; a guest that died or hung is `EXIT_LOST`. QEMU never outlives it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from rttcheck.errors import GuestLost, KernelError
from rttcheck.kernels.archive import at_hand
from rttcheck.kernels.cache import cache_root, say
from rttcheck.kernels.console import Console
from rttcheck.kernels.emulator import Emulator, NotThawed
from rttcheck.kernels.frozen import discard, empty_directory, frozen_guest
from rttcheck.kernels.guest import BOOT_VARIABLE, CLOCKS, EXIT_LOST, EXIT_USAGE, GuestSettings
from rttcheck.kernels.initramfs import initramfs_of
from rttcheck.kernels.kernel import Kernel
from rttcheck.kernels.kvm import DEVICE, kvm_works
from rttcheck.kernels.machine import Machine
from rttcheck.kernels.parent_death import exit_when_parent_dies
from rttcheck.kernels.session import Session

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
"""Variables of these names (or prefixes) mean in the guest what they mean here."""


def guest_environment(settings: GuestSettings, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of the guest's Python; `environment` is the launcher's own."""
    passed = {name: value for name, value in environment.items() if name.startswith(_PASSED_ON) and name.isidentifier()}
    return {
        **passed,
        "HOME": environment.get("HOME", "/root"),
        "PATH": environment.get("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        # It imports all of hypothesis to say nothing at the end of a session: 9 s of emulation.
        "PYTEST_ADDOPTS": f"{environment.get('PYTEST_ADDOPTS', '')} -p no:hypothesispytest".strip(),
        "PYTHONDONTWRITEBYTECODE": "1",
        "RTTCHECK_CLOCK": settings.clock,
        "RTTCHECK_GUEST": "1",
        "RTTCHECK_KERNEL": settings.kernel,
        "TMPDIR": "/tmp",
        **dict(settings.environment),
    }


def session_of(kernel: Kernel, settings: GuestSettings, arguments: Sequence[str]) -> Session:
    """This very Python, with `arguments`, in this very directory or the one that was asked for."""
    return Session(
        argv=[sys.executable, *arguments],
        cwd=settings.cwd if settings.cwd is not None else Path.cwd(),
        environment=guest_environment(settings, os.environ),
        modules=kernel.modules,
        rw=settings.rw,
        rw_at=settings.rw_at,
        binds=settings.binds,
    )


def command_parser() -> argparse.ArgumentParser:
    """The launcher's options; what `GuestSettings.options` writes."""
    parser = argparse.ArgumentParser(
        prog="python -m rttcheck.kernels.launcher",
        description="Boot a kernel in QEMU with this machine's files and run this Python in it.",
    )
    parser.add_argument("--kernel", required=True, metavar="SPEC", help="debian:6.12, debian:6.12.107+deb13 or a path")
    parser.add_argument("--clock", choices=CLOCKS, default="virtual", help="virtual: exact, one CPU; real: as it comes")
    parser.add_argument("--console", type=Path, metavar="FILE", help="keep the guest's console in FILE")
    parser.add_argument("--rw", type=Path, metavar="DIR", help="a directory that the guest writes to, at the same path")
    parser.add_argument("--rw-at", type=Path, metavar="DIR", help="where the guest sees it, if at another path")
    parser.add_argument("--cwd", type=Path, metavar="DIR", help="the guest's directory, if not this one")
    parser.add_argument(
        "--bind",
        nargs=2,
        type=Path,
        action="append",
        default=[],
        metavar=("FROM", "AT"),
        help="show FROM at AT as well",
    )
    parser.add_argument("--cpus", type=int, default=2, help="CPUs of a guest in real time (virtual time has one)")
    parser.add_argument("--memory-mb", type=int, default=1024)
    parser.add_argument("--boot-s", type=float, default=90.0, help="deadline from power-on to Python, host seconds")
    parser.add_argument("--gateway-s", type=float, default=90.0, help="deadline from there to Python's first byte")
    parser.add_argument("--silence-s", type=float, default=300.0, help="deadline from one byte to the next")
    parser.add_argument("--overall-s", type=float, default=None, help="deadline for everything (none)")
    parser.add_argument("--gateway", action="store_true", help="standard input is a controller: end when it ends")
    parser.add_argument("--fresh", action="store_true", help="boot, though a frozen guest may be at hand")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="set in the guest")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="-- ARGS", help="arguments for Python")
    return parser


def settings_of(options: argparse.Namespace) -> GuestSettings:
    """The settings that parsed options mean; raises `KernelError` where they make no sense."""
    rw: Path | None = options.rw
    if rw is not None and not rw.is_dir():
        raise KernelError(f"--rw {rw} is no directory; make it first")
    pairs = [assignment.partition("=") for assignment in options.env]
    for name, equals, _ in pairs:
        if not equals or not name.isidentifier():
            raise KernelError(f"--env {name!r} is no assignment; write --env NAME=VALUE")
    return GuestSettings(
        kernel=options.kernel,
        clock=options.clock,
        console=options.console,
        rw=rw.resolve() if rw is not None else None,
        rw_at=options.rw_at,
        binds=tuple((source, place) for source, place in options.bind),
        cwd=options.cwd,
        cpus=options.cpus,
        memory_mb=options.memory_mb,
        boot_s=options.boot_s,
        gateway_s=options.gateway_s,
        silence_s=options.silence_s,
        overall_s=options.overall_s,
        gateway=options.gateway,
        fresh=options.fresh,
        environment=tuple((name, value) for name, _, value in pairs),
    )


def _terminated(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def launch(settings: GuestSettings, arguments: Sequence[str]) -> int:
    """Run this Python with `arguments` in a guest, on our standard streams; its exit status.

    Raises `KernelError` when there is no such kernel or no way to boot it, `GuestLost` when the guest dies or hangs.
    """
    with at_hand(settings.kernel) as kernel:
        return _launch(kernel, settings, arguments)


def _launch(kernel: Kernel, settings: GuestSettings, arguments: Sequence[str]) -> int:
    root = cache_root()
    machine = _machine(kernel, settings, root)
    with contextlib.ExitStack() as stack:
        file: BinaryIO | None = None
        if settings.console is not None:
            file = stack.enter_context(_console_file(settings.console))
        console = Console(file)
        frozen: Path | None = None
        if settings.clock == "virtual" and not settings.fresh and os.environ.get(BOOT_VARIABLE) != "fresh":
            frozen = frozen_guest(
                machine, label=kernel.release, root=root, boot_s=settings.boot_s, console=console, progress=say
            )
        session = session_of(kernel, settings, arguments)
        rw = settings.rw if settings.rw is not None else empty_directory(root)
        try:
            return Emulator(machine, settings, console, frozen=frozen).run(session, rw=rw, stdin=0, stdout=1, stderr=2)
        except NotThawed as lost:
            if frozen is not None:
                discard(frozen)
            say(f"{lost}; booting it instead")
        return Emulator(machine, settings, console, frozen=None).run(session, rw=rw, stdin=0, stdout=1, stderr=2)


def _machine(kernel: Kernel, settings: GuestSettings, root: Path) -> Machine:
    """Emulated, unless real time is asked for and KVM was seen to work."""
    initramfs = initramfs_of(kernel, root)
    if settings.clock == "real" and os.access(DEVICE, os.R_OK | os.W_OK):
        fast = Machine.build(kernel, settings, initramfs=initramfs, kvm=True)
        if kvm_works(fast, root=root):
            return fast
    return Machine.build(kernel, settings, initramfs=initramfs)


def _console_file(path: Path) -> BinaryIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("wb", buffering=0)
    except OSError as error:
        raise KernelError(f"the console cannot be kept in {path} ({error.strerror}); give another file") from error


def _mark(path: Path, how: str) -> None:
    """Say in the console's file, too, how there came to be no guest: who reads it may not see standard error."""
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        Console(file).lose(how)


def main(command_line: Sequence[str] | None = None) -> int:
    """The launcher; returns its exit status."""
    parent = os.getppid()
    with _ended_by(signal.SIGTERM, signal.SIGHUP):
        exit_when_parent_dies(parent)
        return _run(command_line)


@contextlib.contextmanager
def _ended_by(*signals: signal.Signals) -> Iterator[None]:
    """While the context lasts each of them is a SystemExit, which takes QEMU along."""
    before = {number: signal.signal(number, _terminated) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(command_line: Sequence[str] | None) -> int:
    options = command_parser().parse_args(command_line)
    arguments = options.arguments[1:] if options.arguments[:1] == ["--"] else options.arguments
    try:
        return launch(settings_of(options), arguments)
    except KernelError as error:
        print(f"rttcheck: {error}", file=sys.stderr, flush=True)
        if options.console is not None:
            _mark(options.console, f"could not be started: {error}")
        return EXIT_USAGE
    except GuestLost as lost:
        # A controller that keeps the console tells its end itself, once for all tests that were lost.
        tail = "" if options.gateway and options.console is not None else f"\n{lost.console_tail}"
        print(f"rttcheck: {lost}{tail}", file=sys.stderr, flush=True)
        return EXIT_LOST
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
