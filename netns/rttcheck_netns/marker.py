"""Markers: datagrams sent behind the packets in flight, whose arrival shows that the link has delivered those.

A marker that the link loses is sent again. A marker may overtake (jitter, reordering), so its arrival counts only
when the queues are empty at that moment.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from .errors import LinkSilent

if TYPE_CHECKING:
    from .host import Host

_ROUND = struct.Struct("=8sI")
_MAGIC = b"rttmark\0"


def wait_until_empty(
    ways: Mapping[str, tuple[Host, Host]], *, queued: Callable[[], int], patience_s: float, deadline_s: float
) -> None:
    """Return once a marker sent each way has arrived and ``queued()`` is 0; `ways` lists the ways (from, to).

    A marker that has not arrived after ``patience_s`` is sent again, with twice the patience. Raises LinkSilent when
    ``deadline_s`` has passed.
    """
    deadline = time.monotonic() + deadline_s
    with ExitStack() as resources:
        sockets = {host.name: _socket(host, resources) for pair in ways.values() for host in pair}
        number = 0
        while True:
            number += 1
            missing = _send_round(number, ways, sockets, patience_s, deadline)
            if missing:
                raise LinkSilent(
                    f"no marker passed the link ({' and '.join(missing)}) within {deadline_s:g} s: "
                    "look at the drops in its statistics, or give it longer than its delays and queues take"
                )
            waiting = queued()
            if waiting == 0:
                return
            if time.monotonic() >= deadline:
                raise LinkSilent(
                    f"the link still queues {waiting} packets after {deadline_s:g} s: stop the traffic, or wait longer"
                )


def _socket(host: Host, resources: ExitStack) -> socket.socket:
    made = resources.enter_context(host.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM))
    made.setblocking(False)
    made.bind((host.ipv4, 0))
    return made


def _send_round(
    number: int,
    ways: Mapping[str, tuple[Host, Host]],
    sockets: Mapping[str, socket.socket],
    patience_s: float,
    deadline: float,
) -> list[str]:
    """Send this round's markers until each has arrived once; return the ways without an arrival by the deadline."""
    marker = _ROUND.pack(_MAGIC, number)
    missing = dict(ways)
    poll = select.poll()
    for one in sockets.values():
        poll.register(one, select.POLLIN)
    while True:
        for sender, receiver in missing.values():
            sockets[sender.name].sendto(marker, sockets[receiver.name].getsockname())
        until = min(time.monotonic() + patience_s, deadline)
        while missing:
            now = time.monotonic()
            poll.poll(max(0.0, until - now) * 1000)
            missing = {way: pair for way, pair in missing.items() if not _arrived(sockets[pair[1].name], marker)}
            if now >= until:
                break
        if not missing or time.monotonic() >= deadline:
            return list(missing)
        patience_s *= 2


def _arrived(receiving: socket.socket, marker: bytes) -> bool:
    """Return whether the marker is among the received datagrams; discard duplicates and markers of earlier rounds."""
    arrived = False
    while True:
        try:
            arrived |= receiving.recv(64) == marker
        except BlockingIOError:
            return arrived
