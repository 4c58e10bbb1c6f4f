"""Record the stamps of packets that leave a lab's ends, from before the traffic to after it.

A kernel that refuses the BPF program is not an error: no stamp is recorded, and the facts give the reason.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from rttcheck.collect.bpf_files import BPF
from rttcheck.collect.probe.bpf_object import BpfObject, load_object
from rttcheck.collect.probe.libbpf import Refused
from rttcheck.collect.probe.ring import EventRing, open_ring
from rttcheck.errors import ProbeError
from rttcheck.record.stamp import STAMP

OBJECT: Final = BPF / "rtt_stamp.bpf.o"

RING_BYTES: Final = 16 << 20
"""Room for some 300,000 packets: a record has 48 bytes and a header of eight."""

_PROGRAM: Final = "rtt_stamps"
_KEY: Final = struct.pack("=I", 0)
_COUNTS: Final = struct.Struct("=QQ")


@dataclass(slots=True, eq=False)
class Stamped:
    """The data of one watch; complete once its context was left."""

    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=STAMP))
    """dtype ``STAMP``, by point, in the order of leaving."""
    facts: dict[str, Any] = field(default_factory=dict)
    """``lost``: packets whose stamps found no room; or ``why_not``, the reason why there are none."""


@dataclass(slots=True)
class Stamps:
    """The loaded program, idle while no watch is active; without a program where the kernel refused it."""

    loaded: BpfObject | None = None
    ring: EventRing | None = None
    why_not: str = ""
    _watches: int = 0

    @contextmanager
    def watch(self, points: Mapping[int, int]) -> Iterator[Stamped]:
        """Read the stamps of packets that leave some network namespaces: inode number to point. Raises ProbeError."""
        stamped = Stamped()
        if self.loaded is None or self.ring is None:
            stamped.facts = {"why_not": self.why_not}
            yield stamped
            return
        self._watches += 1
        try:
            self._start(self.loaded, points)
            self.ring.take()
            yield stamped
        except Refused as refused:
            raise ProbeError(f"the stamps of packets could not be read in the middle of a session: {refused}") from None
        finally:
            stamped.rows, stamped.facts = self._stop(self.loaded, self.ring)

    def _start(self, loaded: BpfObject, points: Mapping[int, int]) -> None:
        namespaces = loaded.map("namespaces")
        namespaces.clear(4)
        for inode, point in points.items():
            namespaces.update(struct.pack("=I", inode), struct.pack("=B", point))
        loaded.map("stamp_counts").update(_KEY, bytes(_COUNTS.size))
        loaded.map("stamp_config").update(_KEY, struct.pack("=II", self._watches, 0))

    def _stop(self, loaded: BpfObject, ring: EventRing) -> tuple[np.ndarray, dict[str, Any]]:
        loaded.map("stamp_config").update(_KEY, bytes(8))
        rows = ring.take()
        rows = rows[rows["watch"] == self._watches]
        _, lost = _COUNTS.unpack(loaded.map("stamp_counts").lookup(_KEY, _COUNTS.size))
        return rows[np.argsort(rows["point"], kind="stable")], {"lost": lost}


@contextmanager
def open_stamps(*, ring_bytes: int = RING_BYTES) -> Iterator[Stamps]:
    """Load and attach the program; it is removed when the context is left, and when the process dies.

    ``ring_bytes`` is the room for stamps of one watch: a power of two, a page at least.
    """
    with ExitStack() as stack:
        try:
            loaded = stack.enter_context(load_object(OBJECT, {_PROGRAM: None}, {"stamps": ring_bytes}))
            loaded.attach(_PROGRAM)
            ring = stack.enter_context(open_ring(loaded.map("stamps").fd, STAMP))
        except Refused as refused:
            stack.close()
            yield Stamps(why_not=f"stamps of packets are not read: {refused}")
            return
        yield Stamps(loaded, ring)
