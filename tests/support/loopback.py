"""TCP over the loopback of a throwaway namespace, by hand: traffic that a probe can be tried on."""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np

from rttcheck_netns.namespace import Namespace

EXCHANGES = 40


@contextmanager
def network() -> Iterator[Namespace]:
    """A namespace with its loopback up."""
    with Namespace.create() as namespace, namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sh22x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running
        yield namespace


@contextmanager
def connection(namespace: Namespace, host: str = "127.0.0.1") -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connected pair: client, server."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (
        namespace.socket(family, socket.SOCK_STREAM) as listener,
        namespace.socket(family, socket.SOCK_STREAM) as client,
    ):
        listener.bind((host, 0))
        listener.listen()
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        with server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield client, server


def exchange(client: socket.socket, server: socket.socket, count: int = EXCHANGES) -> None:
    for _ in range(count):
        client.sendall(b"?")
        assert server.recv(1) == b"?"
        server.sendall(b"!")
        assert client.recv(1) == b"!"


def one_acknowledgement_of_many(client: socket.socket, server: socket.socket, count: int = 60) -> None:
    """Segments that leave one after the other and are acknowledged together: first-acked and last-acked differ."""
    for _ in range(count):
        client.sendall(b".")
    received = 0
    while received < count:
        received += len(server.recv(count))
    server.sendall(b"!")
    assert client.recv(1) == b"!"


def ping_pong(namespace: Namespace, count: int = EXCHANGES, host: str = "127.0.0.1") -> tuple[int, int]:
    """One connection with so many exchanges; returns the client's and the server's port."""
    with connection(namespace, host) as (client, server):
        exchange(client, server, count)
        return client.getsockname()[1], server.getsockname()[1]


def bucket_counts(values: np.ndarray) -> list[int]:
    """nettrace's buckets, by their definition: [0, 1], then [2^i, 2^(i+1) - 1], the last without end."""
    edges = [0, *(2**i for i in range(1, 17)), 2**63 - 1]
    return [int(((values >= low) & (values < high)).sum()) for low, high in pairwise(edges)]
