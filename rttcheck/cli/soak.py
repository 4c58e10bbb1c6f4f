"""`rttcheck soak`: the suite again and again, and how often a check failed that should not have.

Owns the command's arguments and which exit status a soak comes to.
"""

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
A suite is one session of pytest with every named scenario, as `pytest -m rtt` runs it. Kernels, clocks and loads take
turns. On a kernel that tells the truth every failure is a false alarm; failures per thousand checks are printed with
the exact (Clopper-Pearson) one-sided upper 95 % bound, also where none was seen. A guest that was lost is counted
apart. Recordings of what failed or was inconclusive stay beside the output, in NAME.recordings; the others are deleted.
Ctrl-C (or SIGTERM) ends with the report so far, and --resume goes on after it.

examples:
  rttcheck soak --runs 300 --clock virtual       the aim: no failure in 300 suites in virtual time
  rttcheck soak --for 90m --kernel debian:6.1 --kernel debian:6.12
  rttcheck soak --runs 10 --boot fresh --clock virtual --scenario rtt-40ms
                                                 is the median the same to 1 us over ten boots, with and without load?
  rttcheck soak --resume                         go on with an interrupted one
  jq '.report.conditions' .rttcheck/soak.json

exit status:
  0   no check failed
  1   a check failed, or a scenario came to no verdict
  2   interrupted: Ctrl-C, SIGTERM, or nobody reads the output any more; the report is of what was done
  3   it could not be done; the sentence says what to do, the report is of what was done
  4   the command line makes no sense: an unknown scenario, no such kernel, an output that is another soak's
  20  no check failed and a guest was lost: its scenarios neither passed nor failed
"""

_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600}


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``soak``."""
    parser = subparsers.add_parser(
        "soak",
        help="run the suite repeatedly and count false alarms",
        description="Run the suite repeatedly, under each clock and with and without load, and count what fails.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    much = parser.add_argument_group("how much")
    much.add_argument(
        "--runs", type=_count, default=10, metavar="N", help="suites under each kernel, clock and load (default: 10)"
    )
    much.add_argument(
        "--for", type=_seconds, dest="seconds", metavar="TIME", help="begin no suite after this: 90s, 90m, 8h"
    )
    much.add_argument(
        "--scenario", action="append", metavar="NAME", help="only this one; may be given repeatedly (default: all)"
    )
    under = parser.add_argument_group("under what")
    under.add_argument(
        "--kernel",
        action="append",
        metavar="auto|host|SPEC",
        help="as for `rttcheck run`; may be given repeatedly (default: auto)",
    )
    under.add_argument(
        "--clock",
        choices=("virtual", "real", "both"),
        default="both",
        help="of guests; the running kernel's is real (default: both)",
    )
    under.add_argument(
        "--load",
        choices=("none", "busy", "both"),
        default="both",
        help="busy: a process that only runs on each of this machine's processors (default: both)",
    )
    under.add_argument(
        "--boot",
        choices=("thawed", "fresh"),
        default="thawed",
        help="guests in virtual time go on from a frozen one, as in any session (default), or boot anew for each suite",
    )
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, metavar="FILE", help=f"every suite, as JSON (default: {OUTPUT})"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the soak in that file, if there is one")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do what ``args`` say and return the exit status."""
    from rttcheck.cli import output
    from rttcheck.soak import report
    from rttcheck.soak.condition import conditions
    from rttcheck.soak.display import shown
    from rttcheck.soak.ledger import opened
    from rttcheck.soak.soak import Plan, carry_out

    scenarios = chosen(args.scenario or [])
    with opened(args.output, scenarios=scenarios, boot=args.boot, resume=args.resume) as ledger:
        plan = Plan(
            conditions=conditions(_kernels(args.kernel or ["auto"]), args.clock, args.load),
            runs=args.runs,
            seconds=args.seconds,
        )
        _fetch(plan.conditions)
        with shown(plan.suites, len(ledger.suites), terminal=output.wants_colour(sys.stderr)) as display:
            ending = carry_out(plan, ledger, display)
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
    """The scenarios of the suite in their own order, or those of them that are named; ScenarioError for others."""
    from rttcheck.scenario.library import NAMED

    for name in names:
        if name not in NAMED:
            raise ScenarioError(f"--scenario {name!r} is no named scenario: there are {', '.join(NAMED)}")
    return tuple(name for name in NAMED if not names or name in names)


def status_of_all(ledger: Ledger) -> ExitStatus:
    """What the suites come to: a failure anywhere counts more than a lost guest."""
    from rttcheck.soak.suite import LOST

    if any(suite.failed_checks for suite in ledger.suites):
        return ExitStatus.FAILED
    return ExitStatus.LOST if any(suite.count(LOST) for suite in ledger.suites) else ExitStatus.PASSED


def _kernels(asked: list[str]) -> list[str]:
    """As asked for, with what ``auto`` stands for in its place, told with its reasons."""
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
    """Have every kernel at hand before the first suite is timed. Raises KernelError for what is none."""
    from rttcheck.kernels.archive import fetch
    from rttcheck.kernels.spec import KernelSpec

    for kernel in dict.fromkeys(condition.kernel for condition in wanted):
        spec = KernelSpec.parse(kernel)
        if kernel != "host":
            fetch(spec)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of suites: give 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    found = _TIME.fullmatch(text.strip())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else math.nan
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write a number and a unit, as in 90s, 90m or 8h")
    return seconds
