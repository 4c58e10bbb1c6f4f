"""`rttcheck matrix KERNEL…`: the named scenarios, or one's own tests, on several kernels in one session of pytest.

Owns the command's arguments and the session's command line; all else is pytest's and the plugin's, whose options these
are under shorter names.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from rttcheck.cli.exit_status import STATUSES
from rttcheck.cli.run import RECORDINGS
from rttcheck.doctor.choices import AUTO, ENGINES, PROBES
from rttcheck.errors import RecordingError, ScenarioError

PACKAGE = Path(__file__).parents[1]

_EPILOG = f"""\
A kernel is `host` (the running one), `debian:6.12` (the newest of a series in Debian's signed archive), an exact
release, or the path of an image or of a kernel's build tree. None named is the newest of each series in the cache.
Guests run beside each other as far as cores and memory allow; the running kernel is judged alone. A guest that dies or
hangs is tried once more in a fresh one.

Without --tests the suite that comes with rttcheck is run, the scenarios of `rttcheck run --list`. It is a session of
pytest's, and ends with the table: scenarios down, kernels across, medians in microseconds, and what did not pass.

examples:
  rttcheck matrix debian:6.1 debian:6.12
  rttcheck matrix host debian:6.12 --scenario rtt-40ms --scenario loss
  rttcheck matrix debian:6.12 ./linux/arch/x86/boot/bzImage --markdown matrix.md --json matrix.json
  rttcheck matrix debian:6.1 debian:6.12 --tests tests/far_away.py --junit junit.xml
  rttcheck matrix --all-series --markdown docs/kernels.md
  rttcheck matrix --compare debian:6.1 debian:6.12 --scenario rtt-40ms

The table is written between the lines `<!-- matrix -->` and `<!-- /matrix -->` of a Markdown file that has them, is
appended where the file is $GITHUB_STEP_SUMMARY, and is the whole file elsewhere. docs/json.md has the keys of the JSON.

{STATUSES}"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``matrix``."""
    parser = subparsers.add_parser(
        "matrix",
        help="ask several kernels the same, and see the answers beside each other",
        description="Run the named scenarios (or tests of your own) on several kernels: one session, one report.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kernels", nargs="*", metavar="KERNEL", help="host, debian:6.12, or a path")
    parser.add_argument("--kernel", action="append", default=[], metavar="KERNEL", help="the same; repeatable")
    parser.add_argument(
        "--all-series", action="store_true", help="the newest of each series that Debian's archive has now"
    )
    parser.add_argument("--scenario", action="append", default=[], metavar="NAME", help="only this one; repeatable")
    parser.add_argument(
        "--tests", action="append", default=[], type=Path, metavar="PATH", help="these tests instead; repeatable"
    )
    parser.add_argument("--clock", choices=("virtual", "real"), help="of guests (default: virtual)")
    parser.add_argument("--engine", choices=(AUTO, *ENGINES), default=AUTO, help="what delays packets (default: auto)")
    parser.add_argument("--probe", choices=(AUTO, *PROBES), default=AUTO, help="how samples are seen (default: auto)")
    parser.add_argument("--jobs", type=int, metavar="N", help="guests at a time (default: what cores and memory allow)")
    parser.add_argument(
        "--on", action="append", default=[], metavar="USER@HOST", help="guests there too, through ssh; repeatable"
    )
    parser.add_argument("--strict", action="store_true", help="an inconclusive scenario fails")
    parser.add_argument(
        "--allow-splats",
        type=Path,
        metavar="FILE",
        help="kernel complaints that fail nothing: see `rttcheck run --help`",
    )
    parser.add_argument("--recordings", type=Path, metavar="DIR", help="where recordings are kept")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results to FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table to FILE")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write a JUnit report to FILE")
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("A", "B"),
        help="what two kernels do differently instead: `rttcheck compare`, whose help teaches it",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="a line a test as it ends")
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Become the session: pytest's Ctrl-C, colours and exit status are this command's."""
    return _compare(args) if args.compare else _become(session_command(args))


def _become(command: list[str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], command)


def _compare(args: argparse.Namespace) -> int:
    """The same two kernels to `rttcheck compare`, with the options that mean the same there."""
    from rttcheck.cli import build_parser

    others = (
        "kernels",
        "kernel",
        "all_series",
        "tests",
        "jobs",
        "on",
        "strict",
        "allow_splats",
        "recordings",
        "json",
        "markdown",
        "junit",
    )
    given = next((name for name in others if getattr(args, name)), None)
    if given is not None:
        args.parser.error(
            f"--compare is for two kernels and scenarios of --scenario, and {given.replace('_', '-')} was given, too: "
            "leave it out, or see `rttcheck compare --help`"
        )
    words = ["compare", *args.compare, *args.scenario, "--engine", args.engine, "--probe", args.probe]
    compared = build_parser().parse_args([*words, *(["--clock", args.clock] if args.clock else [])])
    status: int = compared.run(compared)
    return status


def session_command(args: argparse.Namespace) -> list[str]:
    """The command line of the session that ``args`` ask for.

    Raises ScenarioError for a scenario without that name, KernelError for such a kernel, RecordingError for a JUnit
    file that cannot be written.
    """
    _require_junit(args.junit)
    command = [sys.executable, "-m", "pytest", "-m", "rtt", *(["-v"] if args.verbose else [])]
    for kernel in kernels(args):
        command += ["--rtt-kernel", kernel]
    chosen = {
        "--rtt-clock": args.clock,
        "--rtt-engine": args.engine if args.engine != AUTO else None,
        "--rtt-probe": args.probe if args.probe != AUTO else None,
        "--rtt-jobs": args.jobs,
        "--rtt-allow-splats": args.allow_splats,
        "--rtt-recordings": args.recordings or RECORDINGS,
        "--rtt-json": args.json,
        "--rtt-markdown": args.markdown,
        "--junit-xml": args.junit,
    }
    for option, value in chosen.items():
        if value is not None:
            command += [option, str(value)]
    for machine in args.on:
        command += ["--rtt-on", machine]
    if args.strict:
        command.append("--rtt-strict")
    return command + _tests(args)


def kernels(args: argparse.Namespace) -> tuple[str, ...]:
    """Those that are named, each once; all series of the archive's where they are asked for, else what is cached.

    Raises KernelError for a name that is none, and where nothing is named and nothing is cached.
    """
    from rttcheck.kernels.series import newest_cached, offered
    from rttcheck.kernels.spec import KernelSpec

    named = [*args.kernels, *args.kernel]
    if args.all_series:
        named += offered()
    for kernel in named:
        KernelSpec.parse(kernel)
    return tuple(dict.fromkeys(named)) or newest_cached()


def _require_junit(path: Path | None) -> None:
    """pytest tries to write it when all is over. Raises RecordingError for a file that cannot be written."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a"):
            pass
    except OSError as error:
        raise RecordingError(f"--junit {path} cannot be written ({error.strerror}): name another file") from error


def _tests(args: argparse.Namespace) -> list[str]:
    if args.tests:
        if args.scenario:
            args.parser.error("--scenario names scenarios of the suite that comes with rttcheck, and --tests others")
        return [str(path) for path in args.tests]
    from rttcheck.cli.run import unknown
    from rttcheck.scenario.library import NAMED

    for name in args.scenario:
        if name not in NAMED:
            raise ScenarioError(unknown(name, NAMED, "a named scenario"))
    suite = PACKAGE / "suite" / "named_scenarios.py"
    # The suite is the package's: whatever configuration and conftest.py lie around are for other tests.
    # The cache knows which kernel takes longest, and is begun with the next time.
    cache = Path(args.recordings or RECORDINGS).absolute().parent / "cache"
    alone = ["-c", os.devnull, "--rootdir", str(PACKAGE.parent), "--noconftest", "-o", f"cache_dir={cache}"]
    chosen = [f"{suite}::test_scenario[{name}]" for name in args.scenario]
    return [*alone, *(chosen or [str(suite)])]
