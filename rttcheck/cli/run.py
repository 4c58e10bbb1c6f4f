"""`rttcheck run SCENARIO…`: run scenarios by name or from TOML files, on the running kernel or in a guest."""

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
    from rttcheck.cli.progress import Progress
    from rttcheck.cli.request import RunRequest, ScenarioRequest

RECORDINGS = Path(".rttcheck") / "recordings"

_EPILOG = f"""\
A scenario is a name (see --list), a TOML file, or one scenario of a file (FILE.toml:NAME). A file has one table per
scenario; times have units, rtt is the round trip, out and back are the two directions. --keywords lists all keywords.

  [scenario.far-away]
  rtt = "300ms"
  loss = "1%"

  [scenario.lopsided]
  out = "35ms"
  back = "5ms"

examples:
  rttcheck run --list
  rttcheck run rtt-40ms                        on the running kernel if it can be judged, else in a guest
  rttcheck run --kernel host rtt-40ms          only on the running kernel
  rttcheck run --kernel debian:6.1 --all       every named scenario, on Debian's newest 6.1
  rttcheck run links.toml:far-away loss --strict
  rttcheck run --all --allow-splats known.toml
  rttcheck run --json rtt-40ms | jq '.results[].p50_us'

A scenario fails if the kernel complains during it (a WARNING, a BUG, a hung task ...), unless the complaint is known.
--allow-splats names a file of known complaints. Each entry has a pattern (a regular expression for the title), a
reason, and until, the condition for removing the entry; optional are since, the first kernel with the complaint, and
before, the first kernel without it:

  [[splat]]
  pattern = "WARNING: .* at net/ipv4/tcp_input.c"
  reason = "a check that is too strict, and no wrong sample"
  until = "the fix is in 6.12.y"
  since = "6.1"
  before = "7.0"

Progress goes to standard error, results to standard output: one line per scenario with the round-trip times of its
data samples in microseconds, and before them the full verdict of each scenario that did not pass.

{STATUSES}"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``run``."""
    parser = subparsers.add_parser(
        "run",
        help="run scenarios and judge the round-trip times that the kernel reports",
        description="Run scenarios: inject latency between network namespaces, send TCP traffic, check every sample.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="a name, FILE.toml, or FILE.toml:NAME")
    parser.add_argument("--all", action="store_true", help="run every named scenario")
    parser.add_argument("--list", action="store_true", help="list the named scenarios and what each injects")
    parser.add_argument("--keywords", action="store_true", help="list the keywords that a scenario may have")
    where = parser.add_argument_group("kernel and tools")
    where.add_argument(
        "--kernel",
        "--rtt-kernel",
        default="auto",
        metavar="auto|host|SPEC",
        help="host is the running kernel; debian:6.12, debian:6.12.107+deb13 or an image's path boots a guest; "
        "auto (default) uses the running kernel if it has netem and a probe works, else a guest, and prints the reason",
    )
    where.add_argument(
        "--clock",
        "--rtt-clock",
        choices=("virtual", "real"),
        help="clock of a guest: virtual (default) counts instructions and is exact on any machine",
    )
    where.add_argument(
        "--engine",
        "--rtt-engine",
        choices=(AUTO, *ENGINES),
        default=AUTO,
        help="mechanism that delays packets; auto (default) uses the first that works",
    )
    where.add_argument(
        "--probe",
        "--rtt-probe",
        choices=(AUTO, *PROBES),
        default=AUTO,
        help="probe that reads samples; auto (default) uses the first that works, see `rttcheck doctor`",
    )
    what = parser.add_argument_group("results")
    what.add_argument(
        "--recordings",
        "--rtt-recordings",
        type=Path,
        default=RECORDINGS,
        metavar="DIR",
        help=f"directory for recordings (default: {RECORDINGS})",
    )
    what.add_argument(
        "--strict",
        action="store_true",
        help="a scenario counts as failed if it is inconclusive, or if any check could not be run",
    )
    what.add_argument(
        "--allow-splats",
        "--rtt-allow-splats",
        type=Path,
        metavar="FILE",
        help="TOML file of kernel complaints to ignore, see below",
    )
    what.add_argument("--json", action="store_true", help="print one JSON document")
    what.add_argument("--markdown", action="store_true", help="with --keywords: print the page docs/scenarios.md")
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Run the scenarios, print the results, and return the exit status."""
    if args.markdown and not args.keywords:
        args.parser.error("--markdown is only for --keywords; `rttcheck matrix` writes results as Markdown")
    if args.keywords:
        return _keywords(as_json=args.json, as_markdown=args.markdown)
    if args.list:
        return _list(as_json=args.json)
    from rttcheck.cli import output
    from rttcheck.cli.local_run import prepare_recordings
    from rttcheck.cli.progress import shown_progress
    from rttcheck.cli.run_session import execute

    if not args.scenarios and not args.all:
        args.parser.error("no scenario is given: name a scenario or a TOML file, or give --all; --list shows the names")
    wanted = resolve(args.scenarios, everything=args.all)
    allowed = _allowed(args.allow_splats)
    prepare_recordings(args.recordings)
    with shown_progress(colour=output.wants_colour(sys.stderr)) as progress:
        request, reasons = _request(args, wanted, allowed, progress)
        session = execute(request, progress)
    status = session.status(strict=args.strict)
    if args.json:
        output.write(session.document(reasons, status))
    elif session.rows:
        output.write(session.text(output.columns(), colour=output.wants_colour(sys.stdout)))
    if session.ending is not None:
        print(f"rttcheck: {session.ending.sentence}", file=sys.stderr)
    return status


def resolve(arguments: list[str], *, everything: bool = False) -> tuple[ScenarioRequest, ...]:
    """Return the scenarios that the command line names, each once, in its order.

    Raises ScenarioError for unknown names, with the closest known ones; for files as `load_scenarios` does; and for two
    different scenarios of the same name, whose recordings would overwrite each other.
    """
    from rttcheck.cli.request import ScenarioRequest
    from rttcheck.scenario.library import NAMED
    from rttcheck.scenario.toml_file import load_scenarios

    wanted: dict[str, ScenarioRequest] = {}

    def add(keywords: Mapping[str, object], source: str) -> None:
        name = str(keywords["name"])
        known = wanted.setdefault(name, ScenarioRequest(keywords=dict(keywords), source=source))
        if known.keywords != keywords:
            raise ScenarioError(
                f"{known.source} and {source} are two scenarios of the same name: rename one, or run it alone"
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
    """Return the file that an argument names, and its scenario if named; (None, None) for a plain name."""
    path, colon, name = argument.rpartition(":")
    if colon and path.endswith(".toml"):
        return Path(path), name
    if argument.endswith(".toml") or "/" in argument:
        return Path(argument), None
    return None, None


def unknown(name: str, known: object, where: str) -> str:
    """Return the error message for a scenario that is not ``where``, with the closest of ``known``."""
    from difflib import get_close_matches

    names = list(cast("dict[str, object]", known))
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    remedy = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
    return f"scenario {name!r} is not {where}: {remedy}"


def _allowed(path: Path | None) -> tuple[dict[str, str], ...]:
    """Return the entries of the user's list of known complaints. Raises AllowListError for an invalid file."""
    if path is None:
        return ()
    from rttcheck.kernel_log.allowed import read_allowed

    return tuple(entry.as_dict() for entry in read_allowed(path))


def _request(
    args: argparse.Namespace,
    wanted: tuple[ScenarioRequest, ...],
    allowed: tuple[dict[str, str], ...],
    progress: Progress,
) -> tuple[RunRequest, tuple[str, ...]]:
    """Return the request, with kernel and clock chosen, and the reasons for the choice.

    Raises KernelError for an invalid kernel, CapabilityError where no kernel can be judged.
    """
    from rttcheck.cli import output
    from rttcheck.cli.request import RunRequest
    from rttcheck.kernels.spec import KernelSpec

    kernel, clock = args.kernel, args.clock or "virtual"
    reasons: tuple[str, ...] = ("chosen with --kernel",)
    if kernel == "auto":
        from rttcheck.doctor.capabilities import capabilities
        from rttcheck.doctor.kernel_choice import choose_kernel

        progress.phase("testing what this machine supports")
        choice = choose_kernel(capabilities())
        kernel, clock, reasons = choice.kernel, args.clock or choice.clock, choice.reasons
        progress.line(f"auto uses {choice.sentence}")
    KernelSpec.parse(kernel)
    if kernel == "host":
        if args.clock == "virtual":
            raise KernelError(
                "--clock virtual is not possible on the running kernel, whose time is real: name a guest's kernel, as "
                "in --kernel debian:6.12"
            )
        clock = "real"
    encoding = (sys.stdout.encoding or "").lower()
    request = RunRequest(
        kernel=kernel,
        clock=cast("Literal['virtual', 'real']", clock),
        engine=args.engine,
        probe=args.probe,
        recordings=str(args.recordings.absolute()),
        scenarios=wanted,
        width=output.columns(),
        colour=output.wants_colour(sys.stdout) and not args.json,
        allowed=allowed,
        allow_splats=str(args.allow_splats or ""),
        ascii_only=not encoding.startswith("utf"),
    )
    return request, reasons


def _list(*, as_json: bool) -> int:
    """Print the named scenarios with their keywords as in a TOML file."""
    from rttcheck.cli import output
    from rttcheck.scenario.library import NAMED
    from rttcheck.scenario.toml_file import toml_value

    asked = {name: {key: value for key, value in NAMED[name].keywords().items() if key != "name"} for name in NAMED}
    if as_json:
        import json

        output.write(json.dumps(asked, indent=1))
        return 0
    widest = max(map(len, asked))
    for name, keywords in asked.items():
        output.write(f"{name:<{widest}}  {'  '.join(f'{key}={toml_value(value)}' for key, value in keywords.items())}")
    return 0


def _keywords(*, as_json: bool, as_markdown: bool) -> int:
    """Print the keywords of a scenario."""
    from rttcheck.cli import output
    from rttcheck.report import keyword_table

    if as_json:
        output.write(keyword_table.document())
    elif as_markdown:
        output.write(keyword_table.markdown().rstrip("\n"))
    else:
        output.write(keyword_table.render(width=output.columns(), colour=output.wants_colour(sys.stdout)))
    return 0
