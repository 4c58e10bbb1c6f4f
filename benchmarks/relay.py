"""How exact the relay is, and how many packets a second it takes, beside a link that only forwards.

Run it as root: ``python benchmarks/relay.py [--json] [--seconds N]``. Datagrams go from client to server in frames of
100 bytes, evenly spaced, through a delay of 10 ms. Late is how much later than due a packet was handed to the kernel,
as the relay recorded it; arrival is the receiver's kernel timestamp minus the due time. Beside it stand timers of the
same seconds, one a core, under the next higher priority: how late the machine wakes anybody. The most is what comes out
per second when never more than 500 packets are under way.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import struct
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np

from rttcheck.collect.noise import open_noise, summary_of
from rttcheck_netns import Lab, Netem, routed
from rttcheck_netns.relay.packets import late_ns
from rttcheck_netns.relay.process import PRIORITY

DELAY_NS = 10_000_000
SIZE = 100
UNDER_WAY = 500
_SO_TIMESTAMPNS = 35


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """Microseconds at one rate; ``early`` counts packets that were released or arrived before they were due."""

    per_second: int
    packets: int
    late_p50: float
    late_p99: float
    late_max: float
    arrival_p50: float
    arrival_p99: float
    arrival_max: float
    early: int
    timer_p50: float
    timer_p99: float
    timer_max: float


class Ends:
    """A sending and a receiving socket, and the receiver's timestamps in CLOCK_MONOTONIC by packet number."""

    def __init__(self, lab: Lab) -> None:
        self._sending = lab.client.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._receiving = lab.server.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._receiving.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._receiving.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
        self._receiving.bind((lab.server.ipv4, 0))
        self._receiving.setblocking(False)
        self._sending.connect(self._receiving.getsockname())
        self.arrived_ns: dict[int, int] = {}
        self._ahead_ns = _monotonic_ahead_ns()

    def send(self, number: int) -> None:
        self._sending.send(number.to_bytes(8, "big") + bytes(SIZE - 50))

    def receive(self) -> None:
        """Take what has arrived."""
        while True:
            try:
                data, ancillary, _flags, _from = self._receiving.recvmsg(SIZE, 64)
            except BlockingIOError:
                return
            seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
            self.arrived_ns[int.from_bytes(data[:8], "big")] = seconds * 10**9 + nanoseconds + self._ahead_ns

    def close(self) -> None:
        self._sending.close()
        self._receiving.close()


def _monotonic_ahead_ns() -> int:
    """CLOCK_MONOTONIC minus CLOCK_REALTIME, of the readings that lie closest together, exact to some 50 ns."""
    readings = []
    for _ in range(100):
        before, real, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        readings.append((after - before, after - real))
    return min(readings)[1]


def paced(ends: Ends, per_second: int, seconds: float) -> None:
    """Send evenly; what was missed is sent at once, and the kernel's own timestamps say when."""
    start, gap = time.monotonic_ns(), 1_000_000_000 // per_second
    for number in range(int(per_second * seconds)):
        due = start + number * gap
        while (left := due - time.monotonic_ns()) > 0:
            ends.receive()
            if left > 100_000:
                time.sleep((left - 80_000) / 1e9)
        ends.send(number)
    until = time.monotonic() + 2
    while len(ends.arrived_ns) < int(per_second * seconds) and time.monotonic() < until:
        ends.receive()
        time.sleep(0.001)


def precision(per_second: int, seconds: float) -> Precision:
    """One run at a rate, in a network of its own."""
    timers = dict.fromkeys(sorted(os.sched_getaffinity(0)), PRIORITY + 1)
    with open_noise(timers) as noise, routed(engine="relay", out=Netem(delay_ns=DELAY_NS, limit=100_000)) as lab:
        assert lab.relay is not None
        ends = Ends(lab)
        noise.start()
        paced(ends, per_second, seconds)
        woke = summary_of(noise.stop())
        packets = lab.relay.packets()
        ends.close()
        out = packets[packets["direction"] == 0]
        late = late_ns(out) / 1e3
        numbers = sorted(ends.arrived_ns)
        # The first in a lab wakes everything up; number and row agree because nothing else goes out.
        arrival = np.array([ends.arrived_ns[number] - out["due_ns"][number] for number in numbers]) / 1e3
    return Precision(
        per_second=per_second,
        packets=len(late),
        late_p50=float(np.median(late)),
        late_p99=float(np.percentile(late, 99)),
        late_max=float(late.max()),
        arrival_p50=float(np.median(arrival)),
        arrival_p99=float(np.percentile(arrival, 99)),
        arrival_max=float(arrival.max()),
        early=int((late < 0).sum() + (arrival < 0).sum()),
        timer_p50=woke["p50_ns"] / 1e3,
        timer_p99=woke["p99_ns"] / 1e3,
        timer_max=woke["max_ns"] / 1e3,
    )


def most(lab: Lab, seconds: float) -> float:
    """Packets per second that arrive when as many as possible are sent, but few enough to be under way at a time."""
    ends = Ends(lab)
    sent, until, start = 0, time.monotonic() + seconds, time.monotonic()
    while time.monotonic() < until:
        while sent - len(ends.arrived_ns) < UNDER_WAY:
            ends.send(sent)
            sent += 1
        ends.receive()
    arrived = len(ends.arrived_ns)
    ends.close()
    return arrived / (time.monotonic() - start)


def main() -> int:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--seconds", type=float, default=4, help="how long each run sends (4)")
    arguments.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    asked = arguments.parse_args()
    if os.geteuid() != 0:
        sys.exit("benchmarks/relay.py makes network namespaces: run it as root")
    rates = [precision(rate, asked.seconds) for rate in (1000, 5000)]
    through: dict[str, list[float]] = {"relay": [], "forwarding": []}
    for _ in range(3):
        with routed(engine="relay") as lab:
            assert lab.relay is not None
            scheduling = lab.relay.scheduling
            through["relay"].append(most(lab, asked.seconds / 4))
        with routed() as lab:
            through["forwarding"].append(most(lab, asked.seconds / 4))
    most_of = {way: round(statistics.median(counts)) for way, counts in through.items()}
    if asked.json:
        print(
            json.dumps(
                {
                    "kernel": platform.release(),
                    "load": os.getloadavg()[0],
                    "scheduling": scheduling,
                    "precision": [asdict(rate) for rate in rates],
                    "most_per_second": most_of,
                }
            )
        )
        return 0
    print(f"Linux {platform.release()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]}, relay under {scheduling}")
    for rate in rates:
        print(
            f"{rate.per_second:6} packets/s ({rate.packets}): late {rate.late_p50:.1f} us median, "
            f"{rate.late_p99:.1f} p99, {rate.late_max:.1f} max; arrival {rate.arrival_p50:.1f} median, "
            f"{rate.arrival_p99:.1f} p99, {rate.arrival_max:.1f} max; early {rate.early}; "
            f"timers {rate.timer_p50:.1f} median, {rate.timer_p99:.1f} p99, {rate.timer_max:.1f} max"
        )
    print(f"most: {most_of['relay']} packets/s through the relay, {most_of['forwarding']} through a forwarding kernel")
    return 0


if __name__ == "__main__":
    sys.exit(main())
