"""What one capture held, as arrays: the bytes of each frame, when it passed and which way.

It owns the names. It knows neither how frames are taken nor what is in them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """What a ring held: one row a packet, in the order in which they came by."""

    bytes: npt.NDArray[np.uint8]
    """From the Ethernet header on, as many bytes a row as are captured of a packet at the most."""
    captured: npt.NDArray[np.int64]
    """How many of a row's bytes are of the packet."""
    lengths: npt.NDArray[np.int64]
    """How many bytes the packet had, its Ethernet header among them."""
    realtime_ns: npt.NDArray[np.int64]
    """CLOCK_REALTIME."""
    outgoing: npt.NDArray[np.uint8]
    """1 when the interface's own side sent it."""
    dropped: int
    """Packets that came when the ring was full."""

    def only(self, places: npt.NDArray[np.intp]) -> Frames:
        """Some of the packets."""
        return Frames(
            bytes=self.bytes[places],
            captured=self.captured[places],
            lengths=self.lengths[places],
            realtime_ns=self.realtime_ns[places],
            outgoing=self.outgoing[places],
            dropped=self.dropped,
        )
