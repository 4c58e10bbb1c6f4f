"""A kernel that can be booted: the paths of its image and its modules, and the format of its cache directory."""

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
    """One kernel on this machine.

    ``image`` is a bzImage, ``modules`` the ``lib/modules/RELEASE`` directory (``None`` for a kernel without modules),
    ``release`` its ``uname -r``. ``package`` and ``version`` are those of Debian's package (empty for a path).
    """

    image: Path
    modules: Path | None
    release: str
    package: str = ""
    version: str = ""

    @property
    def headers(self) -> Path | None:
        """Its fetched header tree, or None; in a guest ``/lib/modules/RELEASE/build`` links to it."""
        directory = self.image.parent / HEADERS
        return directory if directory.is_dir() else None

    @property
    def name(self) -> str:
        """Its name in reports: the release without the flavour."""
        return self.release.removesuffix("-amd64")

    def save(self, directory: Path) -> None:
        """Write the file that `load` reads; image and modules are in `directory` already."""
        facts = {"release": self.release, "package": self.package, "version": self.version}
        (directory / "kernel.json").write_text(json.dumps(facts, indent=1) + "\n")

    @classmethod
    def load(cls, directory: Path) -> BootableKernel:
        """Load the kernel cached in `directory`. Raises `KernelError` when there is none."""
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
    """Return the sort key of a release: 6.9 before 6.12, 6.1.0-9 before 6.1.0-56."""
    return tuple(int(part) for part in re.findall(r"\d+", release))


def release_of(image: Path) -> str:
    """Return the ``uname -r`` of an x86 bzImage, from its setup header.

    Source: Documentation/arch/x86/boot.rst, ``kernel_version``. Raises `KernelError` when `image` is no bzImage.
    """
    try:
        with image.open("rb") as file:
            head = file.read(0x8000)
    except OSError as error:
        raise KernelError(f"kernel image {image} cannot be read ({error.strerror}); give another path") from error
    if len(head) < 0x210 or head[0x202:0x206] != b"HdrS":
        raise KernelError(f"{image} is no x86 kernel image (bzImage); give arch/x86/boot/bzImage of a build tree")
    (offset,) = struct.unpack_from("<H", head, 0x20E)
    version = head[offset + 0x200 :].split(b"\0", 1)[0].split()
    release = version[0].decode("ascii", "replace") if version else ""
    # It becomes part of paths.
    if not release or "/" in release or release.startswith("."):
        raise KernelError(f"{image} contains no version; give another image")
    return release
