"""`rttcheck doctor`: what this machine can do, what it lacks and the exact remedy, and what `auto` would use.

Owns the command's arguments and its conclusion. It looks at nothing itself.
"""

from __future__ import annotations

import argparse
import sys

from rttcheck.cli.exit_status import ExitStatus

_EPILOG = """\
Each line is something that was tried for real, in network namespaces that are gone afterwards. A remedy is a command
to run, or what to change. The last line says what `rttcheck run` and `pytest -m rtt` would use, and why.

examples:
  sudo rttcheck doctor
  rttcheck doctor --json | jq '.capabilities[] | select(.found | not)'

exit status:
  0  scenarios can be judged here: on the running kernel, or in a guest
  1  they cannot: a remedy has to be followed first
  3  not even that could be found out; the sentence says why
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``doctor``."""
    parser = subparsers.add_parser(
        "doctor",
        help="what this machine can do, what is missing, how to get it",
        description="Look for everything that it takes to judge a kernel: the running one, or another in a guest.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="as JSON, for a program")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look, tell, and return whether a scenario could be judged here."""
    from rttcheck.cli import output
    from rttcheck.doctor.capabilities import capabilities
    from rttcheck.doctor.kernel_choice import choose_kernel
    from rttcheck.doctor.selection import pairs
    from rttcheck.errors import CapabilityError

    found = capabilities()
    choice, refusal = None, ""
    try:
        choice = choose_kernel(found)
    except CapabilityError as error:
        refusal = str(error)
    if args.json:
        from rttcheck.report.json_report import doctor_document

        output.write(doctor_document(found, choice, refusal, pairs(found)))
    else:
        from rttcheck.report.capability_table import render

        text = render(
            found,
            choice,
            refusal,
            pairs(found),
            width=output.columns(),
            colour=output.wants_colour(sys.stdout),
        )
        output.write(text)
    return ExitStatus.PASSED if choice is not None else ExitStatus.FAILED
