"""What differs between kernels, from their recordings: ``python -m benchmarks.kernels DIRECTORY``.

DIRECTORY is what ``--rtt-recordings`` was given: a directory a kernel release, in it one recording of each scenario.
Printed is Markdown, the tables of docs/kernels.md. Nothing is measured here, no root is needed, and the same recordings
give the same tables on any machine.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rttcheck.compare.path import STAGES, Paths
from rttcheck.errors import RttcheckError
from rttcheck.judge.evidence import Evidence
from rttcheck.judge.findings import Outcome
from rttcheck.judge.pairing.transit import WAYS, Transit
from rttcheck.judge.pairing.wire_times import WireTimes
from rttcheck.judge.samples import Kind, Side
from rttcheck.judge.verdict import judge
from rttcheck.judging.result import Result, Row
from rttcheck.record.packet import Point
from rttcheck.record.recording import SUFFIX, Recording
from rttcheck.report.markdown import markdown
from rttcheck.scenario.library import NAMED
from rttcheck.scenario.model import Scenario

Suite = dict[str, Recording]
"""The recordings of one kernel by their scenario's name, in the library's order."""

QUIET = "rtt-40ms"
"""One exchange at a time over a constant delay: all that differs is the kernel."""
QUEUE = "slow-start"
"""One flow into a queue, benchmarks/slow-start.toml."""


def suites(directory: Path) -> dict[str, Suite]:
    """Of each kernel release in ``directory`` its recordings, the oldest kernel first.

    Raises RecordingError for a damaged one, SystemExit where there is none.
    """
    order = list(NAMED)
    found: dict[str, Suite] = {}
    for path in sorted(directory.glob(f"*/*{SUFFIX}")):
        recording = Recording.load(path)
        found.setdefault(recording.kernel, {})[str(recording.scenario["name"])] = recording
    if not found:
        sys.exit(f"{directory} has no recordings in directories of kernels; give what --rtt-recordings was given")

    def place(name: str) -> tuple[int, str]:
        return (order.index(name) if name in order else len(order), name)

    return {
        kernel: {name: found[kernel][name] for name in sorted(found[kernel], key=place)}
        for kernel in sorted(found, key=version)
    }


def version(release: str) -> tuple[int, ...]:
    """What releases are sorted by: ``6.12.117+deb13-amd64`` comes after ``6.1.0-56-amd64``."""
    return tuple(int(number) for number in re.findall(r"\d+", release))


def series(release: str) -> str:
    """``6.12`` for ``6.12.117+deb13-amd64``."""
    return ".".join(str(number) for number in version(release)[:2])


def verdicts(kernels: Mapping[str, Suite]) -> str:
    """Every recording judged again: the table of medians and outcomes, and how many checks there were."""
    rows: list[Row] = []
    counts = []
    for kernel, suite in kernels.items():
        tally = dict.fromkeys(Outcome, 0)
        blind = 0
        for recording in suite.values():
            verdict = judge(recording)
            rows.append(Result(recording=recording, verdict=verdict).row() | {"asked": series(kernel)})
            blind += len(verdict.blind)
            for finding in verdict.findings:
                tally[finding.outcome] += not finding.blind
        counts.append([series(kernel), *(str(tally[outcome]) for outcome in Outcome), str(blind)])
    return f"{markdown(rows)}\n" + _table(["kernel", *(f"checks {one}" for one in Outcome), "not run"], counts)


def stages(kernels: Mapping[str, Suite]) -> str:
    """Medians of the stages of a data sample, microseconds; a link's share is told as what it takes over its delay."""
    rows = []
    for kernel, suite in _with(kernels, QUIET):
        recording = suite[QUIET]
        evidence = Evidence.of(recording)
        paths = Paths.of(evidence, WireTimes.of(recording.events, recording.wire, recording.flows))
        delay_us = evidence.scenario.rtt_us / 2
        for side in (Side.CLIENT, Side.SERVER):
            chosen = paths.chosen(side, Kind.DATA)
            handshake = paths.chosen(side, Kind.HANDSHAKE)
            cells = [float(np.median(paths.stages_us[stage][chosen])) for stage in STAGES]
            over = [cell - delay_us if "link" in stage else cell for stage, cell in zip(STAGES, cells, strict=True)]
            rows.append([
                series(kernel), side.name.lower(), f"{np.median(paths.total_us[chosen]):.0f}",
                *(f"{one:.1f}" for one in over), ", ".join(f"{one:.0f}" for one in paths.total_us[handshake]),
            ])  # fmt: skip
    return _table(["kernel", "side", "sample", *STAGES, "handshake"], rows)


def link(kernels: Mapping[str, Suite]) -> str:
    """What netem takes over its delay, medians in microseconds: of data and of pure ACKs, in each direction."""
    rows = []
    for kernel, suite in _with(kernels, QUIET):
        recording = suite[QUIET]
        cells = []
        for way in WAYS:
            transit = Transit.of(recording.wire, way)
            over_us = (transit.longest_ns - Scenario.make(**recording.scenario).out.delay_ns) / 1_000
            data = recording.wire["payload"][transit.left[transit.matched]] > 0
            cells += [f"{np.median(over_us[chosen]):.1f}" for chosen in (data, ~data)]
        rows.append([series(kernel), *cells])
    return _table(["kernel", *(f"{what} {way}" for way in WAYS for what in ("data", "ACKs"))], rows)


def accounts(kernels: Mapping[str, Suite]) -> str:
    """What a kernel says of its client's socket at the end, and how many events and packets there were."""
    fields = {"rtt_us": "srtt", "rttvar_us": "mdev", "min_rtt_us": "min_rtt", "rto_us": "RTO"}
    return _of(kernels, QUIET, lambda one: [*_counts(one), *_infos(one, fields)], [*_COUNTED, *fields.values()])


def queue(kernels: Mapping[str, Suite]) -> str:
    """Slow start into a queue of the link's own: how far each kernel goes."""
    fields = {"snd_ssthresh": "ssthresh", "snd_cwnd": "cwnd", "rtt_us": "srtt", "rto_us": "RTO"}

    def cells(recording: Recording) -> list[str]:
        sample = recording.events["sample_us"][Evidence.of(recording).data]
        flight = str(int(recording.events["packets_out"].max()))
        return [flight, f"{np.median(sample):.0f}", str(int(sample.max())), *_infos(recording, fields)]

    return _of(kernels, QUEUE, cells, ["most in flight", "median", "most", *fields.values()])


def settings(kernels: Mapping[str, Suite]) -> str:
    """The sysctls of a lab's namespaces that are not the same on all kernels."""
    found = {kernel: suite[QUIET].sysctls for kernel, suite in _with(kernels, QUIET)}
    names = sorted({name for sysctls in found.values() for name in sysctls})
    rows = []
    for name in names:
        values = [sysctls.get(name, "absent") for sysctls in found.values()]
        if len(set(values)) > 1:
            rows.append([name, *values])
    return _table(["sysctl", *map(series, found)], rows)


_COUNTED = ("events", "client sent", "server sent")


def _counts(recording: Recording) -> list[str]:
    wire = recording.wire
    own = [(wire["point"] == point) & (wire["outgoing"] == 1) for point in (Point.CLIENT, Point.SERVER)]
    return [str(len(recording.events)), *(str(int(one.sum())) for one in own)]


def _infos(recording: Recording, fields: Iterable[str]) -> list[str]:
    info: Mapping[str, Any] = recording.flows[0]["client_info"]
    return [str(info.get(field, "-")) for field in fields]


def _with(kernels: Mapping[str, Suite], name: str) -> list[tuple[str, Suite]]:
    return [(kernel, suite) for kernel, suite in kernels.items() if name in suite]


def _of(kernels: Mapping[str, Suite], name: str, cells: Callable[[Recording], list[str]], heads: Sequence[str]) -> str:
    return _table(["kernel", *heads], [[series(kernel), *cells(suite[name])] for kernel, suite in _with(kernels, name)])


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *("---:" for _ in heads[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


SECTIONS: tuple[tuple[str, Callable[[Mapping[str, Suite]], str]], ...] = (
    ("Verdicts", verdicts),
    (f"Where the time goes: {QUIET}", stages),
    (f"Inside the link: {QUIET}", link),
    (f"What sockets say: {QUIET}", accounts),
    (f"Slow start into a queue: {QUEUE}", queue),
    ("Settings", settings),
)


BEGIN, END = "<!-- tables -->", "<!-- /tables -->"


def tables(kernels: Mapping[str, Suite]) -> str:
    """All sections as one text."""
    return "\n".join(f"## {title}\n\n{section(kernels)}" for title, section in SECTIONS)


def main() -> int:
    """Print the tables, or put them in their place in a file."""
    parser = argparse.ArgumentParser(description="what differs between kernels, from their recordings, as Markdown")
    parser.add_argument("recordings", type=Path, metavar="DIRECTORY", help="as given to --rtt-recordings")
    parser.add_argument("--write", type=Path, metavar="FILE", help=f"replace what stands between {BEGIN} and {END}")
    arguments = parser.parse_args()
    try:
        text = tables(suites(arguments.recordings))
    except RttcheckError as error:
        sys.exit(str(error))
    if arguments.write is None:
        print(text)
        return 0
    before, begin, rest = arguments.write.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{arguments.write} has no place for the tables: put {BEGIN} and {END} in it")
    arguments.write.write_text(f"{before}{BEGIN}\n{text}{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
