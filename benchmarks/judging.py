"""How long it takes to judge samples by their packets, and what memory it takes beside the recording's own tables.

Run it as anyone: ``python -m benchmarks.judging [--json] [--whole] [--events N ...]``. With ``--whole`` a recording
goes through all layers of ``judge()``, else through the pairing of samples and packets alone. Each figure is of a
process of its own that loads what another one planted, so that making it is in neither time nor memory. What stands
beside the pairing is a dictionary of packets, as one would write it in an afternoon: it knows neither retransmissions
nor SACK.
"""

from __future__ import annotations

import argparse
import json
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.planted import RECORDINGS
from benchmarks.whole import WHOLE
from rttcheck.judge.findings import Outcome
from rttcheck.judge.pairing.wire_times import WireTimes, spread_us
from rttcheck.judge.verdict import judge
from rttcheck.record.packet import FIN, SYN, Point
from rttcheck.record.recording import Recording

SIZES = (100_000, 300_000, 1_000_000)
KINDS = ("ping-pong", "bulk", "lossy", "all SACK", "many")
ROUNDS = 3
BY_DICTIONARY = 50_000
"""Events that the dictionary is given: it is slow, and as slow for each."""
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What one recording took. The fastest of `ROUNDS` rounds counts."""

    kind: str
    events: int
    packets: int
    """Rows of the wire, at all four points."""
    tables_mb: int
    seconds: float
    processor_s: float
    """Without the time in which the machine did other things."""
    beside_mb: int
    """Most memory that the process ever had, less what it had with the tables loaded."""
    wrong: int
    """Samples that were given other packets than the planted ones; of a whole recording, checks that did not pass."""


def judged(kind: str, events: int, *, whole: bool = False) -> Judged:
    """Plant and judge, each in a process of its own. Raises SystemExit when one of them fails."""
    with tempfile.TemporaryDirectory() as folder:
        _child(*["--whole"] * whole, "--plant", kind, str(events), folder)
        return Judged(**json.loads(_child(*["--whole"] * whole, "--judge", kind, folder)))


def whole_rows(measured: Sequence[Judged]) -> list[str]:
    """Return the rows of docs/performance.md, one a recording that went through all layers."""
    return [
        f"| the whole verdict on {one.events:,} events and {one.packets:,} packets, {one.kind} | {one.seconds:.2f} s "
        f"({one.processor_s:.2f} s of processor), {one.beside_mb} MB beside the tables | |"
        for one in measured
    ]


def dictionary_s(kind: str, events: int = BY_DICTIONARY) -> float:
    """Seconds for 1,000,000 events by dictionary, from how long it takes for ``events``."""
    planted = RECORDINGS[kind](events)
    started = time.perf_counter()
    _by_dictionary(planted.events, planted.wire)
    return (time.perf_counter() - started) * 1_000_000 / len(planted.events)


def _by_dictionary(events: np.ndarray, wire: np.ndarray) -> list[tuple[int, int]]:
    """For each event its ACK's arrival and the departure of what ends there: no first segment, no Karn, no SACK."""
    sent: dict[tuple[bytes, bytes, int, int, int], int] = {}
    came: dict[tuple[bytes, bytes, int, int, int], int] = {}
    for packet in wire[(wire["point"] == Point.CLIENT) | (wire["point"] == Point.SERVER)]:
        source, target = packet["src"].tobytes(), packet["dst"].tobytes()
        ports = int(packet["sport"]), int(packet["dport"])
        if packet["outgoing"]:
            end = int(packet["seq"]) + int(packet["payload"]) + bool(packet["flags"] & (SYN | FIN))
            sent.setdefault((source, target, *ports, end & 0xFFFF_FFFF), int(packet["time_ns"]))
        else:
            came.setdefault((target, source, *ports[::-1], int(packet["ack"])), int(packet["time_ns"]))
    pairs = []
    for event in events:
        key = (
            event["saddr"].tobytes(), event["daddr"].tobytes(), int(event["sport"]), int(event["dport"]),
            int(event["snd_una"]),
        )  # fmt: skip
        pairs.append((came.get(key, -1), sent.get(key, -1)))
    return pairs


def _child(*arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks.judging", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _plant(kind: str, events: int, folder: Path) -> None:
    planted = RECORDINGS[kind](events)
    for name in ("events", "wire", "ack", "first", "last", "sack"):
        np.save(folder / f"{name}.npy", getattr(planted, name))
    (folder / "flows.json").write_text(json.dumps(planted.flows))


def _judge(kind: str, folder: Path) -> Judged:
    flows: Sequence[Mapping[str, Any]] = json.loads((folder / "flows.json").read_text())
    # What is imported and set up the first time is no part of a judge's work.
    events, wire = (np.load(folder / f"{name}.npy") for name in ("events", "wire"))
    _judge_once(events[:100], wire[:100], flows)
    before = _memory_kb("VmRSS")
    took = []
    for _ in range(ROUNDS):
        wire_times: WireTimes | None = None
        began, busy = time.perf_counter(), time.process_time()
        wire_times = _judge_once(events, wire, flows)
        took.append((time.perf_counter() - began, time.process_time() - busy))
    assert wire_times is not None
    pairs = wire_times.pairs
    sides = ("ack", "first", "last", "sack")
    return Judged(
        kind=kind,
        events=len(events),
        packets=len(wire),
        tables_mb=(events.nbytes + wire.nbytes) // _MEGABYTE,
        seconds=min(wall for wall, _ in took),
        processor_s=min(busy for _, busy in took),
        # Not ru_maxrss: that begins with what the process had that started this one.
        beside_mb=(_memory_kb("VmHWM") - before) * 1_024 // _MEGABYTE,
        wrong=sum(int((getattr(pairs, side) != np.load(folder / f"{side}.npy")).sum()) for side in sides),
    )


def _plant_whole(kind: str, events: int, folder: Path) -> None:
    with (folder / "recording").open("wb") as file:
        pickle.dump(WHOLE[kind](events), file, protocol=5)


def _judge_whole(kind: str, folder: Path) -> Judged:
    with (folder / "recording").open("rb") as file:
        # Planted a moment ago by this program: no file of others is unpickled.
        recording: Recording = pickle.load(file)
    judge(WHOLE[kind](100))
    before, took = _memory_kb("VmRSS"), []
    for _ in range(ROUNDS):
        began, busy = time.perf_counter(), time.process_time()
        verdict = judge(recording)
        took.append((time.perf_counter() - began, time.process_time() - busy))
    tables = [getattr(recording, name) for name in ("events", "second", "wire", "stamps", "writes")]
    return Judged(
        kind=kind,
        events=len(recording.events),
        packets=len(recording.wire),
        tables_mb=sum(table.nbytes for table in tables) // _MEGABYTE,
        seconds=min(wall for wall, _ in took),
        processor_s=min(busy for _, busy in took),
        beside_mb=(_memory_kb("VmHWM") - before) * 1_024 // _MEGABYTE,
        wrong=sum(finding.outcome is not Outcome.PASSED for finding in verdict.findings),
    )


def _judge_once(events: np.ndarray, wire: np.ndarray, flows: Sequence[Mapping[str, Any]]) -> WireTimes:
    """Pairing, and every value against its packets."""
    wire_times = WireTimes.of(events, wire, flows)
    for account in (*wire_times.exact, wire_times.coarse):
        (account.over_ns <= -account.grain_ns).any()
    len(wire_times.unpaired)
    spread_us(wire_times.over_ns)
    return wire_times


def _memory_kb(name: str) -> int:
    """``VmRSS``, what the process has in memory, or ``VmHWM``, the most that it ever had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def main() -> int:
    """Measure every kind at every size."""
    parser = argparse.ArgumentParser(description="measure how long judging samples by their packets takes")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--whole", action="store_true", help="all layers, on whole recordings")
    parser.add_argument("--kinds", nargs="+", help="of recordings")
    parser.add_argument("--events", type=int, nargs="+", default=SIZES, help="sizes of the recordings")
    parser.add_argument("--plant", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--judge", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.plant:
        kind, events, folder = arguments.plant
        (_plant_whole if arguments.whole else _plant)(kind, int(events), Path(folder))
        return 0
    if arguments.judge:
        kind, folder = arguments.judge
        print(json.dumps(asdict((_judge_whole if arguments.whole else _judge)(kind, Path(folder)))))
        return 0
    for kind in arguments.kinds or (WHOLE if arguments.whole else KINDS):
        for events in arguments.events:
            one = judged(kind, events, whole=arguments.whole)
            if arguments.json:
                print(json.dumps(asdict(one)), flush=True)
                continue
            if arguments.whole:
                print(*whole_rows([one]), f"{one.wrong} checks did not pass", flush=True)
                continue
            print(
                f"{one.kind}: {one.events} events, {one.packets} packets ({one.tables_mb} MB): {one.seconds:.2f} s "
                f"({one.processor_s:.2f} s of processor), {one.beside_mb} MB more, {one.wrong} wrong",
                flush=True,
            )
        if not arguments.json and not arguments.whole:
            print(f"{kind}: by dictionary {dictionary_s(kind):.0f} s for 1000000 events", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
