"""The files that are transferred to another machine, and back from it, as tar streams.

rttcheck's own files are transferred, and the tests' root without the files of tools. A fetched file gets its name when
it is complete.
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
"""The directories of rttcheck on this machine, and their names there, which are those in a wheel."""

MOST_BYTES = 256 << 20
"""Limit for a tests' root; a larger one is likely a home directory."""

_CHUNK = 1 << 18
_LEFT = frozenset({"__pycache__", "node_modules"})


def taken(directory: Path) -> Iterator[Path]:
    """Yield the entries of `directory` to transfer: no hidden files, no bytecode, no virtual environments."""
    for entry in sorted(directory.iterdir()):
        if entry.name.startswith(".") or entry.name in _LEFT or entry.name.endswith((".pyc", ".egg-info")):
            continue
        if (entry / "pyvenv.cfg").exists():
            continue
        if entry.is_symlink() or entry.is_file() or entry.is_dir():
            yield entry


def pack(file: IO[bytes], root: Path) -> None:
    """Write the tar: ``package/rttcheck``, with the metadata of a pytest plugin, and ``root``.

    Raises `RemoteError` when the root is larger than `MOST_BYTES`.
    """
    with tarfile.open(fileobj=file, mode="w", dereference=True) as archive:
        for directory, name in PACKAGES.items():
            _add(archive, directory, f"package/{name}", most=MOST_BYTES)
        facts = f"package/rttcheck-{rttcheck.__version__}.dist-info"
        _add_text(
            archive, f"{facts}/METADATA", f"Metadata-Version: 2.1\nName: rttcheck\nVersion: {rttcheck.__version__}\n"
        )
        _add_text(archive, f"{facts}/entry_points.txt", "[pytest11]\nrttcheck = rttcheck.plugin\n")
    # Links in the root are transferred as links.
    file.seek(0)
    with tarfile.open(fileobj=file, mode="a") as archive:
        if not _add(archive, root, "root", most=MOST_BYTES):
            raise RemoteError(
                f"the tests' root {root} has more than {MOST_BYTES >> 20} MB, too much to transfer to another "
                "machine: give a smaller one with --rootdir"
            )
    file.seek(0)


def _add(archive: tarfile.TarFile, directory: Path, name: str, *, most: int) -> bool:
    """Add a directory; return whether the archive is not larger than `most` bytes."""
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
    """Yield the file in chunks; the last one is empty."""
    while chunk := file.read(_CHUNK):
        yield chunk
    yield b""


def unpack(file: IO[bytes], places: dict[str, Path]) -> None:
    """Unpack a guest's files; ``places`` maps a name in the archive, of a directory or a file, to its path.

    Only plain files below these names are unpacked, because the other machine is not trusted.
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
