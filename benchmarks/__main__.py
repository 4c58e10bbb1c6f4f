"""Run the benchmarks and print their sections of docs/performance.md: ``python -m benchmarks``, as root.

``--write FILE`` replaces the sections in a document, ``--only NAME`` runs one alone. The machine must have nothing else
to do: what slows it down is measured, too, except in a guest's virtual time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.document import NoPlace, replaced

_HEAD = ["", "| what | rttcheck | the usual way, in the same run |", "|---|---|---|"]


def main() -> int:
    """Measure, print each section when it is done, and write it into the file that was named."""
    parser = argparse.ArgumentParser(description="measure rttcheck and print the sections of docs/performance.md")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="NAME", help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace what stands between each section's marks")
    parser.add_argument(
        "--kernels", nargs="+", metavar="SPEC", help="of the session of many (default: the newest of each series)"
    )
    parser.add_argument("--recordings", type=Path, metavar="DIR", help="keep those of the session of many kernels")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("the benchmarks build networks and boot guests: run them as root")
    for name in arguments.only or SECTIONS:
        print(f"measuring {name} ...", file=sys.stderr)
        lines = SECTIONS[name](arguments)
        print("\n".join(lines), flush=True)
        if arguments.write is not None:
            try:
                arguments.write.write_text(replaced(arguments.write.read_text(), name, lines))
            except NoPlace as lacking:
                sys.exit(f"{arguments.write}: {lacking}")
    return 0


def _lab(_: argparse.Namespace) -> list[str]:
    here = _measured([sys.executable, "benchmarks/lab.py", "--json"])
    return [
        f"On {os.cpu_count()} cores without KVM, Linux {here['kernel']}; medians of 30 builds, in turn with the "
        "other way.",
        *_HEAD,
        f"| lab built: 3 namespaces, 2 veth pairs, IPv4 and IPv6, {here['discipline']} "
        f"| {_ms(here, 'netlink', 'build')} | {_ms(here, 'batch', 'build')} (`ip -batch`, `tc -batch`) |",
        f"| lab gone | {_ms(here, 'netlink', 'gone')} | {_ms(here, 'batch', 'gone')} (`ip netns del`) |",
    ]


def _session(_: argparse.Namespace) -> list[str]:
    from benchmarks.session import measure

    session = measure()
    return [
        f"A guest of {session.kernel} in virtual time.",
        *_HEAD,
        f"| a guest's suite when all is installed: boot, {session.scenarios} scenarios, verdict "
        f"| {session.whole_s:.1f} s | |",
        f"| of that, from the command to the first test | {session.first_test_s:.1f} s | |",
        f"| largest excess over the injected round trip, of {session.samples} data samples in "
        f"{len(session.excess_us)} constant-delay scenarios | {max(session.excess_us)} µs | |",
    ]


def _judging(_: argparse.Namespace) -> list[str]:
    from benchmarks.judging import dictionary_s, judged, whole_rows

    million = {kind: judged(kind, 1_000_000) for kind in ("ping-pong", "bulk", "lossy")}
    whole = [judged(kind, events, whole=True) for kind in million for events in (10_000, 100_000, 1_000_000)]
    return [
        *_HEAD[1:],
        *(
            f"| {one.events:,} samples against their {one.packets:,} packets, {kind} | {one.seconds:.1f} s, "
            f"{one.beside_mb} MB beside the tables | {dictionary_s(kind):.0f} s (a dictionary of packets in Python) |"
            for kind, one in million.items()
        ),
        *whole_rows(whole),
    ]


def _relay(_: argparse.Namespace) -> list[str]:
    relay = _measured([sys.executable, "benchmarks/relay.py", "--json"])
    return [
        *_HEAD[1:],
        *(
            f"| relay at {at['per_second']:,} packets/s: let go after the due time, median, 99th percentile, most "
            f"| {at['late_p50']:.0f}, {at['late_p99']:.0f}, {at['late_max']:.0f} µs; {at['early']} early "
            f"| {at['timer_p50']:.0f}, {at['timer_p99']:.0f}, {at['timer_max']:.0f} µs (timers of the same seconds) |"
            for at in relay["precision"]
        ),
        f"| most packets of 100 bytes a second through the relay | {relay['most_per_second']['relay']:,} "
        f"| {relay['most_per_second']['forwarding']:,} (a forwarding kernel) |",
    ]


def _captures(_: argparse.Namespace) -> list[str]:
    from benchmarks import capture

    return [*_HEAD[1:], *capture.rows(capture.measure())]


def _probe_cost(_: argparse.Namespace) -> list[str]:
    from benchmarks import probe_cost

    return probe_cost.rows(probe_cost.measure())


def _phases(_: argparse.Namespace) -> list[str]:
    from benchmarks import suite_phases

    return suite_phases.rows(suite_phases.measure())


def _side_by_side(_: argparse.Namespace) -> list[str]:
    from benchmarks import side_by_side

    return [f"Linux {os.uname().release}, {os.cpu_count()} cores.", "", *side_by_side.rows(side_by_side.measure())]


def _guests(arguments: argparse.Namespace) -> list[str]:
    from benchmarks import guests
    from rttcheck.kernels.series import newest_cached

    return [*_HEAD[1:], *guests.rows(arguments.kernels or newest_cached(), arguments.recordings)]


SECTIONS: dict[str, Callable[[argparse.Namespace], list[str]]] = {
    "lab": _lab,
    "session": _session,
    "phases": _phases,
    "side-by-side": _side_by_side,
    "judging": _judging,
    "relay": _relay,
    "captures": _captures,
    "probe-cost": _probe_cost,
    "guests": _guests,
}
"""By name, in the order of the document: each measures, and returns the lines between its marks."""


def _measured(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr.strip()}")
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def _ms(measured: dict[str, Any], way: str, step: str) -> str:
    return f"{statistics.median(measured['milliseconds'][way][step]):.2f} ms"


if __name__ == "__main__":
    sys.exit(main())
