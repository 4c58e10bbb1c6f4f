"""What is brought to another machine, and what comes home from it, as streams of tar.

Owns which files go: rttcheck's own, and the tests' root without what tools keep there. A file that comes home is
complete when it gets its name. Knows no ssh.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

import rttcheck
import rttcheck_netns
from rttcheck.collect.bpf_files import BPF
from rttcheck.errors import RemoteError

PACKAGES = {
    Path(rttcheck.__file__).parent: "rttcheck",
    Path(rttcheck_netns.__file__).parent: "rttcheck_netns",
    BPF: "rttcheck/bpf",
}
"""The directories of this machine that make up rttcheck, and their names there, where a wheel would have them."""

MOST_BYTES = 256 << 20
"""More than this is no tests' root but somebody's home."""

_CHUNK = 1 << 18
_LEFT = frozenset({"__pycache__", "node_modules"})


def taken(directory: Path) -> Iterator[Path]:
    """What of `directory` goes along: neither hidden, nor bytecode, nor a virtual environment."""
    for entry in sorted(directory.iterdir()):
        if entry.name.startswith(".") or entry.name in _LEFT or entry.name.endswith((".pyc", ".egg-info")):
            continue
        if (entry / "pyvenv.cfg").exists():
            continue
        if entry.is_symlink() or entry.is_file() or entry.is_dir():
            yield entry


def load(file: IO[bytes], root: Path) -> None:
    """Write the tar: ``package/rttcheck``, with what makes it a pytest plugin, and ``root``.

    Raises `RemoteError` when the root is too large to be meant.
    """
    with tarfile.open(fileobj=file, mode="w", dereference=True) as archive:
        for directory, name in PACKAGES.items():
            _add(archive, directory, f"package/{name}", most=MOST_BYTES)
        facts = f"package/rttcheck-{rttcheck.__version__}.dist-info"
        _add_text(
            archive, f"{facts}/METADATA", f"Metadata-Version: 2.1\nName: rttcheck\nVersion: {rttcheck.__version__}\n"
        )
        _add_text(archive, f"{facts}/entry_points.txt", "[pytest11]\nrttcheck = rttcheck.plugin\n")
    # Links in the root stay what they are, and go on to mean what they mean here.
    file.seek(0)
    with tarfile.open(fileobj=file, mode="a") as archive:
        if not _add(archive, root, "root", most=MOST_BYTES):
            raise RemoteError(
                f"the tests' root {root} holds more than {MOST_BYTES >> 20} MB, too much to be brought to another "
                "machine: give a smaller one with --rootdir"
            )
    file.seek(0)


def _add(archive: tarfile.TarFile, directory: Path, name: str, *, most: int) -> bool:
    """Whether all of it was less than `most` bytes."""
    archive.add(directory, name, recursive=False)
    for entry in taken(directory):
        inside = f"{name}/{entry.name}"
        if entry.is_dir() and (archive.dereference or not entry.is_symlink()):
            if not _add(archive, entry, inside, most=most):
                return False
        else:
            archive.add(entry, inside, recursive=False)
        if archive.offset > most:
            return False
    return True


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    import io

    member = tarfile.TarInfo(name)
    member.size = len(text.encode())
    archive.addfile(member, io.BytesIO(text.encode()))


def chunks(file: IO[bytes]) -> Iterator[bytes]:
    """The file in pieces; the last is empty."""
    while chunk := file.read(_CHUNK):
        yield chunk
    yield b""


def unload(file: IO[bytes], places: dict[str, Path]) -> None:
    """Put a guest's files in their places: a directory's name, or a file's, to where it belongs here.

    Only plain files come home, and only into those places: the other machine is not trusted with more.
    """
    with tarfile.open(fileobj=file, mode="r") as archive:
        for member in archive:
            parts = PurePosixPath(member.name).parts
            source = archive.extractfile(member) if member.isreg() and ".." not in parts else None
            if source is None or not parts or parts[0] not in places:
                continue
            target = places[parts[0]].joinpath(*parts[1:])
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.partial")
            with partial.open("wb") as copy:
                while chunk := source.read(_CHUNK):
                    copy.write(chunk)
            partial.replace(target)
