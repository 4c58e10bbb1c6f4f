"""One session of a booted guest: its root, shares, environment and command, as shell text.

The guest's init (``guest_init.sh``) reads the text from the control port and calls the three functions in it. The
kernel command line and the initramfs contain nothing of it, so they are the same for all sessions.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT_TAG = "/dev/root"
"""The 9p mount tag of the host's root, set by virtme-ng."""

RW_TAG = "rttcheck.rw"
"""The 9p mount tag of the directory that is shared read-write."""

# Before 6.3 a request of any size takes two messages of msize (p9_fcall_init), and Debian's kernels clear what they
# allocate: on 5.10 imports took 64 s with 500 kB and 20 s with 64 kB; later kernels are as fast with either.
# noxattr: overlayfs reads trusted.overlay.metacopy of every file, one of seven requests to the host.
_9P = "trans=virtio,version=9p2000.L,access=any,msize=65536,noxattr"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestSession:
    """One command in a guest.

    ``argv`` is run in ``cwd`` with ``environment``; ``modules`` is the host's ``lib/modules/RELEASE`` directory;
    ``rw`` a host directory that the guest writes to, at ``rw_at`` or at the same path. ``binds`` are pairs of paths:
    the first is mounted at the second as well. ``forget``: Python was frozen with the guest and imports rttcheck anew.
    """

    argv: Sequence[str]
    cwd: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    modules: Path | None = None
    rw: Path | None = None
    rw_at: Path | None = None
    binds: Sequence[tuple[Path, Path]] = ()
    python: str = ""
    """The executable of the Python that was frozen with the guest; empty if there is none."""
    forget: bool = False

    def script(self) -> str:
        """Return the session as shell text."""
        return "\n".join([*self._root(), *self._mounts(), *self._command(), ""])

    def _root(self) -> list[str]:
        return [
            "session_root() {",
            "    must $B mkdir -p /lower /scratch",
            # Without a cache every stat of an import is a round trip to the host: 21 s instead of 4 s for pytest.
            f"    must $B mount -t 9p -o {_9P},cache=loose,ro {ROOT_TAG} /lower",
            "    must $B mount -t tmpfs -o mode=755,size=75% tmpfs /scratch",
            "    must $B mkdir -p /scratch/upper /scratch/work",
            "    must $B mount -t overlay -o lowerdir=/lower,upperdir=/scratch/upper,workdir=/scratch/work overlay "
            "/newroot",
            "}",
        ]

    def _mounts(self) -> list[str]:
        # The clock of a thawed guest is still at the time when it was frozen.
        lines = ["session_mounts() {", f"    $B date -u -s @{time.time():.0f} >/dev/null"]
        if self.modules is not None:
            release = shlex.quote(self.modules.name)
            lines += [
                "    $B mkdir -p /lib/modules",
                "    must $B mount -t tmpfs -o mode=755 tmpfs /lib/modules",
                f"    must $B ln -s {shlex.quote(str(self.modules))} /lib/modules/{release}",
            ]
        for source, place in self.binds:
            origin, target = shlex.quote(str(source)), shlex.quote(str(place))
            # The mount point has to exist, as a directory or as a file.
            lines += [
                f"    if [ -d {origin} ]; then $B mkdir -p {target}",
                f"    else $B mkdir -p {shlex.quote(str(place.parent))}; [ -e {target} ] || : > {target}; fi",
                f"    must $B mount -o bind {origin} {target}",
            ]
        if self.cwd != Path("/"):
            lines.append(f"    $B mkdir -p {shlex.quote(str(self.cwd))}")
        if self.rw is not None:
            where = shlex.quote(str(self.rw if self.rw_at is None else self.rw_at))
            lines += [
                f"    $B mkdir -p {where}",
                f"    must $B mount -t 9p -o {_9P},cache=none,rw {RW_TAG} {where}",
            ]
        return [*lines, "}"]

    def _command(self) -> list[str]:
        exports = [f"    export {name}={shlex.quote(value)}" for name, value in sorted(self.environment.items())]
        return [
            *self._request(),
            "session_command() {",
            f"    cd {shlex.quote(str(self.cwd))} || return 126",
            *exports,
            f"    {shlex.join(self.argv)}",
            "}",
        ]

    def _request(self) -> list[str]:
        """Return the request to the Python that was frozen with the guest, if the command is for it."""
        if not self.python or self.argv[0] != self.python:
            return []
        request = {
            "argv": list(self.argv),
            "cwd": str(self.cwd),
            "environment": dict(self.environment),
            "forget": self.forget,
            # Every thawed guest has the same random numbers.
            "seed": os.urandom(32).hex(),
        }
        return [f"session_python={shlex.quote(json.dumps(request))}"]
