"""`rttcheck doctor`: show what this machine supports, what is missing with the remedy, and what `auto` would use."""

from __future__ import annotations

import argparse
import sys

from rttcheck.cli.exit_status import ExitStatus

_EPILOG = """\
Each line is the result of a real test, in network namespaces that are removed afterwards. A remedy is a command to
run or a setting to change. The last line shows what `rttcheck run` and `pytest -m rtt` would use, and why.

examples:
  sudo rttcheck doctor
  rttcheck doctor --json | jq '.capabilities[] | select(.found | not)'

exit status:
  0  scenarios can be judged here: on the running kernel, or in a guest
  1  scenarios cannot be judged here: apply a remedy first
  3  the tests themselves could not be run; the message names the reason
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``doctor``."""
    parser = subparsers.add_parser(
        "doctor",
        help="show what this machine supports, what is missing, and the remedies",
        description="Test everything that is needed to judge a kernel: the running one, or another in a guest.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Test the machine, print the result, and return the exit status."""
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
