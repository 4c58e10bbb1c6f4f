"""`rttcheck judge FILE…`: the verdict of recordings, made again from the files alone: no root, no network, no kernel.

Owns the command's arguments and what a file that cannot be judged means for the others: they are judged all the same.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rttcheck.cli.exit_status import STATUSES, ExitStatus
from rttcheck.errors import RecordingError, ScenarioError

if TYPE_CHECKING:
    from rttcheck.harness import Result

_EPILOG = f"""\
A recording (.rttrec) holds all that a judge needs: rttcheck run and pytest -m rtt keep one of every run, in
.rttcheck/recordings/KERNEL. The verdict is the one of the run, unless this rttcheck knows better than that one did.

examples:
  rttcheck judge .rttcheck/recordings/6.12.117+deb13-amd64/loss.rttrec
  rttcheck judge .rttcheck/recordings/*/*.rttrec --strict
  rttcheck judge far.rttrec --json | jq '.results[].verdict.findings[0]'

Each file's whole verdict is printed; below those of several files, a line a recording. A file that is damaged, cut
short or newer than this program is told on standard error, and the others are judged.

{STATUSES}"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``judge``."""
    parser = subparsers.add_parser(
        "judge",
        help="judge recordings again, from their files alone",
        description="Judge recordings of earlier runs, of this machine or another: the same verdict, without root.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a recording")
    parser.add_argument("--strict", action="store_true", help="an inconclusive recording counts as failed")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Judge the files in their order and return the exit status."""
    from rttcheck.cli import output
    from rttcheck.judge.findings import Outcome

    results: list[Result] = []
    refused = []
    for file in args.files:
        try:
            results.append(result_of(file))
        except RecordingError as error:
            refused.append(str(error))
    bad = {Outcome.FAILED, Outcome.INCONCLUSIVE} if args.strict else {Outcome.FAILED}
    status = ExitStatus.FAILED if any(result.outcome in bad for result in results) else ExitStatus.PASSED
    if refused:
        # As with a run that ended early: what was judged says nothing about what was not.
        status = ExitStatus.UNABLE
    if args.json:
        from rttcheck.report.json_report import judge_document

        rows, verdicts = [result.row() for result in results], [result.verdict.as_dict() for result in results]
        output.write(judge_document(rows, verdicts, refused=refused, status=status))
    elif results:
        output.write(_text(results, alone=len(args.files) == 1))
    for sentence in refused:
        print(f"rttcheck: {sentence}", file=sys.stderr)
    return status


def result_of(file: Path) -> Result:
    """The recording in ``file`` and the verdict on it.

    Raises RecordingError when it cannot be read, or when its scenario is none that this version knows.
    """
    from rttcheck.harness import Result
    from rttcheck.judge.verdict import judge
    from rttcheck.record.recording import Recording

    # As the run said it, which knew no other way: the file may have moved since, the rest of the verdict has not.
    path = file.absolute()
    recording = Recording.load(path)
    try:
        verdict = judge(recording, path=path)
    except ScenarioError as error:
        made_by = recording.machine.get("rttcheck", "unknown")
        raise RecordingError(
            f"the recording {path} is of a scenario that this rttcheck does not know ({error}): judge it with the "
            f"version that made it, {made_by}"
        ) from error
    return Result(recording=recording, verdict=verdict, path=path)


def _text(results: list[Result], *, alone: bool) -> str:
    from rttcheck.cli import output
    from rttcheck.report.terminal import paint, summary_lines

    width, colour = output.columns(), output.wants_colour(sys.stdout)
    ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
    parts = [result.verdict.render(width, color=colour, ascii_only=ascii_only) for result in results]
    if not alone:
        lines = summary_lines([result.row() for result in results], width)
        parts.append("\n".join(paint(line) if colour else line for line in lines))
    return "\n\n".join(parts)
