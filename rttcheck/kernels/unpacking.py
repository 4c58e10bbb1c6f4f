"""Download and unpack Debian packages into a temporary directory. Maintainer scripts are not run."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rttcheck.errors import KernelError
from rttcheck.kernels.apt import Archive
from rttcheck.kernels.cache import Progress


@contextlib.contextmanager
def unpacked(
    archive: Archive, parts: Sequence[str], version: str, *, beside: Path, progress: Progress
) -> Iterator[Path]:
    """Unpack the packages `parts` of one version in a temporary directory below `beside`.

    Raises `KernelError` when they cannot be downloaded or unpacked.
    """
    with tempfile.TemporaryDirectory(dir=beside, prefix="unpacked.") as scratch:
        files = Path(scratch) / "root"
        for deb in archive.download(parts, version, Path(scratch), progress=progress):
            _unpack(deb, files, parts[0], beside.parent)
        yield files


def _unpack(deb: Path, into: Path, package: str, place: Path) -> None:
    try:
        done = subprocess.run(["dpkg", "-x", deb, into], capture_output=True, text=True, check=False)
    except OSError as error:
        raise KernelError(
            f"dpkg cannot be executed ({error.strerror}), and Debian's kernels are unpacked with it; install dpkg"
        ) from error
    if done.returncode:
        reason = "the disk is full" if "No space left" in done.stderr else done.stderr.strip()
        raise KernelError(f"{package} cannot be unpacked in {place} ({reason}); free some space")
