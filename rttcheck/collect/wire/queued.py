"""Record the packets of a lab's ends before a queueing discipline on their own interfaces delays or loses them.

Captures come after it. The record is made into rows of the same table, so that whoever reads it finds each packet where
it entered the link. A kernel that refuses the BPF program is not an error: nothing is recorded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from rttcheck.collect.bpf_files import BPF
from rttcheck.collect.probe.bpf_object import BpfObject, load_object
from rttcheck.collect.probe.libbpf import Refused
from rttcheck.collect.probe.ring import EventRing, open_ring
from rttcheck.collect.wire.parser import parse
from rttcheck.errors import ProbeError
from rttcheck.record.packet import WIRE
from rttcheck.record.stamp import STAMP

OBJECT: Final = BPF / "rtt_queued.bpf.o"

RING_BYTES: Final = 32 << 20
"""Room for some 240,000 packets: a record has 128 bytes and a header of eight."""

QUEUED: Final = np.dtype(
    [
        ("time_ns", "<i8"),
        ("stamp_ns", "<i8"),
        ("payload", "<u4"),
        ("watch", "<u4"),
        ("network", "u1", (40,)),
        ("header", "u1", (60,)),
        ("point", "u1"),
        ("reserved", "u1", (3,)),
    ]
)
"""``struct rtt_queued`` (``bpf/rtt_queued.h``)."""

_PROGRAM: Final = "rtt_queued"
_KEY: Final = struct.pack("=I", 0)
_COUNTS: Final = struct.Struct("=QQ")
_WATCH: Final = 1
_ETHERNET, _IPV4 = 14, 20


@dataclass(slots=True, eq=False)
class Queued:
    """What left the ends, before any queue; complete once its context was left."""

    seen: bool = False
    """Whether the program could be loaded."""
    packets: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=WIRE))
    """dtype ``WIRE``, outgoing, by end, in the order of leaving."""
    stamps: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=STAMP))
    """Their stamps, dtype ``STAMP``, in the same order."""
    lost: int = 0


@contextmanager
def watch_queues(points: Mapping[int, int], *, ring_bytes: int = RING_BYTES) -> Iterator[Queued]:
    """Record what leaves some network namespaces (inode number to point) until the block ends. Raises ProbeError."""
    queued = Queued()
    with ExitStack() as stack:
        try:
            loaded = stack.enter_context(load_object(OBJECT, {_PROGRAM: None}, {"queued": ring_bytes}))
            loaded.attach(_PROGRAM)
            ring = stack.enter_context(open_ring(loaded.map("queued").fd, QUEUED))
        except Refused:
            stack.close()
            yield queued
            return
        try:
            for inode, point in points.items():
                loaded.map("queue_namespaces").update(struct.pack("=I", inode), struct.pack("=B", point))
            loaded.map("queue_config").update(_KEY, struct.pack("=II", _WATCH, 0))
            yield queued
            _read(queued, loaded, ring)
        except Refused as refused:
            raise ProbeError(f"packets could not be read before their queue in mid-session: {refused}") from None


def _read(queued: Queued, loaded: BpfObject, ring: EventRing) -> None:
    loaded.map("queue_config").update(_KEY, bytes(8))
    rows = ring.take()
    _, queued.lost = _COUNTS.unpack(loaded.map("queue_counts").lookup(_KEY, _COUNTS.size))
    rows = rows[np.argsort(rows["point"], kind="stable")]
    queued.packets, kept = packets_of(rows)
    queued.stamps = np.zeros(len(kept), dtype=STAMP)
    for name in ("time_ns", "seq", "ack", "payload", "sport", "dport", "flags", "point"):
        queued.stamps[name] = queued.packets[name]
    queued.stamps["stamp_ns"] = rows["stamp_ns"][kept]
    queued.stamps["watch"] = rows["watch"][kept]
    queued.seen = True


def packets_of(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``rows`` (dtype ``QUEUED``) as packets (dtype ``WIRE``), and which rows have whole headers."""
    frames = np.zeros((len(rows), _ETHERNET + 40 + 60), dtype=np.uint8)
    network, header = rows["network"], rows["header"]
    is_v4 = network[:, 0] >> 4 == 4
    frames[is_v4, 12:14] = (0x08, 0x00)
    frames[~is_v4, 12:14] = (0x86, 0xDD)
    # IPv4 without options: TCP sends none.
    frames[is_v4, _ETHERNET : _ETHERNET + _IPV4] = network[is_v4, :_IPV4]
    frames[is_v4, _ETHERNET + _IPV4 : _ETHERNET + _IPV4 + 60] = header[is_v4]
    frames[~is_v4, _ETHERNET : _ETHERNET + 40] = network[~is_v4]
    frames[~is_v4, _ETHERNET + 40 :] = header[~is_v4]
    parsed = parse(frames, np.full(len(rows), frames.shape[1]))
    packets, kept = parsed.rows, parsed.kept
    packets["time_ns"], packets["point"], packets["outgoing"] = rows["time_ns"][kept], rows["point"][kept], 1
    packets["payload"] = rows["payload"][kept]
    return packets, kept
