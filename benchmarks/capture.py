"""What capturing costs: what it adds to a sample, and what becomes of the packets after the traffic.

Run it as root: ``python -m benchmarks.capture [--json]``. A guest in virtual time runs one scenario with captures at
all four points and without, in turn, so that the difference is the captures' alone. Laying packets out as pcapng and
reading their headers is measured on this machine, beside scapy doing the same to fewer packets.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rttcheck.collect.wire.frames import Frames
from rttcheck.collect.wire.parser import SNAP, parse
from rttcheck.collect.wire.pcapng import CapturedInterface, pcapng

KERNEL = "debian:6.12"
SCENARIO = "rtt-10ms"
PACKETS = 10_000
_IN_TURN = 3
_POINTS = ("client", "link-near", "link-far", "server")
_TIMES = 20
_FOR_SCAPY = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Times are of data samples in microseconds of the guest, and in milliseconds of this machine."""

    kernel: str
    without_us: float
    """What they have over the injected round trip, nothing captured."""
    with_us: float
    written_ms: float
    """Median for `PACKETS` packets."""
    written_bytes: int
    peak_bytes: int
    """Memory while they are written, the file among it and the frames not."""
    scapy_written_ms: float
    """The same number of packets, at the rate at which scapy's PcapNgWriter writes fewer."""
    parsed_per_s: float
    scapy_parsed_per_s: float


def measure() -> Cost:
    """All of it. Raises SystemExit when the guest does not do what it is told."""
    inside = _guest()
    sources = [
        CapturedInterface(name=name, interface="eth0", frames=_frames(PACKETS // len(_POINTS))) for name in _POINTS
    ]

    def write() -> bytes:
        return pcapng(sources, started_ns=0, ended_ns=1, comment="")

    frames = _frames(PACKETS)
    tracemalloc.start()
    size = len(write())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    parsed_s = _median_s(lambda: parse(frames.bytes, frames.captured))
    scapy_written_s, scapy_parsed_s = _scapy(frames)
    return Cost(
        kernel=inside["kernel"],
        without_us=inside["without"],
        with_us=inside["with"],
        written_ms=_median_s(write) * 1e3,
        written_bytes=size,
        peak_bytes=peak,
        scapy_written_ms=scapy_written_s * PACKETS / _FOR_SCAPY * 1e3,
        parsed_per_s=PACKETS / parsed_s,
        scapy_parsed_per_s=_FOR_SCAPY / scapy_parsed_s,
    )


def rows(cost: Cost) -> list[str]:
    """Return the lines of the table in docs/performance.md."""
    return [
        f"| captures at four points add to a data sample (of {cost.without_us:.1f} µs over the injected round trip) "
        f"| {cost.with_us - cost.without_us:.1f} µs | |",
        f"| {PACKETS:,} packets written as pcapng, {cost.written_bytes / 1e6:.1f} MB in {cost.peak_bytes / 1e6:.1f} MB "
        f"of memory | {cost.written_ms:.1f} ms | {cost.scapy_written_ms:.0f} ms (scapy) |",
        f"| headers read, packets a second | {cost.parsed_per_s:,.0f} | {cost.scapy_parsed_per_s:,.0f} (scapy) |",
    ]


def _guest() -> dict[str, Any]:
    command = [sys.executable, "-m", "rttcheck.cli", "guest", KERNEL, "--"]
    command += [sys.executable, "-m", "benchmarks.capture", "--inside"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr.strip()}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def inside() -> dict[str, str | float]:
    """In the guest: what data samples have over the injected round trip, with captures and without.

    The mean of each run, since samples are whole microseconds; of the runs the median, since in one of a hundred the
    kernel's own work makes some sample half a millisecond late, captured or not.
    """
    from rttcheck.collect.collector import DRAIN_DEADLINE_S, open_lab
    from rttcheck.collect.probe.probe import open_probe
    from rttcheck.collect.traffic import run_traffic
    from rttcheck.collect.wire.capture import frames_for, open_capture
    from rttcheck.judge.samples import Kind, classify
    from rttcheck.scenario.library import NAMED

    scenario = NAMED[SCENARIO]
    injected_us = (scenario.out.delay_ns + scenario.back.delay_ns) / 1e3
    held: list[int] = []
    excess: dict[str, list[float]] = {"without": [], "with": []}
    with open_probe("auto") as probe:
        for way in ("without", "with") * _IN_TURN:
            with (
                open_lab(scenario) as lab,
                open_capture(lab, frames=frames_for(scenario)) if way == "with" else nullcontext(),
                probe.watch(lab.inodes) as watch,
            ):
                # As the collector does: a namespace that goes away would disturb the next round.
                held += [os.dup(namespace.fd) for namespace in lab.namespaces]
                watch.settle()
                watch.settle()
                run_traffic(lab, scenario, on_step=None)
                lab.drain(deadline_s=DRAIN_DEADLINE_S)
                watch.stop()
                events = watch.events()
            excess[way].append(float(events["sample_us"][classify(events) == Kind.DATA].mean()) - injected_us)
    for descriptor in held:
        os.close(descriptor)
    return {"kernel": os.uname().release, **{way: statistics.median(means) for way, means in excess.items()}}


def _frames(count: int) -> Frames:
    """Segments and ACKs as a lab has them: 66 bytes of headers, SACK blocks in one of eight, data behind in a half."""
    table = np.zeros((count, SNAP), dtype=np.uint8)
    captured = np.zeros(count, dtype=np.int64)
    addresses = bytes((198, 18, 1, 2, 198, 18, 2, 2))
    for row in range(count):
        options = struct.pack("!BBBBII", 1, 1, 8, 10, row, row)
        if row % 8 == 0:
            options += struct.pack("!BBBBII", 1, 1, 5, 10, row, row + 1)
        data = bytes(40 * (row % 2))
        tcp = struct.pack("!HHIIBBHHH", 40_000, 5_000, row, row, (20 + len(options)) << 2, 16, 501, 0, 0)
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp + options + data), row & 0xFFFF, 0x4000, 64, 6, 0)
        frame = b"\x02" * 12 + b"\x08\x00" + ip + addresses + tcp + options + data
        table[row, : len(frame)] = np.frombuffer(frame, np.uint8)
        captured[row] = len(frame)
    return Frames(
        bytes=table,
        captured=captured,
        lengths=captured,
        realtime_ns=1_795_390_907_611_950_924 + 1_000 * np.arange(count, dtype=np.int64),
        outgoing=(np.arange(count) % 2).astype(np.uint8),
        dropped=0,
    )


def _median_s(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(_TIMES):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def _scapy(frames: Frames) -> tuple[float, float]:
    """Seconds that scapy takes to write and to read the headers of `_FOR_SCAPY` packets."""
    from scapy.layers.l2 import Ether
    from scapy.utils import PcapNgWriter

    held = [bytes(row[:size]) for row, size in zip(frames.bytes, frames.captured, strict=True)][:_FOR_SCAPY]
    started = time.perf_counter()
    packets = [Ether(frame) for frame in held]
    parsed_s = time.perf_counter() - started
    with tempfile.NamedTemporaryFile(suffix=".pcapng") as file:
        started = time.perf_counter()
        with PcapNgWriter(file.name) as writer:
            for packet in packets:
                writer.write(packet)
        written_s = time.perf_counter() - started
    return written_s, parsed_s


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        print(json.dumps(inside()))
        return 0
    cost = measure()
    print(json.dumps(asdict(cost)) if asked.json else "\n".join(rows(cost)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
