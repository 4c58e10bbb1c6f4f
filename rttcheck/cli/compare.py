"""`rttcheck compare A B`: measure how two kernels differ, and at which stage of the round trip.

This module decides which arguments are kernels and which are recordings. `rttcheck.cli.alternation` runs, and
`rttcheck.compare` compares. `rttcheck matrix --compare` is the same command.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from rttcheck.cli.exit_status import ExitStatus
from rttcheck.doctor.choices import AUTO, ENGINES, PROBES
from rttcheck.errors import KernelError, RecordingError, RttcheckError

if TYPE_CHECKING:
    from rttcheck.cli.alternation import Alternation
    from rttcheck.cli.progress import Progress
    from rttcheck.cli.request import RunRequest, ScenarioRequest
    from rttcheck.compare.comparison import Comparison
    from rttcheck.compare.measured import MeasuredRun

ROUNDS = 8
"""In virtual time the medians of one kernel agree to tenths of a microsecond: this many settle nearly all of them."""

MOST_ROUNDS = 36

_GROWTH = 1.5
"""Growth of the number of rounds from one look to the next: few looks share the error rates, and 12 rounds are enough
where 36 are not needed."""


def steps_of(rounds: int, most_rounds: int) -> tuple[int, ...]:
    """Return after how many rounds the runs are compared: 8, 12, 18, 27, 36 for 8 and 36."""
    steps = [rounds]
    while steps[-1] < most_rounds:
        steps.append(min(most_rounds, math.ceil(steps[-1] * _GROWTH)))
    return tuple(steps)


COMPARISONS = Path(".rttcheck") / "comparisons"

_STEPS = ", ".join(map(str, steps_of(ROUNDS, MOST_ROUNDS)))

_EPILOG = f"""\
A and B are kernels (debian:6.1, debian:6.12, the path of an image, or host) or recordings: one directory each (searched
recursively), or any files, with those of B after --against. Recordings are compared without root or network.

Kernels are booted in virtual time. In each round every scenario runs on both kernels at once; with --clock real on one
after the other, with A and B first alternately. Scenarios that {ROUNDS} rounds cannot decide get more, half as many
again each time, up to --most-rounds ({_STEPS}); the error rates hold for all looks together. Every
recording is kept.

Each check, each distribution (data and handshake samples of each end, their stages, min_rtt) and each count gets one of
three answers:
  same         any difference is smaller than the margin, with 99 % confidence. The margin is 1 us; 10 us for
               handshakes, where a single one may include the allocation of a memory page; 50 us in real time
  changed      the difference with its confidence interval and the stages that it comes from. Comparing a kernel with
               itself reports any change in at most 1 of 1,000 comparisons
  cannot tell  neither of the two can be shown; the reason is given
On a random link, what the kernel adds to the wire time is compared.

same does not mean correct: a fault that both kernels share is invisible to a comparison. Therefore each run is also
judged by itself, as rttcheck judge does, and a scenario with a failing run is reported as failed instead of same.

stages of a round trip:
  sender     from the segment's timestamp to its departure    link out   to its arrival at the far end
  receiver   to the departure of the ACK                      link back  to its arrival at the sender
  arrival    to the sample

examples:
  rttcheck compare debian:6.1 debian:6.12                  every named scenario
  rttcheck compare debian:6.12 ./bzImage rtt-40ms loss     two scenarios, the second kernel from an image
  rttcheck compare debian:6.1 debian:6.12 --rounds 4 --json | jq '.scenarios[] | select(.answer == "changed")'
  rttcheck compare .rttcheck/comparisons/*/A .rttcheck/comparisons/*/B
  rttcheck compare old/*.rttrec --against new/*.rttrec --markdown

exit status:
  0   everything is the same, and no run failed
  1   something has changed, or a run failed
  2   interrupted: the finished runs are compared and printed
  3   nothing has changed but something is undecided, or the comparison was not possible
  4   usage error, or no such kernel
  20  a guest died or hung: the finished runs are compared and printed
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``compare``."""
    parser = subparsers.add_parser(
        "compare",
        help="measure how two kernels differ, to the microsecond, and at which stage",
        description="Compare two kernels, or recordings of two. The answer is same, changed or cannot tell.",
        usage="rttcheck compare [options] A B [SCENARIO...]\n       rttcheck compare [options] A... --against B...",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="+", metavar="A B", help="two kernels and scenarios, or recordings")
    parser.add_argument("--against", nargs="+", metavar="B", help="recordings of B: files or directories")
    add_compare_arguments(parser)
    parser.set_defaults(run=run, parser=parser)


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that `run_compare` reads, except those that the parser already has."""
    known = parser._option_string_actions
    options = parser.add_argument_group("comparison")

    def add(*flags: str, **settings: object) -> None:
        if not known.keys() & set(flags):
            options.add_argument(*flags, **settings)  # type: ignore[arg-type]  # one signature for many types

    add("--all", action="store_true", help="every named scenario (the default)")
    add("--rounds", type=_positive, default=ROUNDS, metavar="K", help=f"runs on each side (default: {ROUNDS})")
    add(
        "--most-rounds",
        type=_positive,
        default=MOST_ROUNDS,
        metavar="N",
        help=f"most runs if undecided (default: {MOST_ROUNDS})",
    )
    add("--margin", metavar="TIME", help='the smallest relevant difference, as in "3us"')
    add("--clock", "--rtt-clock", choices=("virtual", "real"), help="clock of the guests (default: virtual)")
    add("--engine", "--rtt-engine", choices=(AUTO, *ENGINES), default=AUTO, help="mechanism that delays packets")
    add("--probe", "--rtt-probe", choices=(AUTO, *PROBES), default=AUTO, help="probe that reads samples")
    add("--comparisons", type=Path, default=COMPARISONS, metavar="DIR", help=f"recordings (default: {COMPARISONS})")
    add("--json", action="store_true", help="print one JSON document")
    add("--markdown", action="store_true", help="print a Markdown table, for a CI job's summary")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def run(args: argparse.Namespace) -> int:
    """Compare kernels or recordings and return the exit status."""
    if args.against is not None:
        return compare_recordings(args, args.what, args.against)
    if len(args.what) < 2:
        args.parser.error("two sides are needed: name a second kernel, or recordings with --against")
    if all(_holds_recordings(Path(word)) for word in args.what[:2]):
        if len(args.what) > 2:
            args.parser.error("only two directories can be compared: give more after --against")
        return compare_recordings(args, args.what[:1], args.what[1:])
    return run_compare(args, args.what[:2], args.what[2:])


def _holds_recordings(path: Path) -> bool:
    return path.suffix == ".rttrec" or (path.is_dir() and next(path.rglob("*.rttrec"), None) is not None)


def compare_recordings(args: argparse.Namespace, first: Sequence[str], second: Sequence[str]) -> int:
    """Compare recordings, files or directories, and return the exit status.

    Raises RecordingError for a file that cannot be read, and when recordings of one side are of several kernels.
    """
    from rttcheck.cli import output
    from rttcheck.cli.progress import shown_progress
    from rttcheck.compare.comparison import compare

    with shown_progress(colour=output.wants_colour(sys.stderr)) as progress:
        loaded = [_load(words, progress) for words in (first, second)]
    kernels = [_kernel(words, side) for words, side in zip((first, second), loaded, strict=True)]
    names = [name for name in loaded[0] if name in loaded[1]]
    alone = sorted(loaded[0].keys() ^ loaded[1].keys())
    if not names:
        raise RecordingError("the recordings of A and B have no scenario in common: name others")
    comparison = compare({name: (loaded[0][name], loaded[1][name]) for name in names}, margin_us=_margin_us(args))
    for name in alone:
        print(f"rttcheck: {name} exists on one side only and is left out", file=sys.stderr)
    status = _status(comparison)
    _show(args, comparison, kernels, {}, {"left_out": alone}, status)
    return status


def _load(words: Sequence[str], progress: Progress) -> dict[str, list[MeasuredRun]]:
    from rttcheck.compare.measured import MeasuredRun
    from rttcheck.record.recording import SUFFIX, Recording

    files: list[Path] = []
    for word in words:
        path = Path(word)
        found = sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path]
        if not found:
            raise RecordingError(f"there is no recording in {path}: name a directory with recordings")
        files += found
    runs: dict[str, list[MeasuredRun]] = {}
    for number, file in enumerate(dict.fromkeys(files), 1):
        progress.phase(f"reading {file} ({number} of {len(files)})") if number % 20 == 1 else None
        one = MeasuredRun.of(Recording.load(file))
        runs.setdefault(one.scenario, []).append(one)
    return runs


def _kernel(words: Sequence[str], runs: Mapping[str, Sequence[MeasuredRun]]) -> str:
    kernels = sorted({run.kernel for side in runs.values() for run in side})
    if len(kernels) > 1:
        raise RecordingError(
            f"the recordings of one side ({' '.join(words[:2])}) are of several kernels, {' and '.join(kernels)}: "
            "give recordings of one kernel"
        )
    return kernels[0]


def run_compare(args: argparse.Namespace, kernels: Sequence[str], scenarios: Sequence[str]) -> int:
    """Run scenarios on two kernels, compare them, and return the exit status.

    ``args`` has the options of `add_compare_arguments`. No scenario means every named one. Raises KernelError for
    invalid kernels, ScenarioError for invalid scenarios.
    """
    from rttcheck.cli import output
    from rttcheck.cli.alternation import Alternation, SideEnded, open_runners
    from rttcheck.cli.local_run import prepare_recordings
    from rttcheck.cli.progress import shown_progress
    from rttcheck.cli.run import resolve

    wanted = resolve(list(scenarios), everything=args.all or not scenarios)
    directory = (args.comparisons / time.strftime("%Y%m%d-%H%M%S")).absolute()
    requests = requests_of(args, kernels, directory)
    margin_us = _margin_us(args)
    steps = steps_of(args.rounds, args.most_rounds)
    prepare_recordings(directory)
    ending: RttcheckError | SideEnded | KeyboardInterrupt | None = None
    comparison: Comparison | None = None
    alternation: Alternation | None = None
    with shown_progress(colour=output.wants_colour(sys.stderr)) as progress:
        try:
            with open_runners(requests, directory, progress) as runners:
                alternation = Alternation(requests, runners, directory, progress)
                comparison = run_in_steps(alternation, wanted, steps, margin_us)
        except (SideEnded, KeyboardInterrupt) as error:
            ending = error
    if alternation is None or not alternation.runs:
        comparison = None
    elif ending is not None:
        comparison = _compared(alternation, margin_us, len(steps))
    status = ExitStatus.UNABLE if comparison is None else _status(comparison)
    if isinstance(ending, SideEnded):
        status = ending.status
    elif ending is not None:
        status = ExitStatus.INTERRUPTED
    if comparison is not None and alternation is not None:
        names = [f"{kernel} ({alternation.releases.get(side, 'unknown')})" for side, kernel in enumerate(kernels)]
        facts = {"recordings": str(directory), "ending": getattr(ending, "sentence", "")}
        _show(args, comparison, names, alternation.notes, facts, status)
    if ending is not None:
        sentence = ending.sentence if isinstance(ending, SideEnded) else "interrupted"
        print(f"rttcheck: {sentence}", file=sys.stderr)
    return status


def run_in_steps(
    alternation: Alternation, wanted: Sequence[ScenarioRequest], steps: Sequence[int], margin_us: float | None
) -> Comparison:
    """Run rounds and compare; run undecided scenarios on to the next step.

    Raises SideEnded as `Alternation.run` does.
    """
    left, done = list(wanted), 0
    for step in steps:
        alternation.run(left, done + 1, step)
        comparison = _compared(alternation, margin_us, len(steps))
        undecided = {one.scenario for one in comparison.scenarios if one.differences == "cannot tell" and one.more_runs}
        left, done = [one for one in wanted if one.name in undecided], step
        if not left or step == steps[-1]:
            break
        alternation.progress.line(f"undecided after {step} rounds, running more: {', '.join(one.name for one in left)}")
    return comparison


def _compared(alternation: Alternation, margin_us: float | None, looks: int) -> Comparison:
    from rttcheck.compare.comparison import compare

    return compare(alternation.runs, margin_us=margin_us, looks=looks)


def requests_of(args: argparse.Namespace, kernels: Sequence[str], directory: Path) -> tuple[RunRequest, RunRequest]:
    """Return the request to each side, without scenarios."""
    from rttcheck.cli.request import RunRequest
    from rttcheck.kernels.spec import KernelSpec

    clock = args.clock or "virtual"
    for kernel in kernels:
        KernelSpec.parse(kernel)
    if "host" in kernels and clock != "real":
        raise KernelError("host cannot run in virtual time: give --clock real, for both sides, or compare two guests")
    first, second = (
        RunRequest(
            kernel=kernel,
            clock=cast("Literal['virtual', 'real']", clock),
            engine=args.engine,
            probe=args.probe,
            recordings=str(directory),
            scenarios=(),
            judge=False,
        )
        for kernel in kernels
    )
    return first, second


def _margin_us(args: argparse.Namespace) -> float | None:
    if args.margin is None:
        return None
    from rttcheck.scenario.duration import parse_us

    return float(parse_us(args.margin, what="--margin"))


def _status(comparison: Comparison) -> ExitStatus:
    known = {"same": ExitStatus.PASSED, "changed": ExitStatus.FAILED, "failed": ExitStatus.FAILED}
    return known.get(comparison.answer, ExitStatus.UNABLE)


def _show(
    args: argparse.Namespace,
    comparison: Comparison,
    sides: Sequence[str],
    notes: Mapping[str, str],
    facts: Mapping[str, object],
    status: ExitStatus,
) -> None:
    from rttcheck.cli import output
    from rttcheck.report import comparison as report

    if args.json:
        output.write(report.comparison_document(comparison, sides, notes=notes, facts=facts, status=status))
    elif args.markdown:
        output.write(report.comparison_markdown(comparison, sides))
    else:
        colour = output.wants_colour(sys.stdout)
        output.write(report.comparison_text(comparison, sides, notes=notes, colour=colour))
        if "recordings" in facts:
            output.write(f"recordings are in {facts['recordings']}")
