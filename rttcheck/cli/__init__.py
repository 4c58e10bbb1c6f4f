"""The command line: `rttcheck doctor`, `run`, `judge`, `trace`, `guest`.

Owns the program's arguments, its sentences on standard error and its exit statuses; what is done is done elsewhere.
Importing it is cheap, because it is imported in guests too: each command imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from rttcheck.cli.exit_status import STATUSES, ExitStatus, status_of

_EPILOG = f"""\
examples:
  rttcheck doctor                      what this machine can do, what is missing, and how to get it
  rttcheck run --list                  the scenarios that have a name, and what each injects
  rttcheck run rtt-40ms loss           two of them, on the running kernel if it can be judged, else in a guest
  rttcheck run --kernel debian:6.1 rtt-40ms
                                       the same question to another kernel
  rttcheck run links.toml              all scenarios of a file
  rttcheck judge loss.rttrec           the verdict of an earlier run again, from its recording
  rttcheck trace                       watch the round trips that this machine's TCP measures
  rttcheck guest debian:6.12 -- uname -r
                                       a command in a guest, with this machine's files

{STATUSES}
`rttcheck COMMAND --help` teaches each command. The same checks from pytest: `pytest -m rtt`.
"""


class Parser(argparse.ArgumentParser):
    """argparse ends with 2 on arguments that make no sense; here, as in pytest, that is 4 and 2 is an interruption."""

    def error(self, message: str) -> NoReturn:
        """One sentence after the usage, and the status."""
        self.print_usage(sys.stderr)
        self.exit(ExitStatus.USAGE, f"{self.prog}: {message} (see `{self.prog} --help`)\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line, each command's from its own module."""
    from rttcheck import __version__
    from rttcheck.cli import doctor, guest, judge, run, trace

    parser = Parser(
        prog="rttcheck",
        description="Are the TCP round-trip times that a Linux kernel reports true? rttcheck injects a latency, reads\n"
        "every sample that the kernel takes, and names who is lying: the link, the stack or the observer.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rttcheck {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (doctor, run, judge, trace, guest):
        command.register(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` (default: the process's own arguments) names, and return the exit status.

    What is wrong is one sentence on standard error. Exits by SystemExit for `--help` and for arguments that make no
    sense, as argparse does.
    """
    try:
        args = build_parser().parse_args(argv)
        status = int(args.run(args))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _end("interrupted", ExitStatus.INTERRUPTED)
    except BrokenPipeError:
        # Whoever read has seen enough; what is still in the buffer must not be tried again at exit.
        _abandon_stdout()
        return ExitStatus.INTERRUPTED
    except Exception as error:
        known = status_of(error)
        if known is None:
            raise
        return _end(*known)
    return status


def _end(sentence: str, status: ExitStatus) -> int:
    print(f"rttcheck: {sentence}", file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:
        _abandon_stdout()
    return status


def _abandon_stdout() -> None:
    import os

    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
