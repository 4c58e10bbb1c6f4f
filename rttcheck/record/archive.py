"""A recording's file: a ZIP archive whose members are read when they are first asked for.

Opening reads the header, and of each table the description of its columns: a command that goes through a thousand files
reads nothing else of them. The CRC of a member is checked when it is read.
"""

from __future__ import annotations

import io
import json
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from rttcheck.errors import RecordingError
from rttcheck.record.columns import read_columns
from rttcheck.record.event import EVENT, EVENT_ALWAYS
from rttcheck.record.packet import WIRE
from rttcheck.record.stamp import STAMP
from rttcheck.record.tick import TICK
from rttcheck.record.write import WRITE
from rttcheck_netns.relay.packets import PACKET

SCHEMA: Final = 5
"""Version of the file's layout; a reader refuses what is newer than itself. Since 2 with packets, since 3 with a second
probe's events, since 4 with the machine's noise, the relay's packets, control runs on both sides of the run and the
kernel's log, since 5 with the stamps of leaving packets, the application's writes and timers in virtual time."""

HEADER: Final = "recording.json"
PACKETS: Final = "packets.pcapng"
UNITS: Final = ("us", "ms")

LAYOUTS: Final = {
    "events": EVENT, "control": EVENT, "wire": WIRE, "control_wire": WIRE, "second": EVENT, "noise": TICK,
    "relay": PACKET, "stamps": STAMP, "control_stamps": STAMP, "writes": WRITE, "control_writes": WRITE,
    "timers": TICK,
}  # fmt: skip
SINCE: Final = {
    "wire": 2, "control_wire": 2, "second": 3, "noise": 4, "relay": 4, "stamps": 5, "control_stamps": 5, "writes": 5,
    "control_writes": 5, "timers": 5,
}  # fmt: skip
"""Tables that older files do not have: they load empty."""

_RENAMED: Final = {"reserved": "owned"}
"""Columns of events that had another name: always zero then, which means unknown now."""

_ALWAYS: Final = {name: frozenset(layout.names or ()) for name, layout in LAYOUTS.items() if layout != EVENT}
"""Of the other tables no version has had other columns yet. One that is added is left out here, and named in the
``needs.columns`` of the checks that use it."""

_AT_ONCE: Final = 1 << 20
"""Bytes read from a member at a time."""

_MOST_DESCRIPTION: Final = 1 << 16
"""More bytes than stand before an array's data."""

_NOT_WHOLE = (
    OSError, zipfile.BadZipFile, zlib.error, KeyError, ValueError, TypeError, SyntaxError, tokenize.TokenError,
    EOFError, RuntimeError, MemoryError, OverflowError,
)  # fmt: skip
"""What reading a damaged archive may raise; RuntimeError covers flipped bits that ask for a password or a method."""


@dataclass(frozen=True, slots=True)
class Archive:
    """An opened file, which is not kept open. Every method raises RecordingError when the file is not whole."""

    path: Path
    header: dict[str, Any]
    absent: frozenset[str]
    """Columns that the file lacks, as in ``wire.window``."""
    _identity: tuple[int, ...]

    @classmethod
    def open(cls, path: Path) -> Archive:
        """Read the header, and which columns the tables have.

        Raises RecordingError when the file is missing, cut short, newer than this program, or damaged in what is read.
        """
        identity = _identity(path)
        with _reading(path) as archive:
            header = json.loads(archive.read(HEADER))
            if not isinstance(header, dict) or header.get("schema", 0) > SCHEMA:
                found = header.get("schema") if isinstance(header, dict) else "none"
                raise RecordingError(
                    f"the recording {path} has schema {found} and this rttcheck reads up to {SCHEMA}: upgrade it"
                )
            layouts = {name: _layout(archive, name) for name in LAYOUTS if _is_due(name, header)}
            others = [f"histogram_{unit}.npy" for unit in UNITS] + [PACKETS] * bool(header.get("packets_bytes"))
            for name in others:
                archive.getinfo(name)
        absent: set[str] = set()
        for name, layout in layouts.items():
            _, missing = _in_layout(path, name, np.zeros(0, dtype=layout))
            absent |= {f"{name}.{column}" for column in missing}
        return cls(path, header, frozenset(absent), identity)

    def table(self, name: str) -> np.ndarray:
        """Read a table, in today's columns; empty where the file is older than the table."""
        if not _is_due(name, self.header):
            return np.zeros(0, dtype=LAYOUTS[name])
        return _in_layout(self.path, name, self._array(name))[0]

    def histograms(self) -> dict[str, np.ndarray]:
        """Read the kernel-side histograms, by unit."""
        return {unit: self._array(f"histogram_{unit}") for unit in UNITS}

    def packets(self) -> bytes:
        """Read the captured frames; empty where the file has none."""
        if not self.header.get("packets_bytes"):
            return b""
        with self._same() as archive:
            return archive.read(PACKETS)

    def _array(self, name: str) -> np.ndarray:
        with self._same() as archive:
            # All of it, and so its CRC, before anything of it is believed; the array then owns these bytes.
            content = bytearray(archive.getinfo(f"{name}.npy").file_size)
            with archive.open(f"{name}.npy") as member:
                filled = 0
                while part := member.read(_AT_ONCE):
                    content[filled : filled + len(part)] = part
                    filled += len(part)
            stream = io.BytesIO(content[:_MOST_DESCRIPTION])
            shape, layout = _described(stream)
            array: np.ndarray = np.frombuffer(content, dtype=layout, offset=stream.tell()).reshape(shape)
        return array

    @contextmanager
    def _same(self) -> Iterator[zipfile.ZipFile]:
        """Open the file again, which must still be the one whose header was read."""
        if _identity(self.path) != self._identity:
            raise RecordingError(f"the recording {self.path} was changed while it was read: try again")
        with _reading(self.path) as archive:
            yield archive


@contextmanager
def _reading(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open the archive; what goes wrong inside is a RecordingError."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileNotFoundError as error:
        raise RecordingError(f"there is no recording {path}: check the name") from error
    except _NOT_WHOLE as error:
        raise RecordingError(f"{path} is not a whole recording ({error}): record the run again") from error


def _identity(path: Path) -> tuple[int, ...]:
    """Return what tells the file from one that replaces it; empty without a file."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _is_due(name: str, header: dict[str, Any]) -> bool:
    return bool(header.get("schema", 0) >= SINCE.get(name, 0))


def _layout(archive: zipfile.ZipFile, name: str) -> np.dtype:
    """Return the columns of a table, from the first bytes of its member."""
    with archive.open(f"{name}.npy") as member:
        return _described(member)[1]


def _described(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and layout of an array in the ``.npy`` format; ``stream`` is then at its data."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, layout = read(stream)
    if layout.hasobject:
        raise ValueError("a table holds Python objects")
    return shape, layout


def _in_layout(path: Path, name: str, array: np.ndarray) -> tuple[np.ndarray, Collection[str]]:
    """Return a table in today's columns, and the names of those that it lacks."""
    of_events = LAYOUTS[name] == EVENT
    always, renamed = (EVENT_ALWAYS, _RENAMED) if of_events else (_ALWAYS.get(name, frozenset()), None)
    try:
        return read_columns(array, LAYOUTS[name], always=always, renamed=renamed)
    except RecordingError as error:
        raise RecordingError(f"the table {name} of {path} cannot be read: {error}") from error
