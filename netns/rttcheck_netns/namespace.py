"""Network namespaces without a name: made by ``unshare``, held by a file descriptor, gone with it.

Owns entering and leaving; refuses to know what is inside. Nothing is ever bind-mounted, so a process that dies, by
SIGKILL too, takes its networks with it. ``unshare`` and ``setns`` move the calling thread only.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from functools import cache
from typing import TypeVar

from .errors import NetnsError, UnsupportedByKernel

_CLONE_NEWNET = 0x40000000
_SO_NETNS_COOKIE = 71
_OWN = "/proc/thread-self/ns/net"

Result = TypeVar("Result")


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


class Namespace:
    """An anonymous network namespace; a context manager that lets go of it.

    The kernel frees it, with all its interfaces, once no descriptor, socket or thread is left in it.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.inode: int = os.fstat(fd).st_ino
        """st_ino of the namespace, which is ``net->ns.inum`` in the kernel."""

    @classmethod
    def create(cls) -> Namespace:
        """A new namespace, empty but for a loopback interface that is down; the calling thread stays where it is."""
        with contextlib.closing(_Here()):
            return cls.create_and_stay()

    @classmethod
    def create_and_stay(cls) -> Namespace:
        """A new namespace with the calling thread in it: who makes several pays for one way home, with `whence`."""
        if _libc().unshare(_CLONE_NEWNET) != 0:
            _refuse_unshare(ctypes.get_errno())
        return cls(_open_own())

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is inside while the block runs; sockets made inside stay inside."""
        with whence():
            _enter(self.fd)
            yield

    def run(self, function: Callable[[], Result]) -> Result:
        """Call the function inside, in this thread, and return what it returns."""
        with self.entered():
            return function()

    def socket(self, family: int, kind: int, proto: int = 0) -> socket.socket:
        """A socket that lives inside, whoever uses it."""
        with self.entered():
            return socket.socket(family, kind, proto)

    @property
    def cookie(self) -> int | None:
        """The namespace's cookie, never used twice before a reboot; None before 5.14, which has no SO_NETNS_COOKIE."""
        with self.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
            try:
                return int(struct.unpack("=Q", asking.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8))[0])
            except OSError as problem:
                if problem.errno == errno.ENOPROTOOPT:
                    return None
                raise

    def close(self) -> None:
        """Let go. The kernel tears the network down in its own time; this returns at once."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def __enter__(self) -> Namespace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Namespace(fd={self.fd}, inode={self.inode})"


@contextlib.contextmanager
def whence() -> Iterator[None]:
    """The calling thread is back in the namespace that it came from when the block ends, however it ends."""
    with contextlib.closing(_Here()):
        yield


class _Here:
    """Where the calling thread is now; closing goes back."""

    def __init__(self) -> None:
        self.fd = _open_own()

    def close(self) -> None:
        try:
            _enter(self.fd)
        finally:
            os.close(self.fd)


def _open_own() -> int:
    try:
        return os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as problem:
        raise NetnsError(
            f"the network namespace of this thread cannot be held, {_OWN} says {problem.strerror}: "
            "run as root with /proc mounted, and with a file descriptor to spare"
        ) from problem


def _enter(fd: int) -> None:
    if _libc().setns(fd, _CLONE_NEWNET) != 0:
        problem = ctypes.get_errno()
        raise NetnsError(
            f"a network namespace could not be entered ({os.strerror(problem)}): run as root (CAP_SYS_ADMIN) "
            "and keep the namespace open while it is used"
        )


def _refuse_unshare(problem: int) -> None:
    if problem == errno.EINVAL:
        raise UnsupportedByKernel(
            "a network namespace was asked for and this kernel has none: use a kernel with CONFIG_NET_NS"
        )
    if problem == errno.ENOSPC:
        raise NetnsError(
            "a network namespace was asked for and the limit is reached: raise the sysctl user.max_net_namespaces"
        )
    raise NetnsError(
        f"a network namespace was asked for and the kernel says {os.strerror(problem)}: run as root (CAP_SYS_ADMIN), "
        "in a container with --privileged"
    )
