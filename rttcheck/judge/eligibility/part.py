"""The values of the kernel that an ACK implies and that an event reports: flags, and a row with both."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from rttcheck.record.event import FLAG_SYN_ACKED

Parts = npt.NDArray[np.uint8]


class Part(IntEnum):
    """Flags: the values of one call of ``tcp_ack_update_rtt()`` that are present, that is not -1."""

    FIRST = 1
    """``seq_rtt_us``: of the first newly acknowledged segment, sent once and not SACKed before."""
    SACK = 2
    """``sack_rtt_us``: of the first newly SACKed segment, sent once."""
    LAST = 4
    """``ca_rtt_us``: of the last of either."""
    TAKEN = 8
    """A sample was taken: from the first of these that is present, else from the echoed timestamp."""
    HANDSHAKE = 16
    """It acknowledges the SYN or the SYN-ACK (``FLAG_SYN_ACKED``)."""


ANY_VALUE: Final[int] = Part.FIRST | Part.SACK | Part.LAST | Part.TAKEN
"""Any of these makes an event report a value."""

NEW_DATA: Final[int] = Part.FIRST | Part.LAST | Part.TAKEN
"""Expected of an ACK of new data that was sent once and not SACKed."""

EXPECTATION: Final = np.dtype(
    [
        ("ack", "<i4"),  # row of the table of packets; NONE (-1) where no ACK came in
        ("event", "<i4"),  # row of the events; NONE where there is none
        ("socket", "<i4"),  # see `Sockets`; UNKNOWN_SOCKET where the event's socket has no packets
        ("expected", "u1"),  # Part: expected by the packets
        ("reported", "u1"),  # Part: reported by the event; 0 without one
        ("karn", "u1"),  # Part: not expected, because the acknowledged or SACKed data was retransmitted
    ]
)
"""One ACK that implies a sample, or one event with an unexpected value, or an ACK and its event."""


def reported_by(events: np.ndarray, chosen: npt.NDArray[np.intp] | slice = slice(None)) -> Parts:
    """Return the `Part` flags of each of the ``chosen`` events (dtype ``EVENT``)."""
    taken = events["taken"][chosen]
    reported = np.zeros(len(taken), dtype=np.uint8)
    reported[taken != 0] = Part.TAKEN
    for part, name in ((Part.FIRST, "first_rtt_us"), (Part.SACK, "sack_rtt_us"), (Part.LAST, "last_rtt_us")):
        reported[events[name][chosen] >= 0] |= np.uint8(part)
    reported[(events["flag"][chosen] & FLAG_SYN_ACKED) != 0] |= np.uint8(Part.HANDSHAKE)
    return reported
