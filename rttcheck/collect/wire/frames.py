"""The frames of one capture as arrays: bytes, time and direction of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """The content of a ring: one row a packet, in the order in which they passed."""

    bytes: npt.NDArray[np.uint8]
    """The bytes from the Ethernet header on; a row is as wide as the capture limit."""
    captured: npt.NDArray[np.int64]
    """How many bytes of each row belong to the packet."""
    lengths: npt.NDArray[np.int64]
    """The length of the packet in bytes, including its Ethernet header."""
    realtime_ns: npt.NDArray[np.int64]
    """CLOCK_REALTIME."""
    outgoing: npt.NDArray[np.uint8]
    """1 when the interface's own side sent it."""
    dropped: int
    """Packets that arrived while the ring was full."""

    def only(self, places: npt.NDArray[np.intp]) -> Frames:
        """Return some of the packets."""
        return Frames(
            bytes=self.bytes[places],
            captured=self.captured[places],
            lengths=self.lengths[places],
            realtime_ns=self.realtime_ns[places],
            outgoing=self.outgoing[places],
            dropped=self.dropped,
        )
