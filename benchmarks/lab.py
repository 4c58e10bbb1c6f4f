"""How long a lab takes to build and to go, beside ``ip -batch`` and ``tc -batch`` doing the same.

Run it as root: ``python benchmarks/lab.py [--json] [--rounds N]``. A lab is client, link and server with both IP
versions, permanent neighbours, routes and an impairment each way. Where the kernel has no netem, tbf stands where netem
would on both sides, and the table says so. The batch sets no sysctls and no offloads, which favours it.
The wait for the kernel to have freed the namespaces stands between rounds and is in neither figure.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rttcheck_netns import Lab, Netem, UnsupportedByKernel, routed
from rttcheck_netns.ending import close_and_wait
from rttcheck_netns.netlink import ACK, CREATE, EXCLUSIVE, REQUEST, Channel, Request
from rttcheck_netns.qdisc import remove, roots, tc_message
from rttcheck_netns.rtnetlink import encoded

NETEM = Netem(delay_ns=10_000_000)
NAMES = tuple(f"rttbench-{os.getpid()}-{part}" for part in "cls")
ENDS = (("c", "1", "1", "2"), ("s", "2", "1", "2"))


def has_netem() -> bool:
    try:
        with routed(out=NETEM):
            return True
    except UnsupportedByKernel:
        return False


@contextmanager
def lab_with_netem() -> Iterator[Lab]:
    with routed(out=NETEM, back=NETEM) as lab:
        yield lab


@contextmanager
def lab_with_stand_in() -> Iterator[Lab]:
    """The same messages and the same reading back, with tbf for netem."""
    with routed() as lab:
        assert lab.link is not None
        with Channel(lab.link.namespace) as channel:
            channel.transact([request for index in lab.link.indexes for request in (remove(index), _tbf(index))])
            kinds = {index: root.kind for index, root in roots(channel).items() if index in lab.link.indexes}
        assert kinds == dict.fromkeys(lab.link.indexes, "tbf")
        yield lab


def _tbf(index: int) -> Request:
    """tbf of 125 MB/s: struct tc_tbf_qopt and the burst in bytes (TCA_TBF_PARMS, TCA_TBF_BURST)."""
    message = tc_message()
    message["index"], message["parent"], message["handle"] = index, 0xFFFFFFFF, 0x10000
    rate = struct.pack("=BBHhHI", 0, 1, 0, 0, 0, 125_000_000)
    parameters = rate + bytes(12) + struct.pack("=III", 1_000_000, 0, 0)
    options = struct.pack("=HH", 4 + len(parameters), 1) + parameters + struct.pack("=HHI", 8, 6, 100_000)
    message["attrs"] = [["TCA_KIND", "tbf"], ["TCA_OPTIONS", options]]
    return Request("install tbf", encoded(message, 36, REQUEST | ACK | CREATE | EXCLUSIVE))


def batches(netem: bool) -> dict[str, list[str]]:
    """The lines for ip in the host's namespace, then for ip and tc in each of the three."""
    client, link, server = NAMES
    discipline = "netem delay 10ms limit 1000" if netem else "tbf rate 1gbit burst 100000 limit 1000000"
    lines: dict[str, list[str]] = {
        "host": [
            *(f"netns add {name}" for name in NAMES),
            f"link add to-c netns {link} address 02:00:00:00:01:01 type veth"
            f" peer name eth0 netns {client} address 02:00:00:00:01:02",
            f"link add to-s netns {link} address 02:00:00:00:02:01 type veth"
            f" peer name eth0 netns {server} address 02:00:00:00:02:02",
        ],
        link: ["link set lo up", "link set to-c up", "link set to-s up"],
        "tc": [f"qdisc add dev to-{end} root {discipline}" for end in "cs"],
        "gone": [f"netns del {name}" for name in NAMES],
    }
    for end, net, near, far in ENDS:
        other = "2" if net == "1" else "1"
        lines[client if end == "c" else server] = [
            "link set lo up",
            "link set eth0 up",
            f"addr add 198.18.{net}.{far}/24 dev eth0",
            f"addr add 2001:2:0:{net}::{far}/64 dev eth0 nodad",
            f"neigh add 198.18.{net}.{near} lladdr 02:00:00:00:0{net}:01 dev eth0 nud permanent",
            f"neigh add 2001:2:0:{net}::{near} lladdr 02:00:00:00:0{net}:01 dev eth0 nud permanent",
            f"route add 198.18.{other}.0/24 via 198.18.{net}.{near} quickack 1",
            f"route add 2001:2:0:{other}::/64 via 2001:2:0:{net}::{near} quickack 1",
        ]
        lines[link] += [
            f"addr add 198.18.{net}.{near}/24 dev to-{end}",
            f"addr add 2001:2:0:{net}::{near}/64 dev to-{end} nodad",
            f"neigh add 198.18.{net}.{far} lladdr 02:00:00:00:0{net}:02 dev to-{end} nud permanent",
            f"neigh add 2001:2:0:{net}::{far} lladdr 02:00:00:00:0{net}:02 dev to-{end} nud permanent",
        ]
    return lines


class Batch:
    """``ip -batch``: one process for the host's namespace, one for each of the three, one of tc."""

    def __init__(self, folder: Path, netem: bool) -> None:
        self._link = NAMES[1]
        self._files = {}
        for name, lines in batches(netem).items():
            self._files[name] = str(folder / name)
            (folder / name).write_text("\n".join(lines) + "\n")

    def build(self) -> None:
        run("ip", "-batch", self._files["host"])
        for name in (NAMES[0], NAMES[2], self._link):
            run("ip", "-n", name, "-batch", self._files[name])
        run("tc", "-n", self._link, "-batch", self._files["tc"])

    def remove(self) -> None:
        run("ip", "-batch", self._files["gone"])

    def clear(self) -> None:
        """Remove what a round that was interrupted has left; names, unlike descriptors, outlive their process."""
        for name in NAMES:
            if (Path("/run/netns") / name).exists():
                run("ip", "netns", "del", name)


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed: {done.stderr.strip()}")


def wait_for_the_end() -> None:
    """One round's end does not slow the next one's start."""
    if not close_and_wait((), deadline_s=30):
        sys.exit("a namespace did not end within 30 s")


def measure(rounds: int, netem: bool) -> dict[str, dict[str, list[float]]]:
    """Seconds to build and to go, of each way, alternating; each way's first round is thrown away."""
    taken: dict[str, dict[str, list[float]]] = {way: {"build": [], "gone": []} for way in ("netlink", "batch")}
    lab = lab_with_netem if netem else lab_with_stand_in
    with tempfile.TemporaryDirectory() as folder:
        batch = Batch(Path(folder), netem)
        try:
            for _ in range(rounds + 1):
                started = time.perf_counter()
                with lab():
                    taken["netlink"]["build"].append(time.perf_counter() - started)
                    leaving = time.perf_counter()
                taken["netlink"]["gone"].append(time.perf_counter() - leaving)
                wait_for_the_end()
                started = time.perf_counter()
                batch.build()
                taken["batch"]["build"].append(time.perf_counter() - started)
                leaving = time.perf_counter()
                batch.remove()
                taken["batch"]["gone"].append(time.perf_counter() - leaving)
                wait_for_the_end()
        finally:
            batch.clear()
    return {way: {step: times[1:] for step, times in steps.items()} for way, steps in taken.items()}


def main() -> int:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--rounds", type=int, default=30, help="how often each is built (30)")
    arguments.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    asked = arguments.parse_args()
    if os.geteuid() != 0:
        sys.exit("benchmarks/lab.py makes network namespaces: run it as root")
    netem = has_netem()
    taken = measure(asked.rounds, netem)
    discipline = "netem" if netem else "tbf in netem's place (this kernel has no netem)"
    if asked.json:
        milliseconds = {
            way: {step: [round(time_s * 1e3, 3) for time_s in times] for step, times in steps.items()}
            for way, steps in taken.items()
        }
        print(json.dumps({"kernel": platform.release(), "discipline": discipline, "milliseconds": milliseconds}))
        return 0
    print(f"Linux {platform.release()}, {os.cpu_count()} CPUs, {asked.rounds} rounds, {discipline}; milliseconds")
    print(f"{'':24}{'build median':>14}{'fastest':>10}{'slowest':>10}{'gone median':>14}{'slowest':>10}")
    for way, title in (("netlink", "in-process netlink"), ("batch", "ip -batch, tc -batch")):
        build, gone = ([time_s * 1e3 for time_s in taken[way][step]] for step in ("build", "gone"))
        print(
            f"{title:24}{statistics.median(build):14.2f}{min(build):10.2f}{max(build):10.2f}"
            f"{statistics.median(gone):14.2f}{max(gone):10.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
