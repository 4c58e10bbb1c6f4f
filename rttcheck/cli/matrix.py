"""`rttcheck matrix KERNEL…`: run the named scenarios, or other tests, on several kernels in one pytest session.

This module builds the session's command line; its options are those of the pytest plugin under shorter names.
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
release, or the path of an image or of a kernel's build tree. Without one, the newest cached kernel of each series is
used. Guests run in parallel as far as cores and memory allow; the running kernel is judged alone. When a guest dies or
hangs, its tests are tried once more in a new guest.

Without --tests rttcheck's own suite runs: the scenarios of `rttcheck run --list`. The pytest session ends with a table,
one row per scenario and one column per kernel, with medians in microseconds and everything that did not pass.

examples:
  rttcheck matrix debian:6.1 debian:6.12
  rttcheck matrix host debian:6.12 --scenario rtt-40ms --scenario loss
  rttcheck matrix debian:6.12 ./linux/arch/x86/boot/bzImage --markdown matrix.md --json matrix.json
  rttcheck matrix debian:6.1 debian:6.12 --tests tests/far_away.py --junit junit.xml
  rttcheck matrix --all-series --markdown docs/kernels.md
  rttcheck matrix --compare debian:6.1 debian:6.12 --scenario rtt-40ms

The Markdown table goes between the lines `<!-- matrix -->` and `<!-- /matrix -->` if the file has them, is appended if
the file is $GITHUB_STEP_SUMMARY, and otherwise becomes the whole file. docs/json.md documents the JSON.

{STATUSES}"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``matrix``."""
    parser = subparsers.add_parser(
        "matrix",
        help="run the named scenarios on several kernels, and print one table",
        description="Run the named scenarios (or your own tests) on several kernels in one session, with one report.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kernels", nargs="*", metavar="KERNEL", help="host, debian:6.12, or a path")
    parser.add_argument("--kernel", action="append", default=[], metavar="KERNEL", help="one more kernel; repeatable")
    parser.add_argument(
        "--all-series", action="store_true", help="the newest kernel of each series in Debian's archive"
    )
    parser.add_argument("--scenario", action="append", default=[], metavar="NAME", help="only this one; repeatable")
    parser.add_argument(
        "--tests", action="append", default=[], type=Path, metavar="PATH", help="run these tests instead; repeatable"
    )
    parser.add_argument("--clock", choices=("virtual", "real"), help="clock of the guests (default: virtual)")
    parser.add_argument("--engine", choices=(AUTO, *ENGINES), default=AUTO, help="what delays packets (default: auto)")
    parser.add_argument("--probe", choices=(AUTO, *PROBES), default=AUTO, help="what reads samples (default: auto)")
    parser.add_argument("--jobs", type=int, metavar="N", help="guests in parallel (default: as cores and memory allow)")
    parser.add_argument(
        "--on", action="append", default=[], metavar="USER@HOST", help="also run guests there, through ssh; repeatable"
    )
    parser.add_argument("--strict", action="store_true", help="an inconclusive scenario counts as failed")
    parser.add_argument(
        "--allow-splats",
        type=Path,
        metavar="FILE",
        help="list of kernel complaints to ignore, see `rttcheck run --help`",
    )
    parser.add_argument("--recordings", type=Path, metavar="DIR", help="directory for recordings")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table to FILE")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write a JUnit report to FILE")
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("A", "B"),
        help="compare two kernels instead, see `rttcheck compare --help`",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="print one line per test")
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Replace this process by the pytest session, so that its Ctrl-C handling, colours and exit status apply."""
    return _compare(args) if args.compare else _become(session_command(args))


def _become(command: list[str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], command)


def _compare(args: argparse.Namespace) -> int:
    """Run `rttcheck compare` on the two kernels, with the options that both commands share."""
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
            f"--compare takes two kernels and --scenario, and cannot be combined with {given.replace('_', '-')}: "
            "leave it out, or see `rttcheck compare --help`"
        )
    words = ["compare", *args.compare, *args.scenario, "--engine", args.engine, "--probe", args.probe]
    compared = build_parser().parse_args([*words, *(["--clock", args.clock] if args.clock else [])])
    status: int = compared.run(compared)
    return status


def session_command(args: argparse.Namespace) -> list[str]:
    """Return the command line of the pytest session.

    Raises ScenarioError for an unknown scenario, KernelError for an invalid kernel, RecordingError for a JUnit file
    that cannot be written.
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
    """Return the named kernels, each once, and with --all-series the archive's; without any, the newest cached ones.

    Raises KernelError for an invalid name, and where nothing is named and nothing is cached.
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
    """Check now that the JUnit file can be written: pytest writes it at the end. Raises RecordingError if not."""
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
            args.parser.error("--scenario selects from rttcheck's own suite, and --tests replaces it: give one of them")
        return [str(path) for path in args.tests]
    from rttcheck.cli.run import unknown
    from rttcheck.scenario.library import NAMED

    for name in args.scenario:
        if name not in NAMED:
            raise ScenarioError(unknown(name, NAMED, "a named scenario"))
    suite = PACKAGE / "suite" / "named_scenarios.py"
    # The suite is the package's own: configuration and conftest.py of the current directory are for other tests.
    # The cache records which kernel takes longest; the next session begins with it.
    cache = Path(args.recordings or RECORDINGS).absolute().parent / "cache"
    alone = ["-c", os.devnull, "--rootdir", str(PACKAGE.parent), "--noconftest", "-o", f"cache_dir={cache}"]
    chosen = [f"{suite}::test_scenario[{name}]" for name in args.scenario]
    return [*alone, *(chosen or [str(suite)])]
