"""The names of kernels: ``host``, ``debian:6.12``, ``debian:6.12-rt``, ``debian:6.12.107+deb13``, a path.

Only the grammar is checked; whether such a kernel exists is decided by `rttcheck.kernels.archive`.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from pathlib import Path

from rttcheck.errors import KernelError

FLAVOURS = ("amd64", "rt-amd64")
"""Debian's kernel flavours that can be guests; ``cloud-amd64`` has no 9p and therefore no root file system."""

_SERIES = re.compile(r"\d+\.\d+")
_RELEASE = re.compile(r"\d+\.\d+(\.\d+)?[0-9A-Za-z.+~-]*")


class KernelSource(enum.Enum):
    """The origin of a kernel."""

    HOST = "host"
    DEBIAN = "debian"
    PATH = "path"


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """One kernel as the user named it.

    ``series`` is ``"6.12"`` for the newest of a series and for an exact Debian release alike; ``release`` is the
    exact one (``"6.12.107+deb13"``) or ``None``; ``path`` is set for images and build trees only.
    """

    text: str
    source: KernelSource
    series: str = ""
    release: str | None = None
    flavour: str = "amd64"
    path: Path | None = None

    @classmethod
    def parse(cls, text: str) -> KernelSpec:
        """Parse `text`.

        Raises `KernelError` when it is neither ``host``, ``debian:VERSION`` nor a path that exists.
        """
        if text == "host":
            return cls(text, KernelSource.HOST)
        if text.startswith("debian:"):
            return cls._debian(text)
        path = Path(text).expanduser()
        if path.exists():
            return cls(text, KernelSource.PATH, path=path.resolve())
        if _RELEASE.fullmatch(text):
            raise KernelError(f"kernel {text!r} names no source; write debian:{text} for the one in Debian's archive")
        raise KernelError(
            f"kernel {text!r} is neither 'host', 'debian:VERSION' (as in debian:6.12) nor a path that exists; write one"
        )

    @classmethod
    def _debian(cls, text: str) -> KernelSpec:
        version = text.removeprefix("debian:")
        flavour = "amd64"
        for known in FLAVOURS:
            version = version.removesuffix(f"-{known}")
        if version.endswith("-rt"):
            version, flavour = version.removesuffix("-rt"), "rt-amd64"
        if version.endswith("-cloud"):
            raise KernelError(f"{text!r}: cloud kernels have no 9p, which a guest's root needs; name the plain one")
        series = _SERIES.match(version)
        if series is None or not _RELEASE.fullmatch(version):
            raise KernelError(
                f"{text!r} is no Debian kernel version; write a series as in debian:6.12 or a release as in "
                "debian:6.12.107+deb13"
            )
        release = None if series.group() == version else version
        return cls(text, KernelSource.DEBIAN, series=series.group(), release=release, flavour=flavour)

    def __str__(self) -> str:
        return self.text
