"""`rttcheck checks`: list all checks with reference and tolerance."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rttcheck.cli.exit_status import ExitStatus

if TYPE_CHECKING:
    from rttcheck.judge.check import Check

_EPILOG = """\
A check's id never changes, so that programs can rely on it. JSON and JUnit files and `rttcheck judge --check ID` use
it. The prefix "control:" marks a check of the control run.

examples:
  rttcheck checks
  rttcheck checks --layer link
  rttcheck checks --json | jq -r '.checks[] | [.id, .asserts] | @tsv'

exit status:
  0  the checks were printed
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``checks``."""
    parser = subparsers.add_parser(
        "checks",
        help="list all checks: what each asserts, its reference and its tolerance",
        description="List every check of a verdict, from the kernel's log to the injected latency.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--layer", metavar="LAYER", help="only this layer's checks, such as link, sample or arithmetic")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--markdown", action="store_true", help="print the page docs/checks.md")
    parser.set_defaults(run=run, refuse=parser.error)


def run(args: argparse.Namespace) -> int:
    """Print the checks and return the exit status."""
    from rttcheck.cli import output
    from rttcheck.report.check_table import document, markdown, render

    checks = all_checks()
    if args.layer is not None:
        layers = list(dict.fromkeys(check.layer.value for check in checks))
        if args.layer not in layers:
            args.refuse(f"there is no layer {args.layer}: choose from {', '.join(layers)}")
        checks = [check for check in checks if check.layer.value == args.layer]
    if args.json:
        output.write(document(checks))
    elif args.markdown:
        output.write(markdown(checks).rstrip("\n"))
    else:
        output.write(render(checks, width=output.columns(), colour=output.wants_colour(sys.stdout)))
    return ExitStatus.PASSED


def all_checks() -> Sequence[Check]:
    """Return the checks of recordings and of tool output, by layer."""
    from rttcheck.judge.checks import CHECKS
    from rttcheck.judge.findings import Layer
    from rttcheck.nettrace.display import TOOL_CHECKS

    return sorted((*CHECKS, *TOOL_CHECKS), key=lambda check: list(Layer).index(check.layer))
