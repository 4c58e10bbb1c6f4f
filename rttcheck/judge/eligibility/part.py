"""What one ACK expects and what one event shows, in the same words: which of the kernel's values are there.

It owns these words and the row that holds both sides side by side. It does not know how either side is found.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.record.event import FLAG_SYN_ACKED

Parts = npt.NDArray[np.uint8]


class Part(IntEnum):
    """A value of one call of ``tcp_ack_update_rtt()`` that is there, that is to say not -1. Sets of them are sums."""

    FIRST = 1
    """``seq_rtt_us``: of the first newly acknowledged segment, sent once and not SACKed before."""
    SACK = 2
    """``sack_rtt_us``: of the first newly SACKed segment, sent once."""
    LAST = 4
    """``ca_rtt_us``: of the last of either."""
    TAKEN = 8
    """A sample was taken: from the first of these that is there, else from the echoed timestamp."""
    HANDSHAKE = 16
    """It acknowledges the SYN or the SYN-ACK (``FLAG_SYN_ACKED``)."""


VALUES: Final[int] = Part.FIRST | Part.SACK | Part.LAST | Part.TAKEN
"""All that makes an event say something."""

PLAIN: Final[int] = Part.FIRST | Part.LAST | Part.TAKEN
"""What nearly every ACK of new data expects."""

DUE: Final = np.dtype(
    [
        ("ack", "<i4"),  # row of the wire table; NONE (-1) where no ACK came in
        ("event", "<i4"),  # row of the events; NONE where there is none
        ("socket", "<i4"),  # see `Sockets`; NOBODY where the event's is none of the recording's
        ("expected", "u1"),  # Part: what the wire says is due
        ("reported", "u1"),  # Part: what the event says; 0 without one
        ("karn", "u1"),  # Part: what is not expected because what is acknowledged or SACKed was sent again
    ]
)
"""One ACK that expects a sample, or one event that shows what no ACK expects, or both: they belong together."""


def reported_by(events: np.ndarray, chosen: npt.NDArray[np.intp] | slice = slice(None)) -> Parts:
    """The `Part` of each of the ``chosen`` events (dtype ``EVENT``)."""
    taken = events["taken"][chosen]
    reported = np.zeros(len(taken), dtype=np.uint8)
    reported[taken != 0] = Part.TAKEN
    for part, name in ((Part.FIRST, "first_rtt_us"), (Part.SACK, "sack_rtt_us"), (Part.LAST, "last_rtt_us")):
        reported[events[name][chosen] >= 0] |= np.uint8(part)
    reported[(events["flag"][chosen] & FLAG_SYN_ACKED) != 0] |= np.uint8(Part.HANDSHAKE)
    return reported
