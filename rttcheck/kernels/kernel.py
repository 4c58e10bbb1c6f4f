"""A kernel that can be booted: where its image and its modules are.

Owns the shape of one cached kernel directory. Knows neither where it came from nor how it is booted.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from rttcheck.errors import KernelError

HEADERS = "headers"
"""The directory of a cached kernel's headers, beside its image."""


@dataclass(frozen=True, slots=True)
class BootableKernel:
    """One kernel at hand.

    ``image`` is a bzImage, ``modules`` the ``lib/modules/RELEASE`` directory (``None`` for a kernel without modules),
    ``release`` what ``uname -r`` says in it. ``package`` and ``version`` name its origin (empty for a path).
    """

    image: Path
    modules: Path | None
    release: str
    package: str = ""
    version: str = ""

    @property
    def has_netem(self) -> bool:
        """Whether ``sch_netem`` is among its modules or built in."""
        if self.modules is None:
            return False
        if (self.modules / "kernel/net/sched/sch_netem.ko").exists():
            return True
        builtin = self.modules / "modules.builtin"
        return builtin.exists() and "/sch_netem.ko" in builtin.read_text()

    @property
    def headers(self) -> Path | None:
        """The header tree that was fetched for it; in a guest ``/lib/modules/RELEASE/build`` leads there."""
        directory = self.image.parent / HEADERS
        return directory if directory.is_dir() else None

    @property
    def name(self) -> str:
        """How a report calls it: its release without the flavour."""
        return self.release.removesuffix("-amd64")

    def save(self, directory: Path) -> None:
        """Write what `load` reads; image and modules lie in `directory` already."""
        facts = {"release": self.release, "package": self.package, "version": self.version}
        (directory / "kernel.json").write_text(json.dumps(facts, indent=1) + "\n")

    @classmethod
    def load(cls, directory: Path) -> BootableKernel:
        """The kernel cached in `directory`; `KernelError` when there is none."""
        try:
            facts = json.loads((directory / "kernel.json").read_text())
            release = str(facts["release"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise KernelError(f"{directory} holds no kernel; remove it and fetch again") from error
        return cls(
            image=directory / "vmlinuz",
            modules=directory / "lib/modules" / release,
            release=release,
            package=str(facts.get("package", "")),
            version=str(facts.get("version", "")),
        )


def version_key(release: str) -> tuple[int, ...]:
    """Sort key of a release: 6.9 before 6.12, 6.1.0-9 before 6.1.0-56."""
    return tuple(int(part) for part in re.findall(r"\d+", release))


def release_of(image: Path) -> str:
    """``uname -r`` of an x86 bzImage, from its setup header (Documentation/arch/x86/boot.rst, ``kernel_version``).

    Raises `KernelError` when `image` is none.
    """
    try:
        with image.open("rb") as file:
            head = file.read(0x8000)
    except OSError as error:
        raise KernelError(f"kernel image {image} cannot be read ({error.strerror}); give another path") from error
    if len(head) < 0x210 or head[0x202:0x206] != b"HdrS":
        raise KernelError(f"{image} is no x86 kernel image (bzImage); give arch/x86/boot/bzImage of a build tree")
    (offset,) = struct.unpack_from("<H", head, 0x20E)
    words = head[offset + 0x200 :].split(b"\0", 1)[0].split()
    release = words[0].decode("ascii", "replace") if words else ""
    # It becomes part of paths.
    if not release or "/" in release or release.startswith("."):
        raise KernelError(f"{image} does not say its version; give an image that has one")
    return release
