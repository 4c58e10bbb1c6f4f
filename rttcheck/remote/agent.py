"""The program on the other machine: it keeps a directory for one session, and cleans up when the session ends.

It is sent there as text through an execnet gateway before anything else is there, so it imports the standard library
only and runs on any Python 3.9. When the caller sends nothing for too long, or the connection ends, the agent ends the
launchers of the session and removes the directory. Directories of killed agents are removed by the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from typing import Any

_CHUNK = 1 << 18
_END_S = 10.0
"""Seconds that a launcher has to end before it is killed."""


def lease(channel: Any, *, packages: list[str], lease_s: float) -> None:
    """Make the session's directory, send facts about the machine, and answer until the caller stops asking.

    The caller sends True to continue and False to end. The end of the channel means that the directory is removed.
    """
    sessions = os.path.join(_cache(), "sessions")  # noqa: PTH118  # os.path throughout, for the oldest Pythons
    os.makedirs(sessions, exist_ok=True)  # noqa: PTH103
    _sweep(sessions)
    directory = tempfile.mkdtemp(dir=sessions)
    lock = _lock(directory)
    silent = False
    try:
        channel.send(json.dumps({**_facts(packages), "directory": directory}))
        while channel.receive(timeout=lease_s):
            channel.send(0)
    except channel.TimeoutError:
        silent = True
    except (EOFError, OSError):
        pass
    finally:
        _end(_pids(directory))
        shutil.rmtree(directory, ignore_errors=True)
        if lock is not None:
            os.close(lock)
        if silent:
            os._exit(1)


def unpack(channel: Any, *, directory: str) -> None:
    """Unpack a tar stream into the directory."""
    with tarfile.open(fileobj=_Received(channel), mode="r|") as archive:
        if hasattr(tarfile, "fully_trusted_filter"):
            archive.extractall(directory, filter="fully_trusted")
        else:
            archive.extractall(directory)
    channel.send(0)


def run(channel: Any, *, argv: list[str], environment: dict[str, str], deadline_s: float) -> None:
    """Run a command and send (status, output, error output); the status is -1 where it could not be run."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, **environment},
            timeout=deadline_s,
            check=False,
        )
        channel.send((done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")))
    except subprocess.TimeoutExpired:
        channel.send((-1, "", f"it was not finished after {deadline_s:.0f} s"))
    except OSError as error:
        channel.send((-1, "", str(error)))


def pack(channel: Any, *, directory: str, wait_s: float) -> None:
    """Wait for the launcher of the directory to end, send the directory's contents as tar, and remove it."""
    deadline = time.monotonic() + wait_s
    for pid in _pids_in(directory):
        wait_for_exit(pid, within_s=deadline - time.monotonic())
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            # It does not exist if the connection was not set up that far.
            for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():  # noqa: PTH112, PTH208
                archive.add(os.path.join(directory, name), name)  # noqa: PTH118
        file.seek(0)
        while chunk := file.read(_CHUNK):
            channel.send(chunk)
    shutil.rmtree(directory, ignore_errors=True)
    channel.send(b"")


class _Received(io.RawIOBase):
    """The chunks of a channel as a file; an empty chunk is its end."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._held = b""
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        while not self._ended and (size < 0 or len(self._held) < size):
            chunk = self._channel.receive()
            self._ended = not chunk
            self._held += chunk
        size = len(self._held) if size < 0 else size
        data, self._held = self._held[:size], self._held[size:]
        return data


def _cache() -> str:
    """Return the same as `rttcheck.kernels.cache.cache_root`, which is not on this machine yet."""
    own = os.environ.get("RTTCHECK_CACHE")
    if own:
        return os.path.abspath(own)  # noqa: PTH100
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return os.path.join(home, "rttcheck")  # noqa: PTH118


def _facts(packages: list[str]) -> dict[str, Any]:
    from importlib import metadata

    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = ""
    available = 0
    with open("/proc/meminfo") as file:  # noqa: PTH123
        for line in file:
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) // 1024
    return {
        "python": sys.version_info[:3],
        "executable": sys.executable,
        "versions": versions,
        "cores": len(os.sched_getaffinity(0)),
        "available_mb": available,
        "host": os.uname().nodename,
    }


def _lock(directory: str) -> int | None:
    """Lock the directory for as long as this process lives; return None when another process holds the lock."""
    descriptor = os.open(os.path.join(directory, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # noqa: PTH118
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _sweep(sessions: str) -> None:
    """Remove directories of sessions whose agent has ended; a new directory has no lock for a moment."""
    for directory in glob.glob(os.path.join(sessions, "*")):  # noqa: PTH118, PTH207
        try:
            if time.time() - os.stat(directory).st_mtime < 60:  # noqa: PTH116
                continue
            lock = _lock(directory)
        except OSError:
            continue
        if lock is not None:
            _end(_pids(directory))
            shutil.rmtree(directory, ignore_errors=True)
            os.close(lock)


def _pids(directory: str) -> list[int]:
    """Return the process ids of a session's launchers that still run."""
    found = []
    for guest in glob.glob(os.path.join(directory, "guests", "*")):  # noqa: PTH118, PTH207
        found += _pids_in(guest)
    return found


def _pids_in(guest: str) -> list[int]:
    try:
        with open(os.path.join(guest, "pid")) as file:  # noqa: PTH118, PTH123
            pid = int(file.read())
        with open(f"/proc/{pid}/cmdline", "rb") as line:  # noqa: PTH123
            return [pid] if guest.encode() in line.read() else []
    except (OSError, ValueError):
        return []


def _end(pids: list[int]) -> None:
    for pid in pids:
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + _END_S
    for pid in pids:
        if not wait_for_exit(pid, within_s=deadline - time.monotonic()):
            _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def wait_for_exit(pid: int, *, within_s: float) -> bool:
    """Return whether the process `pid` ends within that many seconds; True if there is no such process."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(max(0.0, 1000 * within_s)))
    finally:
        os.close(descriptor)


if __name__ == "__channelexec__":
    caller: Any = globals()["channel"]
    task, arguments = caller.receive()
    globals()[task](caller, **arguments)
