"""What each probe costs the kernel, beside the tools that people use: ``python -m benchmarks.probe_cost [--json]``.

A guest in virtual time with one processor sends the same bytes over the same lab, with each observer and without. There
an instruction takes a nanosecond, so that the figures are exact and the machine's load is in none of them; a real
processor executes several instructions a nanosecond, and waits for caches.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

from rttcheck_netns import Lab

KERNEL = "debian:6.12"
SEGMENTS: Final = 3_000
SEGMENT: Final = 1_448
"""Bytes: as many as fit into a packet."""
_IN_TURN: Final = 3
_QUIET_S: Final = 1.0
"""Seconds of the guest after an observer was attached, in which the kernel frees what that took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One observer's. Times are of the guest, in nanoseconds."""

    name: str
    hook: str
    records: str
    why_not: str = ""
    """Why it was not measured."""
    programs: int = 0
    """How many programs ran."""
    events: int = 0
    ran_ns: int = 0
    """All of its programs together (``bpf_stats``), for all events."""
    without_ns: int = 0
    """To send `SEGMENTS` without it, in turn with it, nothing counted."""
    with_ns: int = 0

    @property
    def event_ns(self) -> float:
        """Of programs, an event."""
        return self.ran_ns / self.events

    @property
    def whole_event_ns(self) -> float:
        """Of everything, an event: what calls the programs is in it."""
        return (self.with_ns - self.without_ns) / self.events


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All observers on one kernel, and the versions of the tools."""

    kernel: str
    versions: dict[str, str]
    costs: tuple[Cost, ...]


def measure(kernel: str = KERNEL, only: str = "") -> Measured:
    """Boot a guest and measure those whose name has ``only`` in it. Raises SystemExit when the guest fails."""
    from rttcheck.kernels.archive import fetch
    from rttcheck.kernels.guest import GuestSettings, launcher_command

    fetch(kernel, headers=True)
    # Of two processors in virtual time one waits while the other has its turn.
    command = launcher_command(GuestSettings(kernel=kernel, cpus=1))
    command += ["-m", "benchmarks.probe_cost", "--inside", "--only", only]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr.strip()}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return Measured(
        kernel=told["kernel"], versions=told["versions"], costs=tuple(Cost(**cost) for cost in told["costs"])
    )


def rows(measured: Measured) -> list[str]:
    """Return the lines of the section in docs/performance.md."""
    versions = ", ".join(f"{package} {version}" for package, version in measured.versions.items())
    return [
        f"Linux {measured.kernel} in virtual time, one processor; {versions}.",
        f"{SEGMENTS:,} segments of {SEGMENT:,} bytes through three namespaces, each with its own ACK; the sockets",
        'of both ends are seen. "The function" is `tcp_ack_update_rtt()`.',
        "",
        "| observer | called at | programs | events | ns an event | in programs (`bpf_stats`) "
        "| MB/s without, with | what it records |",
        "|---|---|---:|---:|---:|---:|---:|---|",
        *(
            f"| {cost.name} | {cost.hook} | | | | | | not measured: {cost.why_not} |"
            if cost.why_not
            else f"| {cost.name} | {cost.hook} | {cost.programs} | {cost.events:,} | {cost.whole_event_ns:,.0f} "
            f"| {cost.event_ns:,.0f} | {_rate(cost.without_ns):.1f}, {_rate(cost.with_ns):.1f} | {cost.records} |"
            for cost in measured.costs
        ),
    ]


def _rate(taken_ns: int) -> float:
    return SEGMENTS * SEGMENT / taken_ns * 1e3


def inside(only: str) -> dict[str, Any]:
    """In the guest: measure one observer after the other."""
    from benchmarks.observers import OBSERVERS
    from rttcheck_netns import routed

    costs = []
    with routed() as lab:
        _sent_ns(lab, SEGMENTS)
        for observer in OBSERVERS:
            if only in observer.name:
                costs.append(_cost(observer, lab))
                print(costs[-1], file=sys.stderr)
    return {"kernel": os.uname().release, "versions": _versions(), "costs": [asdict(cost) for cost in costs]}


def _cost(observer: Any, lab: Lab) -> Cost:
    from benchmarks.bpf_programs import counted, programs
    from benchmarks.observers import NotHere

    about = {"name": observer.name, "hook": observer.hook, "records": observer.records}
    send: Callable[[], int] = partial(_sent_ns, lab, SEGMENTS)
    before = programs()
    without, taken = [], []
    try:
        without += [send() for _ in range(_IN_TURN)]
        with observer.open(lab, partial(_sent_ns, lab, 1)) as watch:
            time.sleep(_QUIET_S)
            for _ in range(_IN_TURN):
                with watch():
                    taken.append(send())
            with counted():
                start = programs()
                with watch() as watched:
                    send()
                ended = {number: one for number, one in programs().items() if number not in before}
        without += [send() for _ in range(_IN_TURN)]
    except NotHere as reason:
        return Cost(**about, why_not=str(reason))
    ran = [(one.ns - start[number].ns, one.times - start[number].times) for number, one in ended.items()]
    return Cost(
        **about,
        programs=sum(times > 0 for _, times in ran),
        events=watched.events if watched.events is not None else max(times for _, times in ran),
        ran_ns=sum(ns for ns, _ in ran),
        without_ns=int(statistics.median(without)),
        with_ns=int(statistics.median(taken)),
    )


def _sent_ns(lab: Lab, segments: int) -> int:
    """Send segments over a new connection, one a write, and return how long that took until the last had come.

    One thread has both ends, so that no scheduling is in it. The lab's ends delay no ACK: each segment has its own.
    """
    with (
        lab.server.namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as listener,
        lab.client.namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as client,
    ):
        listener.bind((lab.server.ipv4, 0))
        listener.listen()
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        with server:
            data, room = bytes(SEGMENT), bytearray(1 << 20)
            came = 0
            started = time.monotonic_ns()
            for _ in range(segments):
                client.sendall(data)
                with suppress(BlockingIOError):
                    came += server.recv_into(room, 0, socket.MSG_DONTWAIT)
            while came < segments * SEGMENT:
                came += server.recv_into(room)
            return time.monotonic_ns() - started


def _versions() -> dict[str, str]:
    """Return the versions of the tools' packages, as far as dpkg knows them."""
    query = ["dpkg-query", "-W", "-f=${Package} ${Version}\n", "bpfcc-tools", "libbpf-tools", "bpftrace"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    except OSError:
        return {}
    return dict(line.split() for line in told.splitlines() if len(line.split()) == 2)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--kernel", default=KERNEL, metavar="SPEC", help=f"of the guest ({KERNEL})")
    parser.add_argument("--only", default="", metavar="NAME", help="only observers with this in their name")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        print(json.dumps(inside(asked.only)))
        return 0
    measured = measure(asked.kernel, asked.only)
    print(json.dumps(asdict(measured)) if asked.json else "\n".join(rows(measured)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
