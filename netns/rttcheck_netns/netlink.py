"""A netlink socket inside one namespace: many requests in one send, each answer matched to its request.

Handles sending, acknowledgements, dumps and error messages; the content of the requests is the caller's. A `Channel`
may be used from any thread, because a netlink socket stays in the namespace where it was created.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .errors import NetlinkRefused, NetnsError
from .namespace import Namespace

ROUTE, GENERIC = 0, 16
"""Netlink protocols: NETLINK_ROUTE, NETLINK_GENERIC."""

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
EXCLUSIVE, CREATE = 0x200, 0x400
_HEADER = struct.Struct("=IHHII")
_ERROR, _DONE = 2, 3
_CAPPED, _HAS_ATTRIBUTES = 0x100, 0x200
_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT = 270, 10, 11, 12
_MESSAGE = 1
# sendmsg refuses more than the socket's send buffer (212,992 bytes by default).
_MOST_BYTES = 128 * 1024
_DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True)
class Request:
    """One encoded netlink message; ``asks`` describes it so that it completes "could not ..."."""

    asks: str
    data: bytes
    refusal: Callable[[int, str], Exception | None] | None = None
    """Turns errno and the kernel's message into a more specific error than NetlinkRefused, or returns None."""
    tolerates: tuple[int, ...] = ()
    """The errnos that count as success."""


class Channel:
    """A netlink socket of one namespace; a context manager that closes it."""

    def __init__(self, namespace: Namespace, protocol: int = ROUTE) -> None:
        self._adopt(namespace.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol))

    @classmethod
    def current(cls, protocol: int = ROUTE) -> Channel:
        """Open a channel into the calling thread's current namespace."""
        channel = cls.__new__(cls)
        channel._adopt(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol))
        return channel

    def _adopt(self, raw: socket.socket) -> None:
        self._socket = raw
        self._sequence = 0
        raw.settimeout(_DEADLINE_S)
        raw.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        raw.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def transact(self, requests: Sequence[Request]) -> list[bytes]:
        """Send all, wait for every acknowledgement, and return the other replies, headers included.

        The kernel processes them in order and continues after a refusal; the first refusal is raised, as NetlinkRefused
        or as the error that the request's ``refusal`` returns.
        """
        replies: list[bytes] = []
        pending: list[Request] = []
        size = 0
        for request in requests:
            if pending and size + len(request.data) > _MOST_BYTES:
                replies += self._exchange(pending)
                pending, size = [], 0
            pending.append(request)
            size += len(request.data)
        if pending:
            replies += self._exchange(pending)
        return replies

    def dump(self, request: Request) -> list[bytes]:
        """Send one request with DUMP set and return all messages of the answer, headers included."""
        first = self._send([request])
        messages: list[bytes] = []
        while True:
            for sequence, kind, _flags, message in self._receive(request.asks):
                if sequence != first:
                    continue
                if kind == _DONE:
                    return messages
                if kind == _ERROR:
                    self._raise(request, message)
                messages.append(message)

    def _exchange(self, requests: Sequence[Request]) -> list[bytes]:
        first = self._send(requests)
        waiting = {first + i: request for i, request in enumerate(requests)}
        refused: list[tuple[Request, bytes]] = []
        replies: list[bytes] = []
        while waiting:
            for sequence, kind, _flags, message in self._receive(next(iter(waiting.values())).asks):
                if sequence not in waiting:
                    continue
                if kind != _ERROR:
                    replies.append(message)
                    continue
                request = waiting.pop(sequence)
                if -struct.unpack_from("=i", message, _HEADER.size)[0] not in (0, *request.tolerates):
                    refused.append((request, message))
        if refused:
            self._raise(*refused[0])
        return replies

    def _send(self, requests: Sequence[Request]) -> int:
        """Send the requests with sequence numbers of this socket; return the first one's."""
        first = self._sequence + 1
        self._sequence += len(requests)
        parts: list[bytes] = []
        for i, request in enumerate(requests):
            data = request.data
            parts += (data[:8], struct.pack("=I", first + i), data[12:], b"\0" * (-len(data) % 4))
        self._socket.send(b"".join(parts))
        return first

    def _receive(self, asks: str) -> list[tuple[int, int, int, bytes]]:
        try:
            data = self._socket.recv(1 << 16)
        except TimeoutError as problem:
            raise NetnsError(
                f"the kernel did not answer within {_DEADLINE_S:g} s when asked to {asks}: look for hung tasks in dmesg"
            ) from problem
        messages = []
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, flags, sequence, _port = _HEADER.unpack_from(data, offset)
            messages.append((sequence, kind, flags, data[offset : offset + length]))
            offset += (length + 3) & ~3
        return messages

    @staticmethod
    def _raise(request: Request, message: bytes) -> None:
        """Raise the error that the message reports; return when it is an acknowledgement."""
        code = -struct.unpack_from("=i", message, _HEADER.size)[0]
        if code == 0:
            return
        text = kernel_message_of(message)
        better = request.refusal(code, text) if request.refusal is not None else None
        if better is not None:
            raise better
        reason = f"{os.strerror(code)}: {text}" if text else os.strerror(code)
        raise NetlinkRefused(
            f"could not {request.asks}, the kernel reports '{reason}': run as root, with a kernel that has this",
            code,
            text,
        )


def kernel_message_of(message: bytes) -> str:
    """Return the kernel's text beside an error (NLMSGERR_ATTR_MSG, since 4.12), or an empty string."""
    _length, _kind, flags, _sequence, _port = _HEADER.unpack_from(message)
    if not flags & _HAS_ATTRIBUTES:
        return ""
    refused_length = struct.unpack_from("=I", message, _HEADER.size + 4)[0]
    echoed = _HEADER.size if flags & _CAPPED else (refused_length + 3) & ~3
    offset = _HEADER.size + 4 + echoed
    while offset + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, offset)
        if length < 4:
            break
        if kind & 0x3FFF == _MESSAGE:
            return message[offset + 4 : offset + length].rstrip(b"\0").decode(errors="replace")
        offset += (length + 3) & ~3
    return ""
