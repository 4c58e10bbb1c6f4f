"""Run all benchmarks and print the table of docs/performance.md: ``python -m benchmarks [--write FILE]``, as root.

The machine must have nothing else to do: what slows it down is measured, too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- measured -->", "<!-- /measured -->"


def main() -> int:
    """Measure, print the table, and write it into the file that was named."""
    parser = argparse.ArgumentParser(description="measure rttcheck and print the table of docs/performance.md")
    parser.add_argument("--write", type=Path, metavar="FILE", help=f"replace what stands between {BEGIN} and {END}")
    parser.add_argument(
        "--kernels", nargs="+", metavar="SPEC", help="of the session of many (default: the newest of each series)"
    )
    parser.add_argument("--recordings", type=Path, metavar="DIR", help="keep those of the session of many kernels")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("the benchmarks build networks and boot guests: run them as root")
    print("measuring labs on the running kernel ...", file=sys.stderr)
    here = _measured([sys.executable, "benchmarks/lab.py", "--json"])
    print("measuring the relay ...", file=sys.stderr)
    relay = _measured([sys.executable, "benchmarks/relay.py", "--json"])
    print("measuring a session in a guest, twice ...", file=sys.stderr)
    from benchmarks.session import measure

    session = measure()
    print("measuring the judge on a million events ...", file=sys.stderr)
    from benchmarks.judging import dictionary_s, judged, whole_rows

    million = {kind: judged(kind, 1_000_000) for kind in ("ping-pong", "bulk", "lossy")}
    whole = [judged(kind, events, whole=True) for kind in million for events in (10_000, 100_000, 1_000_000)]
    print("measuring what captures cost, in a guest and here ...", file=sys.stderr)
    from benchmarks import capture

    costs = capture.rows(capture.measure())
    print("measuring guests, and a session of many kernels ...", file=sys.stderr)
    from benchmarks import guests
    from rttcheck.kernels.series import newest_cached

    many = guests.rows(arguments.kernels or newest_cached(), arguments.recordings)
    lines = [
        f"On {os.cpu_count()} cores without KVM, Linux {here['kernel']}; guest {session.kernel} in virtual time.",
        "Medians of the lab are of 30 builds, in turn with the other way. `make bench` writes this table.",
        "",
        "| what | rttcheck | the usual way, in the same run |",
        "|---|---|---|",
        f"| lab built: 3 namespaces, 2 veth pairs, IPv4 and IPv6, {here['discipline']} "
        f"| {_ms(here, 'netlink', 'build')} | {_ms(here, 'batch', 'build')} (`ip -batch`, `tc -batch`) |",
        f"| lab gone | {_ms(here, 'netlink', 'gone')} | {_ms(here, 'batch', 'gone')} (`ip netns del`) |",
        f"| a guest's suite when all is installed: boot, {session.scenarios} scenarios, verdict "
        f"| {session.whole_s:.1f} s | |",
        f"| of that, from the command to the first test | {session.first_test_s:.1f} s | |",
        f"| largest excess over the injected round trip, of {session.samples} data samples in "
        f"{len(session.excess_us)} constant-delay scenarios | {max(session.excess_us)} µs | |",
        *(
            f"| {one.events:,} samples against their {one.packets:,} packets, {kind} | {one.seconds:.1f} s, "
            f"{one.beside_mb} MB beside the tables | {dictionary_s(kind):.0f} s (a dictionary of packets in Python) |"
            for kind, one in million.items()
        ),
        *whole_rows(whole),
        *(
            f"| relay at {at['per_second']:,} packets/s: let go after the due time, median, 99th percentile, most "
            f"| {at['late_p50']:.0f}, {at['late_p99']:.0f}, {at['late_max']:.0f} µs; {at['early']} early "
            f"| {at['timer_p50']:.0f}, {at['timer_p99']:.0f}, {at['timer_max']:.0f} µs (timers of the same seconds) |"
            for at in relay["precision"]
        ),
        f"| most packets of 100 bytes a second through the relay | {relay['most_per_second']['relay']:,} "
        f"| {relay['most_per_second']['forwarding']:,} (a forwarding kernel) |",
        *costs,
        *many,
    ]
    table = "\n".join(lines)
    print(table)
    if arguments.write is not None:
        text = arguments.write.read_text()
        before, begin, rest = text.partition(BEGIN)
        _, end, after = rest.partition(END)
        if not begin or not end:
            sys.exit(f"{arguments.write} has no place for the table: put {BEGIN} and {END} in it")
        arguments.write.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")
    return 0


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
