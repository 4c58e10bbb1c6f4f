"""Make the processor give its free pages back to their zone just before traffic.

Otherwise the kernel does it at a bad time: since Linux 6.7 a processor keeps as many free pages as its work once
needed, thousands after a program was started, until it has freed 63 pages in blocks with no allocation between. It then
gives all of them back, up to 2016 at once, with interrupts off (``free_unref_page_commit()`` and
``free_pcppages_bulk()``, mm/page_alloc.c). A burst of ACKs that frees the data sent by `bulk` is such work: giving back
1970 pages took 0.4 ms, in which all other packets waited, in the softirq that had taken the ACK.
"""

from __future__ import annotations

import mmap
import socket
import struct
from contextlib import suppress
from typing import Final

_SOL_PACKET, _PACKET_RX_RING = 263, 5

_BLOCK: Final = 8 * mmap.PAGESIZE
"""The largest blocks that count (``PAGE_ALLOC_COSTLY_ORDER``)."""

_BLOCKS: Final = 64
"""Eight are 63 pages, and each of the others returns up to 2016 pages: in all more than a processor keeps."""

_FRAME: Final = 2048


def give_back_spare_pages() -> None:
    """Make this processor give back its free pages, all but some 60; takes two or three grace periods of RCU.

    The blocks of a packet socket's ring are freed one after the other, with no allocation between (``free_pg_vec()``).
    Where the kernel refuses such a ring, the processor keeps its pages.
    """
    with suppress(OSError), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as ring:
        request = struct.pack("=IIII", _BLOCK, _BLOCKS, _FRAME, _BLOCKS * (_BLOCK // _FRAME))
        ring.setsockopt(_SOL_PACKET, _PACKET_RX_RING, request)
