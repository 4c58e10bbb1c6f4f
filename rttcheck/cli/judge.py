"""`rttcheck judge FILE…`: judge recordings again, without root, network or the kernel of the run.

A file that cannot be judged is reported, and the others are judged.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rttcheck.cli.exit_status import STATUSES, ExitStatus
from rttcheck.errors import RecordingError, ScenarioError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rttcheck.judge.findings import Outcome
    from rttcheck.judging.result import Result

_EPILOG = f"""\
A recording (.rttrec) holds everything that the verdict depends on. rttcheck run and pytest -m rtt keep one of each run
in .rttcheck/recordings/KERNEL. The verdict is that of the run, unless this version of rttcheck has other checks.

examples:
  rttcheck judge .rttcheck/recordings/6.12.117+deb13-amd64/loss.rttrec
  rttcheck judge .rttcheck/recordings/*/*.rttrec --strict
  rttcheck judge far.rttrec --check sample.exact --check control:sample.exact
  rttcheck judge far.rttrec --json | jq '.results[].verdict.findings[0]'

The full verdict of each file is printed; for several files, a table with one line per recording follows. A file that
is damaged, truncated or newer than this program is reported on standard error, and the others are judged.

{STATUSES}"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``judge``."""
    parser = subparsers.add_parser(
        "judge",
        help="judge recordings again, from their files alone",
        description="Judge recordings of earlier runs, from this machine or another, without root.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a recording")
    parser.add_argument("--strict", action="store_true", help="an inconclusive recording counts as failed")
    parser.add_argument(
        "--check", action="append", default=[], metavar="ID", dest="checks",
        help="show only the finding of this check (`rttcheck checks` lists the ids); repeatable",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run, refuse=parser.error)


def run(args: argparse.Namespace) -> int:
    """Judge the files in their order and return the exit status."""
    from rttcheck.cli import output
    from rttcheck.judge.findings import Outcome

    if args.checks:
        _require_known(args)
    results: list[Result] = []
    refused = []
    for file in args.files:
        try:
            results.append(result_of(file))
        except RecordingError as error:
            refused.append(str(error))
    bad = {Outcome.FAILED, Outcome.INCONCLUSIVE} if args.strict else {Outcome.FAILED}
    outcomes = [_outcome(result, args.checks) for result in results]
    status = ExitStatus.FAILED if any(outcome in bad for outcome in outcomes) else ExitStatus.PASSED
    if refused:
        # As with a run that ended early: the judged files say nothing about the others.
        status = ExitStatus.UNABLE
    if args.json:
        from rttcheck.report.json_report import judge_document

        rows, verdicts = [result.row() for result in results], [result.verdict.as_dict() for result in results]
        for verdict in verdicts if args.checks else ():
            verdict["findings"] = [found for found in verdict["findings"] if found["key"] in args.checks]
        output.write(judge_document(rows, verdicts, refused=refused, status=status))
    elif args.checks:
        output.write("\n\n".join(_findings(result, args.checks, alone=len(args.files) == 1) for result in results))
    elif results:
        output.write(_text(results, alone=len(args.files) == 1))
    for sentence in refused:
        print(f"rttcheck: {sentence}", file=sys.stderr)
    return status


def _require_known(args: argparse.Namespace) -> None:
    """Refuse an unknown check and suggest the closest id."""
    from difflib import get_close_matches

    from rttcheck.judge.checks import BY_ID

    for name in args.checks:
        if name.removeprefix("control:") not in BY_ID:
            near = get_close_matches(name, BY_ID, n=1)
            hint = f"did you mean {near[0]}?" if near else "`rttcheck checks` lists them"
            args.refuse(f"there is no check {name}: {hint}")


def _outcome(result: Result, checks: Sequence[str]) -> Outcome:
    """Return the outcome of a recording, of only ``checks`` if any are given."""
    from rttcheck.judge.findings import outcome_of

    if not checks:
        return result.outcome
    return outcome_of(found for found in result.verdict.findings if found.key in checks)


def _findings(result: Result, checks: Sequence[str], *, alone: bool) -> str:
    """Return the findings of these checks as text."""
    lines = [] if alone else [f"{result.path}:"]
    found = {finding.key: finding for finding in result.verdict.findings}
    for name in dict.fromkeys(checks):
        finding = found.get(name)
        if finding is None:
            lines.append(f"not applicable {name}: this recording has nothing that it checks")
            continue
        word = "not run" if finding.blind else finding.outcome.value
        lines += [
            f"{word} {name} ({finding.heading}): {finding.message}",
            f"  expected  {finding.expected}",
            f"  seen      {finding.seen}, {finding.samples} values",
        ]
    return "\n".join(lines)


def result_of(file: Path) -> Result:
    """Load the recording in ``file`` and judge it.

    Raises RecordingError when it cannot be read, or when this version does not know its scenario.
    """
    from rttcheck.judge.verdict import judge
    from rttcheck.judging.result import Result
    from rttcheck.record.recording import Recording

    # The verdict of the run named an absolute path, too; only the path may differ if the file has moved.
    path = file.absolute()
    recording = Recording.load(path)
    try:
        verdict = judge(recording, path=path)
    except ScenarioError as error:
        made_by = recording.machine.get("rttcheck", "unknown")
        raise RecordingError(
            f"the recording {path} has a scenario that this rttcheck does not know ({error}): judge it with the "
            f"version that made it, {made_by}"
        ) from error
    return Result(recording=recording, verdict=verdict, path=path).without_tables()


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
