"""The command line: `rttcheck doctor`, `run`, `matrix`, `compare`, `judge`, `packets`, `soak`, `trace` and others.

Owns the program's arguments, its sentences on standard error and its exit statuses; what is done is done elsewhere.
Importing it is cheap, because it is imported in guests too: each command imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from rttcheck.cli import output
from rttcheck.cli.exit_status import STATUSES, ExitStatus, status_of
from rttcheck.interruption import interrupted_by_sigterm

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

_EPILOG = f"""\
examples:
  rttcheck doctor                      what this machine can do, what is missing, and how to get it
  rttcheck run --list                  the scenarios that have a name, and what each injects
  rttcheck run rtt-40ms loss           two of them, on the running kernel if it can be judged, else in a guest
  rttcheck run --kernel debian:6.1 rtt-40ms
                                       the same question to another kernel
  rttcheck run links.toml              all scenarios of a file
  rttcheck matrix debian:6.1 debian:6.12
                                       all of them on two kernels, the answers beside each other
  rttcheck compare debian:6.1 debian:6.12
                                       what two kernels do differently, to the microsecond, and where
  rttcheck judge loss.rttrec           the verdict of an earlier run again, from its recording
  rttcheck checks                      all that is asserted of a kernel, and against what
  rttcheck packets loss.rttrec --point client | wireshark -k -i -
                                       what went over the wire in that run
  rttcheck soak --runs 300 --clock virtual
                                       how often does a check fail that should not?
  rttcheck trace                       watch the round trips that this machine's TCP measures
  rttcheck guest debian:6.12 -- uname -r
                                       a command in a guest, with this machine's files
  rttcheck kernels list                the kernels that guests can be, and which are at hand

{STATUSES}
`rttcheck COMMAND --help` teaches each command. The same checks from pytest: `pytest -m rtt`.
"""


class Parser(argparse.ArgumentParser):
    """argparse ends with 2 on arguments that make no sense; here, as in pytest, that is 4 and 2 is an interruption."""

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        """argparse says nothing when its help cannot be written."""
        if file is not None:
            return super().print_help(file)
        return output.write(self.format_help().rstrip("\n"))

    def error(self, message: str) -> NoReturn:
        """One sentence after the usage, and the status."""
        self.print_usage(sys.stderr)
        self.exit(ExitStatus.USAGE, f"{self.prog}: {message} (see `{self.prog} --help`)\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line, each command's from its own module."""
    from rttcheck import __version__
    from rttcheck.cli import checks, compare, doctor, guest, judge, kernels, matrix, packets, run, soak, trace

    parser = Parser(
        prog="rttcheck",
        description="Are the TCP round-trip times that a Linux kernel reports true? rttcheck injects a latency, reads\n"
        "every sample that the kernel takes, and names who is lying: the link, the stack or the observer.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rttcheck {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (doctor, run, matrix, compare, judge, checks, packets, soak, trace, guest, kernels):
        command.register(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` (default: the process's own arguments) names, and return the exit status.

    What is wrong is one sentence on standard error. Exits by SystemExit for `--help` and for arguments that make no
    sense, as argparse does. SIGTERM is to a command what Ctrl-C is.
    """
    try:
        try:
            args = build_parser().parse_args(argv)
            with interrupted_by_sigterm():
                status = int(args.run(args))
        except SystemExit:
            output.flush()
            raise
        # Not left to the interpreter's exit, where it could no longer be told in a sentence.
        output.flush()
    except KeyboardInterrupt:
        return _end("interrupted", ExitStatus.INTERRUPTED)
    except BrokenPipeError:
        return _end("", ExitStatus.INTERRUPTED)
    except Exception as error:
        known = status_of(error)
        if known is None:
            raise
        return _end(*known)
    return status


def _end(sentence: str, status: ExitStatus) -> int:
    if sentence:
        print(f"rttcheck: {sentence}", file=sys.stderr)
    with suppress(OSError, output.OutputRefused):
        output.flush()
    return status
