"""The command line `rttcheck`: arguments, error messages and exit statuses.

Importing it is cheap, because guests import it too: each command imports what it needs when it runs.
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
  rttcheck doctor                      show what this machine supports, what is missing, and the remedies
  rttcheck run --list                  list the named scenarios and what each injects
  rttcheck run rtt-40ms loss           run two of them on the running kernel, or in a guest where it cannot be judged
  rttcheck run --kernel debian:6.1 rtt-40ms
                                       run a scenario on another kernel, in a guest
  rttcheck run links.toml              run all scenarios of a file
  rttcheck run --keywords              list the keywords that a scenario may have
  rttcheck matrix debian:6.1 debian:6.12
                                       run all named scenarios on two kernels and print one table
  rttcheck compare debian:6.1 debian:6.12
                                       measure how two kernels differ, to the microsecond, and at which stage
  rttcheck judge loss.rttrec           judge an earlier run again, from its recording
  rttcheck checks                      list all checks with reference and tolerance
  rttcheck packets loss.rttrec --point client | wireshark -k -i -
                                       show the packets of that run in Wireshark
  rttcheck soak --runs 300 --clock virtual
                                       run the suite 300 times and count false alarms
  rttcheck trace                       show the round-trip times that this machine's TCP measures
  rttcheck guest debian:6.12 -- uname -r
                                       run a command in a guest, with this machine's files
  rttcheck kernels list                list the kernels for guests, and which are cached

{STATUSES}
`rttcheck COMMAND --help` describes each command. `pytest -m rtt` runs the same checks from pytest.
"""


class Parser(argparse.ArgumentParser):
    """argparse with pytest's exit statuses: a usage error ends with 4 instead of 2, which means interrupted."""

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        """Print the help; unlike argparse, raise when it cannot be written."""
        if file is not None:
            return super().print_help(file)
        return output.write(self.format_help().rstrip("\n"))

    def error(self, message: str) -> NoReturn:
        """Print the usage and ``message``, and exit with the usage error's status."""
        self.print_usage(sys.stderr)
        self.exit(ExitStatus.USAGE, f"{self.prog}: {message} (see `{self.prog} --help`)\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    from rttcheck import __version__
    from rttcheck.cli import checks, compare, doctor, guest, judge, kernels, matrix, packets, run, soak, trace

    parser = Parser(
        prog="rttcheck",
        description="Check the TCP round-trip times that a Linux kernel reports. rttcheck injects a known latency,\n"
        "reads every sample that the kernel takes, and names the guilty layer of a failure: link, stack or observer.",
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

    An expected error is one message on standard error. Raises SystemExit for `--help` and for usage errors, as argparse
    does. SIGTERM is handled like Ctrl-C.
    """
    try:
        try:
            args = build_parser().parse_args(argv)
            with interrupted_by_sigterm():
                status = int(args.run(args))
        except SystemExit:
            output.flush()
            raise
        # Flushed here: at the interpreter's exit a write error would be a traceback.
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
