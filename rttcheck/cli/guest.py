"""`rttcheck guest`: run a command in a freshly booted guest, with this machine's files and this terminal's streams.

The launcher boots, supervises and ends the guest.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from rttcheck.cli.exit_status import ExitStatus
from rttcheck.errors import KernelError

_EPILOG = """\
The guest's root is this machine's, read-only with a temporary layer on top; --rw shares one directory for writing.
Standard input, output and error of the command are those of rttcheck, but in the guest they are no terminal.

examples:
  rttcheck guest debian:6.12 -- uname -r
  rttcheck guest debian:6.1 -- rttcheck doctor
  rttcheck guest ./arch/x86/boot/bzImage --clock real -- cat /proc/version
  rttcheck guest debian:6.12 --rw ./out -- sh -c 'sysctl -a > ./out/sysctls'

exit status:
  that of the command (126 or 127 where it cannot be started); 4 for a kernel that does not exist or cannot be
  fetched; 20 when the guest died or hung; 130 after Ctrl-C
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``guest``."""
    parser = subparsers.add_parser(
        "guest",
        help="run a command in a guest, with this machine's files",
        description="Boot a kernel in QEMU and run a command in it.",
        usage="rttcheck guest [options] KERNEL -- COMMAND...",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kernel", metavar="KERNEL", help="debian:6.12, debian:6.12.107+deb13, or an image's path")
    parser.add_argument("command", metavar="COMMAND", nargs="+", help="the command to run there, after --")
    parser.add_argument(
        "--clock", choices=("virtual", "real"), default="virtual", help="clock of the guest (default: virtual)"
    )
    parser.add_argument("--rw", metavar="DIR", help="a directory that the guest may write to, at the same path")
    parser.add_argument("--console", metavar="FILE", help="write the guest's console to FILE")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Boot the guest, run the command, and return its exit status."""
    from rttcheck.kernels.guest import GuestSettings
    from rttcheck.kernels.launcher import main
    from rttcheck.kernels.spec import KernelSource, KernelSpec

    if KernelSpec.parse(args.kernel).source is KernelSource.HOST:
        raise KernelError("`rttcheck guest` boots a kernel, and host is the running one: name one, as in debian:6.12")
    settings = GuestSettings(
        kernel=args.kernel,
        clock=args.clock,
        rw=Path(args.rw) if args.rw else None,
        console=Path(args.console) if args.console else None,
    )
    # The launcher runs Python in the guest; there this module executes the command.
    return main(["--settings", settings.to_json(), "--", "-m", "rttcheck.cli.guest", *args.command])


def become(command: list[str]) -> int:
    """Replace this process by ``command``; return 126 or 127, as a shell does, if it cannot be started."""
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"rttcheck guest: {command[0]} cannot be run there ({error.strerror}): name a program", file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126


if __name__ == "__main__":
    sys.exit(become(sys.argv[1:]) if sys.argv[1:] else ExitStatus.USAGE)
