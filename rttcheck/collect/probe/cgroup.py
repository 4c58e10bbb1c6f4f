"""Open the cgroup that a sockops program is attached to: this process's own, in a hierarchy of version 2.

Finds the hierarchy in the mount table; where none is mounted (a machine with version 1 alone) it opens one without a
mount point, held by a file descriptor and closed with the process. No process is moved.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rttcheck.errors import CapabilityError

MOUNTINFO: Final = Path("/proc/self/mountinfo")
CGROUP: Final = Path("/proc/self/cgroup")

_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
"""System call numbers, the same on all architectures (since Linux 5.2)."""
_FSCONFIG_CMD_CREATE, _CLOEXEC = 6, 1

_REMEDY = (
    "mount one (mount -t cgroup2 none /mnt), boot with systemd.unified_cgroup_hierarchy=1, "
    "or name another probe backend"
)


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A mounted cgroup hierarchy: its version, where it is mounted, and which of its cgroups is the root there."""

    version: int
    point: str
    root: str


@dataclass(frozen=True, slots=True)
class Cgroup:
    """A cgroup, held by a file descriptor; ``where`` describes it for the user."""

    fd: int
    where: str


def hierarchies(mountinfo: str) -> tuple[Hierarchy, ...]:
    """Return the cgroup hierarchies in the text of ``/proc/self/mountinfo`` (proc(5)), in its order."""
    found = []
    for line in mountinfo.splitlines():
        mount, dash, filesystem = line.partition(" - ")
        kind = filesystem.split(" ", 1)[0]
        fields = mount.split(" ")
        if dash and kind in ("cgroup", "cgroup2") and len(fields) > 4:
            root, point = (re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text) for text in fields[3:5])
            found.append(Hierarchy(2 if kind == "cgroup2" else 1, point, root))
    return tuple(found)


def own_path(cgroup: str) -> str | None:
    """Return this process's cgroup of version 2 from the text of ``/proc/self/cgroup``; None while it is unused."""
    return next((line.removeprefix("0::") for line in cgroup.splitlines() if line.startswith("0::")), None)


def below(hierarchy: Hierarchy, path: str) -> str | None:
    """Return the path of the cgroup ``path`` in a mounted hierarchy; None when it is not below a mounted one."""
    if path == "/.." or path.startswith("/../"):  # outside of this process's cgroup namespace
        return None
    root = hierarchy.root.rstrip("/")
    if path != root and not path.startswith(f"{root}/"):
        return None
    return f"{hierarchy.point.rstrip('/')}/{path[len(root) :].lstrip('/')}".rstrip("/") or "/"


@contextmanager
def open_cgroup(*, mountinfo: Path = MOUNTINFO, cgroup: Path = CGROUP) -> Iterator[Cgroup]:
    """Yield this process's own cgroup. Raises CapabilityError where no hierarchy of version 2 is available."""
    mounted = hierarchies(mountinfo.read_text())
    path = own_path(cgroup.read_text())
    for hierarchy in mounted if path is not None else ():
        place = below(hierarchy, path) if hierarchy.version == 2 and path is not None else None
        if place is not None and Path(place).is_dir():
            fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                yield Cgroup(fd, f"the cgroup {place}")
            finally:
                os.close(fd)
            return
    with _own_hierarchy(mounted) as top:
        # The kernel lists cgroups of version 2 once there is a hierarchy of it.
        path = own_path(cgroup.read_text()) or "/"
        try:
            fd = os.open(path.lstrip("/") or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=top)
        except OSError as error:
            raise CapabilityError(
                f"the sockops probe is attached to this process's cgroup, {path}, which cannot be opened "
                f"({error.strerror}): {_REMEDY}"
            ) from None
        try:
            yield Cgroup(fd, f"the cgroup {path} in a hierarchy of its own")
        finally:
            os.close(fd)


@contextmanager
def _own_hierarchy(mounted: tuple[Hierarchy, ...]) -> Iterator[int]:
    """Yield the hierarchy of version 2, of which every kernel has one, without a mount point."""
    system_call = ctypes.CDLL(None, use_errno=True).syscall
    held: list[int] = []

    def call(*arguments: object) -> int:
        result = int(system_call(*arguments))
        if result < 0:
            found = "has only cgroup version 1" if mounted else "has no cgroups mounted"
            raise CapabilityError(
                f"the sockops probe needs a cgroup hierarchy of version 2, this machine {found}, and the kernel "
                f"refuses to create one ({os.strerror(ctypes.get_errno())}): {_REMEDY}"
            )
        return result

    try:
        held.append(call(_FSOPEN, b"cgroup2", _CLOEXEC))
        call(_FSCONFIG, held[0], _FSCONFIG_CMD_CREATE, None, None, 0)
        held.append(call(_FSMOUNT, held[0], _CLOEXEC, 0))
        yield held[1]
    finally:
        for fd in held:
            os.close(fd)
