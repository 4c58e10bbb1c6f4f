"""The result of traffic: addresses, times of the application's writes and answers, both sockets' TCP_INFO."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rttcheck.collect.traffic.tcp_info import TcpInfo
from rttcheck.record.write import WRITE

TIMING = np.dtype([("sent_ns", "<u8"), ("done_ns", "<u8")])
"""One exchange or write as seen by the application, in ns of CLOCK_MONOTONIC.

``sent_ns`` is taken before the write. ``done_ns`` is taken when the answer was read (ping-pong, connections), or when
the write returned (one-way, paced, bulk).
"""

Address = tuple[str, int]
"""An IPv4 or IPv6 address and a TCP port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowResult:
    """One TCP connection, from its SYN to the ACK of its last FIN. Times are in ns of CLOCK_MONOTONIC.

    A sample belongs to the client's socket if its local address is ``client_address``, to the server's if it is
    ``server_address``; the cookies are SO_COOKIE, which a probe sees as ``skc_cookie`` once it was requested: before
    the SYN on the client, after ``accept`` on the server (its SYN-ACK's sample may have 0).
    """

    flow: int
    """The number of the concurrent flow; ``connections`` gives many results with the same number."""
    client_address: Address
    server_address: Address
    client_cookie: int
    server_cookie: int
    started_ns: int
    """Before ``connect``."""
    connected_ns: int
    """When ``connect`` was complete, on the client."""
    finished_ns: int
    """When both ends' data was acknowledged, before the client closed."""
    timings: np.ndarray
    """dtype ``TIMING``, a row for each exchange or write."""
    client_info: TcpInfo
    server_info: TcpInfo
    """Read when all data of that end was acknowledged, before any FIN."""
    client_writes: np.ndarray
    """dtype ``WRITE``: what the client's application gave TCP to send, its SYN and FIN included."""
    server_writes: np.ndarray


@dataclass(frozen=True, slots=True)
class TrafficResult:
    """All connections of one run, ordered by flow and, within a flow, by time."""

    flows: tuple[FlowResult, ...]
    scheduling: str = ""
    """How the threads of both ends were scheduled, as text."""


def writes_of(begin_ns: Sequence[int], sizes: Sequence[int], *, before: int = 0) -> np.ndarray:
    """Return one end's system calls (dtype ``WRITE``), with ``sizes`` sequence numbers each, starting at ``before``."""
    writes = np.zeros(len(begin_ns), dtype=WRITE)
    writes["begin_ns"] = begin_ns
    writes["end"] = before + np.cumsum(sizes)
    return writes


def timings_of(sent_ns: array[int], done_ns: array[int]) -> np.ndarray:
    """Return the two columns (``array("Q")`` of equal length) as one array of ``TIMING``."""
    timings = np.empty(len(sent_ns), dtype=TIMING)
    timings["sent_ns"] = np.frombuffer(sent_ns, dtype="<u8")
    timings["done_ns"] = np.frombuffer(done_ns, dtype="<u8")
    return timings
