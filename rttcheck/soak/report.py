"""The report of a soak as text: counts and bounds by condition, problems with their recordings, medians, overhead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import wrap

from rttcheck.soak.bound import CONFIDENCE
from rttcheck.soak.figures import MEDIANS_MEAN, Median, Tally, Trouble, medians, tallies, troubles
from rttcheck.soak.ledger import Ledger

_GAP = "  "
_BOUND = f"upper {CONFIDENCE:.0%} bound (one-sided, exact: Clopper and Pearson)"


def text(ledger: Ledger, width: int) -> str:
    """Return the report; sentences are wrapped at ``width`` columns, tables and paths are not."""
    suites = ledger.suites
    if not suites:
        return "no suite was completed"
    found = tallies(suites)
    parts = [
        _counts(found),
        _wrapped(
            f"failures/1000: failed checks per thousand conclusive ones, and their {_BOUND}, which assumes independent "
            "checks.",
            width,
        ),
        _suites(found),
        _wrapped(
            f"with failure: suites in which any check failed, and the {_BOUND} of their share, which assumes "
            "independent suites. distinct: scenario runs whose samples do not repeat another run exactly. over wire: "
            "the largest excess of a sample over its wire time, us.",
            width,
        ),
        *_troubles(troubles(suites), width),
        *_medians(medians(suites), width),
        f"all results are in {ledger.path}",
    ]
    return "\n\n".join(parts)


def _counts(found: Sequence[Tally]) -> str:
    heading = (
        *("kernel", "clock", "load", "suites", "scenarios", "lost", "checks", "failed", "inconclusive"),
        *("failures/1000", "at most"),
    )
    rows = [
        (
            *(tally.kernel, tally.clock, tally.load),
            *map(str, (tally.suites, tally.scenarios, tally.lost, tally.checks)),
            *map(str, (tally.failed_checks, tally.inconclusive_checks)),
            *(f"{tally.per_thousand:.3f}", f"{tally.per_thousand_upper:.3f}"),
        )
        for tally in found
    ]
    return _table((heading, *rows), left=3)


def _suites(found: Sequence[Tally]) -> str:
    heading = ("kernel", "clock", "load", "with failure", "at most", "distinct", "over wire")
    rows = [
        (
            *(tally.kernel, tally.clock, tally.load),
            f"{tally.alarmed} of {tally.suites}",
            f"{100 * tally.alarmed_upper:.2f} %",
            f"{tally.distinct} of {tally.scenarios}",
            "-" if tally.over_wire_max_us is None else f"{tally.over_wire_max_us} ({tally.over_wire_where})",
        )
        for tally in found
    ]
    return _table((heading, *rows), left=3)


def _troubles(found: Sequence[Trouble], width: int) -> list[str]:
    """Return each problem: a line, the reason, and the recording on an unbroken line."""
    parts = []
    for trouble in found:
        where = f"{trouble.kernel}, {trouble.clock} time, load {trouble.load}"
        lines = [f"{trouble.outcome.upper()} {trouble.scenario} ({where}): {_times(trouble)}"]
        reason = ": ".join(part for part in (trouble.check, trouble.message) if part)
        lines += wrap(reason, width, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
        lines += [f"    {trouble.recording}"] if trouble.recording else []
        parts.append("\n".join(lines))
    return parts


def _times(trouble: Trouble) -> str:
    return f"in suite {trouble.suite}" + (f", the first of {trouble.times}" if trouble.times > 1 else "")


def _medians(found: Sequence[Median], width: int) -> list[str]:
    if not found:
        return []
    heading = ("constant delay", "kernel", "clock", "runs", "smallest median us", "largest", "within 1 us")
    rows = [
        (
            *(median.scenario, median.release, median.clock),
            *map(str, (median.runs, median.smallest_us, median.largest_us)),
            _agree(median),
        )
        for median in found
    ]
    parts = [_table((heading, *rows), left=3)]
    virtual = [median for median in found if median.clock == "virtual" and median.runs > 1]
    if virtual:
        same = sum(median.same for median in virtual)
        parts.append(f"in virtual time {same} of {len(virtual)} medians are the same to 1 us")
    return [*parts, _wrapped(MEDIANS_MEAN, width)]


def _agree(median: Median) -> str:
    """Return yes, no, NO (in virtual time, where medians must agree), or a dash for a single run."""
    if median.runs == 1:
        return "-"
    return "yes" if median.same else "NO" if median.clock == "virtual" else "no"


def _wrapped(sentence: str, width: int) -> str:
    return "\n".join(wrap(sentence, width, break_on_hyphens=False))


def _table(rows: Iterable[Sequence[str]], *, left: int) -> str:
    """Return aligned columns, the first ``left`` of them left-aligned."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        _GAP.join(
            cell.ljust(width) if number < left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
