"""`rttcheck compare A B`: what two kernels do differently, and at which stage of a sample's way.

Owns the command's arguments, which of them name kernels and which recordings, and the exit status. Runs are `Rounds`',
answers are `rttcheck.compare`'s. `rttcheck matrix --compare` is the same with the same arguments.
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
    from rttcheck.cli.order import Order, Wanted
    from rttcheck.cli.progress import Progress
    from rttcheck.cli.rounds import Rounds
    from rttcheck.compare.comparison import Comparison
    from rttcheck.compare.measured import Run

ROUNDS = 8
"""In virtual time medians of one kernel lie within tenths of a microsecond: so many show it of nearly all."""

MOST_ROUNDS = 36

_GROWTH = 1.5
"""By how much the rounds grow from one look to the next: few looks share the error rates, and nobody waits for 36
rounds where 12 do."""


def steps_of(rounds: int, most_rounds: int) -> tuple[int, ...]:
    """After how many rounds the runs are looked at: 8, 12, 18, 27, 36 for 8 and 36."""
    steps = [rounds]
    while steps[-1] < most_rounds:
        steps.append(min(most_rounds, math.ceil(steps[-1] * _GROWTH)))
    return tuple(steps)


COMPARISONS = Path(".rttcheck") / "comparisons"

_STEPS = ", ".join(map(str, steps_of(ROUNDS, MOST_ROUNDS)))

_EPILOG = f"""\
A and B are kernels (debian:6.1, debian:6.12, an image's path, or host), or recordings: a directory of them each (all
below it, however deep), or any files, those of B after --against. Recordings are compared without root or network.

Kernels are booted in virtual time: each scenario is run on both at the same time before the next one, round after
round (with --clock real in turn, A and B first in alternation). What {ROUNDS} rounds cannot tell gets more, half as
many again each time, up to --most-rounds ({_STEPS}); error rates are those of all looks together.
Every recording is kept.

For each check, each distribution (data and handshake samples of each end, their stages, min_rtt) and each count the
answer is one of three. same: any difference is smaller than the margin (1 us; 10 us for handshakes, of which a lone
one takes a fresh page of memory now and then; 50 us in real time), with 99 %. changed: shown with its size, interval
and the stages it comes from; a kernel compared with itself gives any at all once in 1,000 comparisons at most. cannot
tell: neither, and why. Where the link is random, what the kernel adds to the wire is compared.

same does not mean right: a fault that both kernels share cannot be seen by comparing. So each run is judged by itself
as well, as rttcheck judge does it, and a scenario of which any run fails is shown as failed and not as same.

  sender     from the segment's stamp to its departure    link out   from there to the far end
  receiver   from there to the departure of its ACK       link back  from there to the sender
  arrival    from there to the sample

examples:
  rttcheck compare debian:6.1 debian:6.12                  every named scenario
  rttcheck compare debian:6.12 ./bzImage rtt-40ms loss     two of them, the second kernel one's own
  rttcheck compare debian:6.1 debian:6.12 --rounds 4 --json | jq '.scenarios[] | select(.answer == "changed")'
  rttcheck compare .rttcheck/comparisons/*/A .rttcheck/comparisons/*/B
  rttcheck compare old/*.rttrec --against new/*.rttrec --markdown

exit status:
  0   all is the same, and no run fails the judge
  1   something has changed, or runs of a side fail the judge
  2   interrupted: what had been run is compared and printed
  3   nothing is known to have changed, and something cannot be told, or it could not be done
  4   the command line makes no sense, or no such kernel
  20  a guest died or hung: what had been run is compared and printed
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``compare``."""
    parser = subparsers.add_parser(
        "compare",
        help="what two kernels do differently, to the microsecond, and where",
        description="Compare two kernels, or recordings of two: same, changed, or cannot tell, and at which stage.",
        usage="rttcheck compare [options] A B [SCENARIO...]\n       rttcheck compare [options] A... --against B...",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="+", metavar="A B", help="two kernels and scenarios, or recordings")
    parser.add_argument("--against", nargs="+", metavar="B", help="recordings of B: files or directories")
    add_compare_arguments(parser)
    parser.set_defaults(run=run, parser=parser)


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that `run_compare` reads, but for ``json`` where the parser has it already."""
    known = parser._option_string_actions
    options = parser.add_argument_group("comparison")

    def add(*flags: str, **settings: object) -> None:
        if not known.keys() & set(flags):
            options.add_argument(*flags, **settings)  # type: ignore[arg-type]  # one signature for many types

    add("--all", action="store_true", help="every scenario that has a name (the default)")
    add("--rounds", type=_positive, default=ROUNDS, metavar="K", help=f"runs of each on each side (default: {ROUNDS})")
    add("--most-rounds", type=_positive, default=MOST_ROUNDS, metavar="N", help=f"in all (default: {MOST_ROUNDS})")
    add("--margin", metavar="TIME", help='the smallest difference that counts, as in "3us"')
    add("--clock", "--rtt-clock", choices=("virtual", "real"), help="of the guests (default: virtual)")
    add("--engine", "--rtt-engine", choices=(AUTO, *ENGINES), default=AUTO, help="what delays packets")
    add("--probe", "--rtt-probe", choices=(AUTO, *PROBES), default=AUTO, help="how samples are seen")
    add("--comparisons", type=Path, default=COMPARISONS, metavar="DIR", help=f"recordings (default: {COMPARISONS})")
    add("--json", action="store_true", help="one JSON document on standard output")
    add("--markdown", action="store_true", help="a table for a job's summary")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def run(args: argparse.Namespace) -> int:
    """Do what ``args`` say and return the exit status."""
    if args.against is not None:
        return compare_recordings(args, args.what, args.against)
    if len(args.what) < 2:
        args.parser.error("two are compared: name a second kernel, or recordings with --against")
    if all(_holds_recordings(Path(word)) for word in args.what[:2]):
        if len(args.what) > 2:
            args.parser.error("two directories are compared: give more after --against")
        return compare_recordings(args, args.what[:1], args.what[1:])
    return run_compare(args, args.what[:2], args.what[2:])


def _holds_recordings(path: Path) -> bool:
    return path.suffix == ".rttrec" or (path.is_dir() and next(path.rglob("*.rttrec"), None) is not None)


def compare_recordings(args: argparse.Namespace, first: Sequence[str], second: Sequence[str]) -> int:
    """Compare recordings, files or directories, and return the exit status.

    Raises RecordingError for a file that cannot be read, and where one side's are of several kernels.
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
        raise RecordingError("the recordings of A and of B have no scenario in common: compare those of the same runs")
    comparison = compare({name: (loaded[0][name], loaded[1][name]) for name in names}, margin_us=_margin_us(args))
    for name in alone:
        print(f"rttcheck: {name} is on one side only, and is left out", file=sys.stderr)
    status = _status(comparison)
    _show(args, comparison, kernels, {}, {"left_out": alone}, status)
    return status


def _load(words: Sequence[str], progress: Progress) -> dict[str, list[Run]]:
    from rttcheck.compare.measured import Run
    from rttcheck.record.recording import SUFFIX, Recording

    files: list[Path] = []
    for word in words:
        path = Path(word)
        found = sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path]
        if not found:
            raise RecordingError(f"there is no recording in {path}: name a directory that holds some")
        files += found
    runs: dict[str, list[Run]] = {}
    for number, file in enumerate(dict.fromkeys(files), 1):
        progress.phase(f"reading {file} ({number} of {len(files)})") if number % 20 == 1 else None
        one = Run.of(Recording.load(file))
        runs.setdefault(one.scenario, []).append(one)
    return runs


def _kernel(words: Sequence[str], runs: Mapping[str, Sequence[Run]]) -> str:
    kernels = sorted({run.kernel for side in runs.values() for run in side})
    if len(kernels) > 1:
        raise RecordingError(
            f"the recordings of one side ({' '.join(words[:2])}) are of several kernels, {' and '.join(kernels)}: "
            "give those of one"
        )
    return kernels[0]


def run_compare(args: argparse.Namespace, kernels: Sequence[str], scenarios: Sequence[str]) -> int:
    """Run two kernels in turn, compare them, and return the exit status.

    ``args`` has what `add_compare_arguments` adds. No scenario means every one that has a name. Raises KernelError for
    kernels that make no sense, ScenarioError for scenarios that do not.
    """
    from rttcheck.cli import output
    from rttcheck.cli.here import check_recordings
    from rttcheck.cli.progress import shown_progress
    from rttcheck.cli.rounds import Ended, Rounds, open_takers
    from rttcheck.cli.run import resolve

    wanted = resolve(list(scenarios), everything=args.all or not scenarios)
    directory = (args.comparisons / time.strftime("%Y%m%d-%H%M%S")).absolute()
    orders = orders_of(args, kernels, directory)
    margin_us = _margin_us(args)
    steps = steps_of(args.rounds, args.most_rounds)
    check_recordings(directory)
    ending: RttcheckError | Ended | KeyboardInterrupt | None = None
    comparison: Comparison | None = None
    rounds: Rounds | None = None
    with shown_progress(colour=output.wants_colour(sys.stderr)) as progress:
        try:
            with open_takers(orders, directory, progress) as takers:
                rounds = Rounds(orders, takers, directory, progress)
                comparison = run_in_steps(rounds, wanted, steps, margin_us)
        except (Ended, KeyboardInterrupt) as error:
            ending = error
    if rounds is None or not rounds.runs:
        comparison = None
    elif ending is not None:
        comparison = _compared(rounds, margin_us, len(steps))
    status = ExitStatus.UNABLE if comparison is None else _status(comparison)
    if isinstance(ending, Ended):
        status = ending.status
    elif ending is not None:
        status = ExitStatus.INTERRUPTED
    if comparison is not None and rounds is not None:
        names = [f"{kernel} ({rounds.releases.get(side, 'unknown')})" for side, kernel in enumerate(kernels)]
        facts = {"recordings": str(directory), "ending": getattr(ending, "sentence", "")}
        _show(args, comparison, names, rounds.notes, facts, status)
    if ending is not None:
        sentence = ending.sentence if isinstance(ending, Ended) else "interrupted"
        print(f"rttcheck: {sentence}", file=sys.stderr)
    return status


def run_in_steps(rounds: Rounds, wanted: Sequence[Wanted], steps: Sequence[int], margin_us: float | None) -> Comparison:
    """Run rounds and compare; what cannot be told is run on to the next step. Raises Ended as `Rounds.run` does."""
    left, done = list(wanted), 0
    for step in steps:
        rounds.run(left, done + 1, step)
        comparison = _compared(rounds, margin_us, len(steps))
        untold = {one.scenario for one in comparison.scenarios if one.differences == "cannot tell" and one.more_runs}
        left, done = [one for one in wanted if one.name in untold], step
        if not left or step == steps[-1]:
            break
        rounds.progress.line(f"{step} rounds cannot tell of {', '.join(one.name for one in left)}: more of them")
    return comparison


def _compared(rounds: Rounds, margin_us: float | None, looks: int) -> Comparison:
    from rttcheck.compare.comparison import compare

    return compare(rounds.runs, margin_us=margin_us, looks=looks)


def orders_of(args: argparse.Namespace, kernels: Sequence[str], directory: Path) -> tuple[Order, Order]:
    """What each side is told, without scenarios."""
    from rttcheck.cli.order import Order
    from rttcheck.kernels.spec import KernelSpec

    clock = args.clock or "virtual"
    for kernel in kernels:
        KernelSpec.parse(kernel)
    if "host" in kernels and clock != "real":
        raise KernelError(
            "host was to be compared in virtual time and its time is real: give --clock real, for both, or two guests"
        )
    first, second = (
        Order(
            kernel=kernel,
            clock=cast("Literal['virtual', 'real']", clock),
            engine=args.engine,
            probe=args.probe,
            recordings=str(directory),
            wanted=(),
            judged=False,
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
