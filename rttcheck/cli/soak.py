"""`rttcheck soak`: run the suite repeatedly and count false alarms."""

from __future__ import annotations

import argparse
import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rttcheck.cli.exit_status import ExitStatus, status_of
from rttcheck.errors import ScenarioError

if TYPE_CHECKING:
    from rttcheck.soak.condition import Condition
    from rttcheck.soak.ledger import Ledger

OUTPUT: Final = Path(".rttcheck") / "soak.json"

_EPILOG = """\
A suite is one pytest session with every named scenario, as `pytest -m rtt` runs it. Kernels, clocks and loads alternate
from suite to suite. On a correct kernel every failure is a false alarm. The report gives failures per thousand checks
with the exact (Clopper-Pearson) one-sided upper 95 % bound, also for zero failures. Lost guests are counted separately.
Recordings of failed and inconclusive scenarios are kept beside the output, in NAME.recordings; others are deleted.
Ctrl-C (or SIGTERM) ends with the report so far, and --resume continues.

examples:
  rttcheck soak --runs 300 --clock virtual       the goal: no failure in 300 suites in virtual time
  rttcheck soak --for 90m --kernel debian:6.1 --kernel debian:6.12
  rttcheck soak --runs 10 --boot fresh --clock virtual --scenario rtt-40ms
                                                 do medians agree to 1 us over ten boots, with and without load?
  rttcheck soak --resume                         continue an interrupted soak
  jq '.report.conditions' .rttcheck/soak.json

exit status:
  0   no check failed
  1   a check failed, or a scenario had no verdict
  2   interrupted by Ctrl-C, SIGTERM or a closed output pipe; the report covers the finished suites
  3   not possible here; the message names the remedy, the report covers the finished suites
  4   usage error: an unknown scenario or kernel, or an output file of another soak
  20  no check failed and a guest was lost: its scenarios neither passed nor failed
"""

_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600}


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``soak``."""
    parser = subparsers.add_parser(
        "soak",
        help="run the suite repeatedly and count false alarms",
        description="Run the suite repeatedly, under each clock and with and without load, and count failures.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    much = parser.add_argument_group("amount")
    much.add_argument(
        "--runs", type=_count, default=10, metavar="N", help="suites for each kernel, clock and load (default: 10)"
    )
    much.add_argument(
        "--for", type=_seconds, dest="seconds", metavar="TIME", help="start no suite after this time: 90s, 90m, 8h"
    )
    much.add_argument(
        "--scenario", action="append", metavar="NAME", help="only this scenario; repeatable (default: all)"
    )
    under = parser.add_argument_group("conditions")
    under.add_argument(
        "--kernel",
        action="append",
        metavar="auto|host|SPEC",
        help="as for `rttcheck run`; repeatable (default: auto)",
    )
    under.add_argument(
        "--clock",
        choices=("virtual", "real", "both"),
        default="both",
        help="clock of guests; the running kernel's is real (default: both)",
    )
    under.add_argument(
        "--load",
        choices=("none", "busy", "both"),
        default="both",
        help="busy: a busy-looping process on each of this machine's processors (default: both)",
    )
    under.add_argument(
        "--boot",
        choices=("thawed", "fresh"),
        default="thawed",
        help="guests in virtual time start from a snapshot, as in any session (default), or boot afresh for each suite",
    )
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, metavar="FILE", help=f"file for all suites, as JSON (default: {OUTPUT})"
    )
    parser.add_argument("--resume", action="store_true", help="continue the soak in that file, if there is one")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the soak, print the report, and return the exit status."""
    from rttcheck.cli import output
    from rttcheck.soak import report
    from rttcheck.soak.condition import conditions
    from rttcheck.soak.display import shown_soak
    from rttcheck.soak.ledger import opened
    from rttcheck.soak.soak import SoakPlan, run_soak

    scenarios = chosen(args.scenario or [])
    with opened(args.output, scenarios=scenarios, boot=args.boot, resume=args.resume) as ledger:
        plan = SoakPlan(
            conditions=conditions(_kernels(args.kernel or ["auto"]), args.clock, args.load),
            runs=args.runs,
            seconds=args.seconds,
        )
        _fetch(plan.conditions)
        with shown_soak(plan.suites, len(ledger.suites), terminal=output.wants_colour(sys.stderr)) as display:
            ending = run_soak(plan, ledger, display)
        output.write(report.text(ledger, output.columns()))
    if isinstance(ending, KeyboardInterrupt):
        print(f"rttcheck: interrupted: {len(ledger.suites)} of {plan.suites} suites were done", file=sys.stderr)
        return ExitStatus.INTERRUPTED
    if ending is not None:
        sentence, status = status_of(ending) or (str(ending), ExitStatus.UNABLE)
        print(f"rttcheck: {sentence}", file=sys.stderr)
        return status
    return status_of_all(ledger)


def chosen(names: list[str]) -> tuple[str, ...]:
    """Return the suite's scenarios, or only ``names``, in the suite's order. Raises ScenarioError for other names."""
    from rttcheck.scenario.library import NAMED

    for name in names:
        if name not in NAMED:
            raise ScenarioError(f"--scenario {name!r} is not a named scenario: choose from {', '.join(NAMED)}")
    return tuple(name for name in NAMED if not names or name in names)


def status_of_all(ledger: Ledger) -> ExitStatus:
    """Return the exit status of all suites: failed before lost before passed."""
    from rttcheck.soak.suite import LOST

    if any(suite.failed_checks for suite in ledger.suites):
        return ExitStatus.FAILED
    return ExitStatus.LOST if any(suite.count(LOST) for suite in ledger.suites) else ExitStatus.PASSED


def _kernels(asked: list[str]) -> list[str]:
    """Return the kernels with ``auto`` replaced by its choice, whose reasons are printed."""
    kernels = []
    for kernel in asked:
        if kernel == "auto":
            from rttcheck.doctor.capabilities import capabilities
            from rttcheck.doctor.kernel_choice import choose_kernel

            choice = choose_kernel(capabilities())
            why = "; ".join(choice.reasons)
            print(f"rttcheck: auto is {choice.kernel} ({why})", file=sys.stderr)
            kernel = choice.kernel
        kernels.append(kernel)
    return kernels


def _fetch(wanted: tuple[Condition, ...]) -> None:
    """Fetch every kernel before the first suite is timed. Raises KernelError for an invalid one."""
    from rttcheck.kernels.archive import fetch
    from rttcheck.kernels.spec import KernelSpec

    for kernel in dict.fromkeys(condition.kernel for condition in wanted):
        spec = KernelSpec.parse(kernel)
        if kernel != "host":
            fetch(spec)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of suites: give 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    found = _TIME.fullmatch(text.strip())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else math.nan
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time: write a number and a unit, as in 90s, 90m or 8h")
    return seconds
