"""Recordings of a kernel as it is, and with so many microseconds more at one place of each sample's way.

Imported in a guest in virtual time, where each instruction is a nanosecond: what is planted at an end is a classic BPF
program that does nothing for as long as it is. It runs on the way out of the end's interface, before packets are seen
there, so that what it takes belongs to the sender of a segment, or to the receiver that acknowledges it.
"""

from __future__ import annotations

import dataclasses
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rttcheck.collect import collector
from rttcheck.compare.measured import DistributionName, MeasuredRun
from rttcheck.record.recording import Recording
from rttcheck.scenario.library import NAMED
from rttcheck_netns.host import Host
from rttcheck_netns.lab import Lab
from rttcheck_netns.netem import Netem
from rttcheck_netns.netlink import ACK, CREATE, EXCLUSIVE, REQUEST, Channel, Request

PLACES: Final = ("sender", "receiver", "link out")
"""Seen from the client, whose samples of its own data are looked at."""

MOST: Final = 4_096
"""Instructions of a classic BPF program (BPF_MAXINSNS)."""

_SCENARIO = NAMED["rtt-40ms"]
_ADD_ONE, _RETURN = 0x04, 0x06
_NEWQDISC, _NEWTFILTER = 36, 44
_KIND, _OPTIONS, _OPS_LEN, _OPS = 1, 2, 4, 5
_CLSACT, _CLSACT_HANDLE, _EGRESS = 0xFFFF_FFF1, 0xFFFF_0000, 0xFFFF_FFF3
_FIRST_OF_ALL_PROTOCOLS = 1 << 16 | socket.htons(0x0003)

Plant = Callable[[Lab], None]


def record(directory: Path, first: int, rounds: int, by_us: int) -> None:
    """In each round record as it is, ``again``, and with ``by_us`` more at each of `PLACES`; ``first`` is a number."""
    with collector.open_collector() as open_collector:

        def run(plant: Plant) -> Recording:
            with _planted(plant):
                return dataclasses.replace(open_collector.record(_SCENARIO), packets=b"")

        run(_nothing)
        length = _length(run, by_us)
        print(f"{length} instructions take {by_us} us", flush=True)
        plants: dict[str, Plant] = {
            "as it is": _nothing,
            "again": _nothing,
            "sender": lambda lab: _slow_down(lab.client, length),
            "receiver": lambda lab: _slow_down(lab.server, length),
            "link out": lambda lab: _lengthen(lab, by_us),
        }
        for number in range(first, first + rounds):
            for name, plant in plants.items():
                run(plant).save(directory / name / f"round-{number}" / "rtt-40ms.rttrec")
            print(f"round {number}", flush=True)


def _length(run: Callable[[Plant], Recording], by_us: int) -> int:
    """How many instructions take so long, by what two programs take, one of them four times as long."""

    def sender_us(plant: Plant) -> float:
        return MeasuredRun.of(run(plant)).figures[DistributionName("client", "data", "sender")].value_us

    short = sender_us(lambda lab: _slow_down(lab.client, MOST // 4))
    each_us = (sender_us(lambda lab: _slow_down(lab.client, MOST)) - short) / (MOST - MOST // 4)
    length = round(MOST // 4 + (sender_us(_nothing) + by_us - short) / each_us)
    assert 2 <= length <= MOST, (length, each_us)
    return length


@contextmanager
def _planted(plant: Plant) -> Iterator[None]:
    """Labs that the collector opens have it."""
    known: Any = collector.open_lab

    @contextmanager
    def opened(*arguments: Any, **settings: Any) -> Iterator[Lab]:
        with known(*arguments, **settings) as lab:
            plant(lab)
            yield lab

    collector.open_lab = opened
    try:
        yield
    finally:
        collector.open_lab = known


def _nothing(lab: Lab) -> None:
    """As it is."""


def _slow_down(host: Host, length: int) -> None:
    """Each packet that leaves the host takes ``length`` instructions more."""
    program = struct.pack("=HBBI", _ADD_ONE, 0, 0, 1) * (length - 1) + struct.pack("=HBBI", _RETURN, 0, 0, 0)
    options = _attribute(_OPS_LEN, struct.pack("=H", length)) + _attribute(_OPS, program)
    (index,) = host.indexes
    with Channel(host.namespace) as channel:
        channel.transact(
            [
                _request(_NEWQDISC, index, _CLSACT_HANDLE, _CLSACT, 0, _attribute(_KIND, b"clsact\0")),
                _request(
                    _NEWTFILTER,
                    index,
                    0,
                    _EGRESS,
                    _FIRST_OF_ALL_PROTOCOLS,
                    _attribute(_KIND, b"bpf\0") + _attribute(_OPTIONS, options),
                ),
            ]
        )


def _request(kind: int, index: int, handle: int, parent: int, info: int, attributes: bytes) -> Request:
    """A netlink message with a struct tcmsg, for `Channel.transact`."""
    message = struct.pack("=B3xiIII", socket.AF_UNSPEC, index, handle, parent, info) + attributes
    header = struct.pack("=IHHII", 16 + len(message), kind, REQUEST | ACK | CREATE | EXCLUSIVE, 0, 0)
    return Request(f"plant a delay on interface {index}", header + message)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _lengthen(lab: Lab, by_us: int) -> None:
    """The link's way out takes longer than the lab knows, and than its recording says."""

    def longer(netem: Netem | None) -> Netem:
        assert netem is not None
        return dataclasses.replace(netem, delay_ns=netem.delay_ns + 1_000 * by_us)

    # A control run has no delay that could be lengthened.
    if lab.out is not None:
        lab._engine.install({"out": longer(lab.out), "back": lab.back})
