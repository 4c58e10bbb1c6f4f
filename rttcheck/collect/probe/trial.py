"""Record one small TCP connection in a throwaway namespace, to find out what an attached probe really sees.

Some hooks attach silently and never see anything, or see less than on another kernel: that is found out here, before a
scenario relies on it.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Callable

import numpy as np

from rttcheck.collect.probe.watch import Watch
from rttcheck.record.event import ProbeMode
from rttcheck_netns.namespace import Namespace

EXCHANGES = 3

_TIMEOUT_S = 10.0
_SIOCSIFFLAGS, _UP_AND_RUNNING = 0x8914, 0x41


def record_trial(make_watch: Callable[[], Watch]) -> np.ndarray:
    """Return the events (dtype ``EVENT``) of both ends of a connection over loopback. Raises Refused, NetnsError."""
    with Namespace.create() as namespace:
        with namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _UP_AND_RUNNING))
        watch = make_watch()
        watch.start(
            [namespace.inode], port=0, first_below_us=0, last_below_us=0, mode=ProbeMode.EVENTS | ProbeMode.HISTOGRAM
        )
        try:
            _connect_and_talk(namespace)
        finally:
            watch.stop()
        return watch.events()


def _connect_and_talk(namespace: Namespace) -> None:
    with (
        namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as listener,
        namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as client,
    ):
        for end in (listener, client):
            end.settimeout(_TIMEOUT_S)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        with server:
            server.settimeout(_TIMEOUT_S)
            for _ in range(EXCHANGES):
                client.sendall(b"?")
                server.recv(1)
                server.sendall(b"!")
                client.recv(1)
