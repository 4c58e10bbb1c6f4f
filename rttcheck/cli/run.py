"""`rttcheck run SCENARIO…`: scenarios by name or from TOML files, judged on the running kernel or in a guest.

Owns the command's arguments, what of them makes no sense together, and which exit status a run comes to. The same
command with the hidden `--emit-rows` is the guest's side of it; on that path nothing heavy is imported.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from rttcheck.cli.exit_status import STATUSES
from rttcheck.doctor.choices import AUTO, ENGINES, PROBES
from rttcheck.errors import KernelError, ScenarioError

if TYPE_CHECKING:
    from rttcheck.cli.order import Order, Wanted
    from rttcheck.cli.progress import Progress

RECORDINGS = Path(".rttcheck") / "recordings"

_EPILOG = f"""\
A scenario is a name (--list shows them), a TOML file, or one scenario of a file (FILE.toml:NAME). A file holds a table
for each scenario; times have units, rtt is the round trip and out and back are the two directions:

  [scenario.far-away]
  rtt = "300ms"
  loss = "1%"

  [scenario.lopsided]
  out = "35ms"
  back = "5ms"

examples:
  rttcheck run --list
  rttcheck run rtt-40ms                        on the running kernel if it can be judged, else in a guest
  rttcheck run --kernel host rtt-40ms          on the running kernel or not at all
  rttcheck run --kernel debian:6.1 --all       every named scenario, on Debian's newest 6.1
  rttcheck run links.toml:far-away loss --strict
  rttcheck run --all --allow-splats known.toml
  rttcheck run --json rtt-40ms | jq '.results[].p50_us'

A scenario in which the kernel complains (a WARNING, a BUG, a hung task ...) has failed, unless the complaint is known.
Known ones are in a file for --allow-splats, each with a pattern of its title (a regular expression), a reason, and when
the entry can go; since and before, where they are given, are the first kernel that has it and the first that has not:

  [[splat]]
  pattern = "WARNING: .* at net/ipv4/tcp_input.c"
  reason = "a check that is too strict, and no wrong sample"
  until = "the fix is in 6.12.y"
  since = "6.1"
  before = "7.0"

Progress goes to standard error, results to standard output: a line a scenario with the round trips of its data samples
in microseconds, and above the lines the whole verdict of each that did not pass.

{STATUSES}"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``run``."""
    parser = subparsers.add_parser(
        "run",
        help="run scenarios and judge what the kernel measured",
        description="Run scenarios: a lab with the latency injected, TCP through it, every sample compared.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="a name, FILE.toml, or FILE.toml:NAME")
    parser.add_argument("--all", action="store_true", help="every scenario that has a name")
    parser.add_argument("--list", action="store_true", help="show the names and what each injects, and run nothing")
    where = parser.add_argument_group("where")
    where.add_argument(
        "--kernel",
        "--rtt-kernel",
        default="auto",
        metavar="auto|host|SPEC",
        help="host is the running kernel; debian:6.12, debian:6.12.107+deb13 or an image's path boots a guest; "
        "auto (default) takes the running one if it has netem and a probe works, else a guest, and says why",
    )
    where.add_argument(
        "--clock",
        "--rtt-clock",
        choices=("virtual", "real"),
        help="of a guest: virtual (default) counts instructions and is exact on any machine",
    )
    where.add_argument(
        "--engine",
        "--rtt-engine",
        choices=(AUTO, *ENGINES),
        default=AUTO,
        help="what delays packets; auto (default) takes the first that works",
    )
    where.add_argument(
        "--probe",
        "--rtt-probe",
        choices=(AUTO, *PROBES),
        default=AUTO,
        help="how samples are seen; auto (default) takes the first that works, `rttcheck doctor` shows what each sees",
    )
    what = parser.add_argument_group("what comes of it")
    what.add_argument(
        "--recordings",
        "--rtt-recordings",
        type=Path,
        default=RECORDINGS,
        metavar="DIR",
        help=f"where recordings are kept (default: {RECORDINGS})",
    )
    what.add_argument(
        "--strict",
        action="store_true",
        help="a scenario that is inconclusive or was not seen whole counts as failed",
    )
    what.add_argument(
        "--allow-splats",
        "--rtt-allow-splats",
        type=Path,
        metavar="FILE",
        help="kernel complaints that fail no scenario: a TOML file, see below",
    )
    what.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--emit-rows", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Do what ``args`` say and return the exit status."""
    if args.emit_rows:
        from rttcheck.cli.here import emit

        return emit(sys.stdin, sys.stdout)
    if args.list:
        return _list(as_json=args.json)
    from rttcheck.cli import output
    from rttcheck.cli.here import check_recordings
    from rttcheck.cli.progress import shown_progress
    from rttcheck.cli.session import carry_out

    if not args.scenarios and not args.all:
        args.parser.error("no scenario is given: name one, a TOML file, or --all; --list shows the names")
    wanted = resolve(args.scenarios, everything=args.all)
    allowed = _allowed(args.allow_splats)
    check_recordings(args.recordings)
    with shown_progress(colour=output.wants_colour(sys.stderr)) as progress:
        order, reasons = _decide(args, wanted, allowed, progress)
        session = carry_out(order, progress)
    status = session.status(strict=args.strict)
    if args.json:
        output.write(session.document(reasons, status))
    elif session.rows:
        output.write(session.text(output.columns(), colour=output.wants_colour(sys.stdout)))
    if session.ending is not None:
        print(f"rttcheck: {session.ending.sentence}", file=sys.stderr)
    return status


def resolve(arguments: list[str], *, everything: bool = False) -> tuple[Wanted, ...]:
    """The scenarios that the command line names, each once, in its order.

    Raises ScenarioError for names that nothing has, naming the nearest; for files as `load_scenarios` does; and for two
    different scenarios of one name, whose recordings would take each other's place.
    """
    from rttcheck.cli.order import Wanted
    from rttcheck.scenario.library import NAMED
    from rttcheck.scenario.toml_file import load_scenarios

    wanted: dict[str, Wanted] = {}

    def add(keywords: Mapping[str, object], source: str) -> None:
        name = str(keywords["name"])
        known = wanted.setdefault(name, Wanted(keywords=dict(keywords), source=source))
        if known.keywords != keywords:
            raise ScenarioError(
                f"{known.source} and {source} are two scenarios of one name: rename one, or run it alone"
            )

    for argument in (*arguments, *(NAMED if everything else ())):
        path, chosen = _as_file(argument)
        if path is None:
            if argument not in NAMED:
                raise ScenarioError(unknown(argument, NAMED, "a named scenario, nor a TOML file"))
            add(NAMED[argument].keywords(), argument)
            continue
        scenarios = {scenario.name: scenario for scenario in load_scenarios(path)}
        if chosen is not None and chosen not in scenarios:
            raise ScenarioError(unknown(chosen, scenarios, f"in {path}"))
        for name in scenarios if chosen is None else (chosen,):
            add(scenarios[name].keywords(), f"{path}:{name}")
    return tuple(wanted.values())


def _as_file(argument: str) -> tuple[Path | None, str | None]:
    """The file that an argument names, and the scenario of it, if one is named; (None, None) for a plain name."""
    path, colon, name = argument.rpartition(":")
    if colon and path.endswith(".toml"):
        return Path(path), name
    if argument.endswith(".toml") or "/" in argument:
        return Path(argument), None
    return None, None


def unknown(name: str, known: object, where: str) -> str:
    """The sentence for a scenario's name that is not ``where`` it was looked for, with the nearest of ``known``."""
    from difflib import get_close_matches

    names = list(cast("dict[str, object]", known))
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    remedy = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
    return f"scenario {name!r} is not {where}: {remedy}"


def _allowed(path: Path | None) -> tuple[dict[str, str], ...]:
    """The entries of the user's list, none without one. Raises AllowListError for a file that is none."""
    if path is None:
        return ()
    from rttcheck.kernel_log.allowed import read_allowed

    return tuple(entry.as_dict() for entry in read_allowed(path))


def _decide(
    args: argparse.Namespace, wanted: tuple[Wanted, ...], allowed: tuple[dict[str, str], ...], progress: Progress
) -> tuple[Order, tuple[str, ...]]:
    """Kernel and clock, and why.

    Raises KernelError for a kernel that makes no sense, CapabilityError where none can be had.
    """
    from rttcheck.cli import output
    from rttcheck.cli.order import Order
    from rttcheck.kernels.spec import KernelSpec

    kernel, clock = args.kernel, args.clock or "virtual"
    reasons: tuple[str, ...] = ("asked for with --kernel",)
    if kernel == "auto":
        from rttcheck.doctor.capabilities import capabilities
        from rttcheck.doctor.kernel_choice import choose_kernel

        progress.phase("looking at what this machine can do")
        choice = choose_kernel(capabilities())
        kernel, clock, reasons = choice.kernel, args.clock or choice.clock, choice.reasons
        progress.line(f"auto uses {choice.sentence}")
    KernelSpec.parse(kernel)
    if kernel == "host":
        if args.clock == "virtual":
            raise KernelError(
                "--clock virtual was asked for and the kernel is the running one, whose time is real: name a guest's "
                "kernel, as in --kernel debian:6.12"
            )
        clock = "real"
    encoding = (sys.stdout.encoding or "").lower()
    order = Order(
        kernel=kernel,
        clock=cast("Literal['virtual', 'real']", clock),
        engine=args.engine,
        probe=args.probe,
        recordings=str(args.recordings.absolute()),
        wanted=wanted,
        width=output.columns(),
        colour=output.wants_colour(sys.stdout) and not args.json,
        allowed=allowed,
        allow_splats=str(args.allow_splats or ""),
        ascii_only=not encoding.startswith("utf"),
    )
    return order, reasons


def _list(*, as_json: bool) -> int:
    """Names and what they inject, as one would write it in a file."""
    from rttcheck.cli import output
    from rttcheck.scenario.library import NAMED

    asked = {name: {key: value for key, value in NAMED[name].keywords().items() if key != "name"} for name in NAMED}
    if as_json:
        import json

        output.write(json.dumps(asked, indent=1))
        return 0
    widest = max(map(len, asked))
    for name, keywords in asked.items():
        output.write(f"{name:<{widest}}  {'  '.join(f'{key}={_toml(value)}' for key, value in keywords.items())}")
    return 0


def _toml(value: object) -> str:
    """A keyword's value as a TOML file has it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
