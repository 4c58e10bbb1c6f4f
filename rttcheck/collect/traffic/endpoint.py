"""One end of a TCP connection: the socket with its options, the wait for its last ACK, its orderly close.

Every wait is for a kernel event; `pattern` decides what is written and read.

How an end learns that all its data was acknowledged: the last write before a pause or before the end requests a
transmit timestamp on acknowledgment (SOF_TIMESTAMPING_TX_ACK, ``Documentation/networking/timestamping.rst``), which
the kernel puts on the socket's error queue when the ACK of that byte arrives (``tcp_ack_tstamp()``). Unlike a final
byte of the application that costs no segment and no sample.
"""

from __future__ import annotations

import errno
import fcntl
import select
import socket
import struct
import termios
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rttcheck.collect.traffic.result import Address
from rttcheck.collect.traffic.tcp_info import TcpInfo
from rttcheck.collect.traffic.threads import Aborted, TrafficThreads
from rttcheck.errors import TrafficError
from rttcheck.record.event import TcpState

if TYPE_CHECKING:
    from rttcheck.scenario.traffic import Traffic
    from rttcheck_netns import Host

SO_TIMESTAMPING = 37
SO_COOKIE = 57
SOF_TIMESTAMPING_TX_ACK = 1 << 9
SOF_TIMESTAMPING_SOFTWARE = 1 << 4
SOF_TIMESTAMPING_OPT_TSONLY = 1 << 11

_AF = {4: socket.AF_INET, 6: socket.AF_INET6}
_TELL_WHEN_ACKED = [(socket.SOL_SOCKET, SO_TIMESTAMPING, struct.pack("=I", SOF_TIMESTAMPING_TX_ACK))]
_AVAILABLE = "/proc/sys/net/ipv4/tcp_available_congestion_control"


class PeerClosed(Exception):
    """The other end closed before all data was exchanged."""


@dataclass(slots=True)
class TcpEndpoint:
    """A socket of the lab, used by one thread."""

    sock: socket.socket
    threads: TrafficThreads
    quickack: bool

    def rearm_quickack(self) -> None:
        """Set TCP_QUICKACK, which the kernel clears again by itself: after each read (``tcp(7)``: "not permanent")."""
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def read_exactly(self, buffer: memoryview) -> None:
        """Fill ``buffer``. Raises PeerClosed when the stream ends first."""
        got = self.sock.recv_into(buffer, 0, socket.MSG_WAITALL)
        while got < len(buffer):
            more = self.sock.recv_into(buffer[got:], 0, socket.MSG_WAITALL)
            if not more:
                raise PeerClosed
            got += more

    def write_last(self, message: memoryview) -> None:
        """Write all of ``message`` and request notification of its acknowledgement."""
        written = 0
        while written < len(message):
            written += self.sock.sendmsg([message[written:]], _TELL_WHEN_ACKED)

    def await_acked(self) -> None:
        """Wait until everything written is acknowledged; the last write was `write_last`. Raises Aborted, OSError."""
        while self.unacknowledged_bytes():
            self.threads.await_poll(self.sock, 0)
            self._take_error_queue()
        self._take_error_queue()

    def unacknowledged_bytes(self) -> int:
        """Return the bytes written and not acknowledged, sent or not (SIOCOUTQ)."""
        return int.from_bytes(fcntl.ioctl(self.sock, termios.TIOCOUTQ, bytes(4)), "little")

    def _take_error_queue(self) -> None:
        while True:
            try:
                self.sock.recvmsg(1, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
        error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, errno.errorcode.get(error, str(error)))

    def local_address(self) -> Address:
        """Return this end's address and port."""
        address = self.sock.getsockname()
        return address[0], address[1]

    def remote_address(self) -> Address:
        """Return the other end's address and port."""
        address = self.sock.getpeername()
        return address[0], address[1]

    def cookie(self) -> int:
        """Return the socket's cookie (SO_COOKIE), created now if it was never requested."""
        return int.from_bytes(self.sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), "little")

    def info(self) -> TcpInfo:
        """Return the socket's TCP_INFO now."""
        return TcpInfo.of(self.sock)

    def close_first(self) -> None:
        """Send a FIN, wait for the other end's, and close: this end goes to TIME_WAIT. Raises Aborted."""
        self.sock.shutdown(socket.SHUT_WR)
        self.await_end_of_stream()
        self.threads.close(self.sock)

    def await_end_of_stream(self) -> None:
        """Wait for the other end's FIN. Raises TrafficError when data comes instead."""
        if self.sock.recv(1):
            raise TrafficError(
                "{} port {} received more than the traffic sends: see what else writes in the lab".format(
                    *self.local_address()
                )
            )
        if self.threads.aborting.is_set():
            raise Aborted

    def close_last(self) -> None:
        """Answer the other end's FIN with one, wait until it is acknowledged, and close. Raises Aborted, OSError.

        The wait is on an edge-triggered epoll, because a socket that both ends have shut down polls as hung up long
        before its last ACK arrives; ``tcp_done()`` wakes the pollers once more when it does.
        """
        with self.threads.edges_of(self.sock) as edges:
            self.sock.shutdown(socket.SHUT_WR)
            while self.info().state is not TcpState.CLOSE:
                edges.poll()
                if self.threads.aborting.is_set():
                    raise Aborted
        error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, errno.errorcode.get(error, str(error)))
        self.threads.close(self.sock)


def open_listener(threads: TrafficThreads, host: Host, traffic: Traffic, *, family: int, backlog: int) -> socket.socket:
    """Open a listening socket inside ``host``'s namespace, on its address and a port that the kernel chooses.

    Accepted sockets inherit its congestion control. Raises TrafficError when the kernel lacks that, or when the host
    does not have the address.
    """
    sock = _prepare(threads, host.namespace.socket(_AF[family], socket.SOCK_STREAM), traffic)
    address = host.ipv4 if family == 4 else host.ipv6
    try:
        sock.bind((address, 0))
        sock.listen(backlog)
    except OSError as error:
        raise TrafficError(
            f"the server was to listen on {address} and cannot ({error.strerror}): "
            "see that the lab's server has this address"
        ) from error
    return sock


def accept(threads: TrafficThreads, listener: socket.socket, traffic: Traffic) -> TcpEndpoint:
    """Accept the next connection. Raises OSError when the listener was shut down."""
    sock, _ = listener.accept()
    end = TcpEndpoint(threads.keep(sock), threads, traffic.quickack)
    _set_sticky(sock, traffic)
    return end


def open_client(threads: TrafficThreads, traffic: Traffic, *, family: int) -> TcpEndpoint:
    """Open a socket in the calling thread's current namespace, not connected yet."""
    sock = _prepare(threads, socket.socket(_AF[family], socket.SOCK_STREAM), traffic)
    return TcpEndpoint(sock, threads, traffic.quickack)


def connect(end: TcpEndpoint, address: Address) -> None:
    """Connect and wait until the handshake is complete on this side. Raises Aborted, OSError."""
    end.sock.setblocking(False)
    error = end.sock.connect_ex(address)
    if error == errno.EINPROGRESS:
        end.threads.await_poll(end.sock, select.POLLOUT)
        error = end.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, errno.errorcode.get(error, str(error)))
    end.sock.setblocking(True)


def _prepare(threads: TrafficThreads, sock: socket.socket, traffic: Traffic) -> socket.socket:
    threads.keep(sock)
    _set_congestion(sock, traffic.congestion)
    _set_sticky(sock, traffic)
    return sock


def _set_sticky(sock: socket.socket, traffic: Traffic) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, traffic.nodelay)
    report = struct.pack("=I", SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_TSONLY)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, report)
    if traffic.quickack:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _set_congestion(sock: socket.socket, name: str) -> None:
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
    except OSError as error:
        available = ", ".join(Path(_AVAILABLE).read_text(encoding="ascii").split())
        raise TrafficError(
            f"congestion={name!r} was asked for and this kernel refuses it ({error.strerror}): it has {available}; "
            f"take one of these, or load the module tcp_{name} first"
        ) from error
