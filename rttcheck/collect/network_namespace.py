"""Resolve an existing network namespace, named by a process or a path, to its inode number, and keep it open."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from rttcheck.errors import RttcheckError

_NS_GET_NSTYPE = 0xB703
_CLONE_NEWNET = 0x4000_0000


class NoNetworkNamespace(RttcheckError, ValueError):
    """The named object is no network namespace; the message says what it is instead."""


@contextmanager
def held_namespace(name: str) -> Iterator[int]:
    """Yield the inode number of the network namespace of process ``name`` (a number), or of the file ``name``.

    The namespace is kept open while the context lasts, so that no other one gets its number. Raises
    NoNetworkNamespace when there is none by that name.
    """
    path, what = (f"/proc/{name}/ns/net", f"process {name}") if name.isdecimal() else (name, f"the file {name}")
    try:
        held = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        remedy = {
            errno.ENOENT: "name a process that is running, or a file such as /run/netns/NAME",
            errno.EACCES: "run it as root",
        }.get(error.errno or 0, "name a process, or a file such as /run/netns/NAME")
        raise NoNetworkNamespace(
            f"the network namespace of {what} was asked for and {path} cannot be opened ({error.strerror}): {remedy}"
        ) from error
    try:
        try:
            kind = fcntl.ioctl(held, _NS_GET_NSTYPE)
        except OSError:
            kind = 0
        if kind != _CLONE_NEWNET:
            raise NoNetworkNamespace(
                f"the network namespace of {what} was asked for and {path} is not a network namespace: name a process, "
                "or a file such as /run/netns/NAME"
            )
        yield os.fstat(held).st_ino
    finally:
        os.close(held)
