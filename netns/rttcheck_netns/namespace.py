"""Network namespaces without a name: created by ``unshare``, held by a file descriptor, destroyed with it.

Nothing is ever bind-mounted, so when a process dies, by SIGKILL too, its networks disappear with it. ``unshare`` and
``setns`` move the calling thread only.
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
    """An anonymous network namespace; a context manager that closes it.

    The kernel frees it, with all its interfaces, once no descriptor, socket or thread refers to it.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.inode: int = os.fstat(fd).st_ino
        """st_ino of the namespace, which is ``net->ns.inum`` in the kernel."""

    @classmethod
    def create(cls) -> Namespace:
        """Create a namespace with only a loopback interface that is down; the calling thread stays where it is."""
        with contextlib.closing(_OwnNamespace()):
            return cls.create_and_enter()

    @classmethod
    def create_and_enter(cls) -> Namespace:
        """Create a namespace and leave the calling thread in it; use within `restored_namespace`, once for several."""
        if _libc().unshare(_CLONE_NEWNET) != 0:
            _refuse_unshare(ctypes.get_errno())
        return cls(_open_own())

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Keep the calling thread inside while the block runs; sockets created inside stay inside."""
        with restored_namespace():
            _enter(self.fd)
            yield

    def run(self, function: Callable[[], Result]) -> Result:
        """Call the function inside, in this thread, and return its result."""
        with self.entered():
            return function()

    def socket(self, family: int, kind: int, proto: int = 0) -> socket.socket:
        """Create a socket that belongs to this namespace, whichever thread uses it."""
        with self.entered():
            return socket.socket(family, kind, proto)

    @property
    def cookie(self) -> int | None:
        """The namespace's cookie, unique until the next boot; None before 5.14, which has no SO_NETNS_COOKIE."""
        with self.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
            try:
                return int(struct.unpack("=Q", asking.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8))[0])
            except OSError as problem:
                if problem.errno == errno.ENOPROTOOPT:
                    return None
                raise

    def close(self) -> None:
        """Close the descriptor and return at once; the kernel destroys the network in the background."""
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
def restored_namespace() -> Iterator[None]:
    """Return the calling thread to its original namespace when the block ends, also on errors."""
    with contextlib.closing(_OwnNamespace()):
        yield


class _OwnNamespace:
    """The calling thread's namespace now; closing returns to it."""

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
            f"the network namespace of this thread cannot be opened, {_OWN} reports {problem.strerror}: "
            "run as root with /proc mounted, and with a free file descriptor"
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
        f"a network namespace was asked for and refused ({os.strerror(problem)}): run as root (CAP_SYS_ADMIN), "
        "in a container with --privileged"
    )
