"""What runs on the other machine: keeps a directory for this session, and ends with it.

Sent there as text through an execnet gateway before anything else is there, so it imports the standard library only and
runs on any Python 3.9. When its caller is silent for too long, or the connection ends, the launchers that were started
there are ended, and the directory is removed. What is left of a session whose agent was killed, the next one removes.
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
"""Seconds that a launcher has for its end before it is killed."""


def lease(channel: Any, *, packages: list[str], lease_s: float) -> None:
    """Make the session's directory, tell of the machine, and answer until nobody asks any more.

    The caller sends whether it is to go on. The channel's end tells it that the directory is gone.
    """
    sessions = os.path.join(_cache(), "sessions")  # noqa: PTH118  # as are those below: the oldest Pythons that get here
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
    """Fill the directory from a stream of tar."""
    with tarfile.open(fileobj=_Received(channel), mode="r|") as archive:
        if hasattr(tarfile, "fully_trusted_filter"):
            archive.extractall(directory, filter="fully_trusted")
        else:
            archive.extractall(directory)
    channel.send(0)


def run(channel: Any, *, argv: list[str], environment: dict[str, str], deadline_s: float) -> None:
    """Run a command; its status and what it said."""
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
        channel.send((-1, "", f"it was not done after {deadline_s:.0f} s"))
    except OSError as error:
        channel.send((-1, "", str(error)))


def pack(channel: Any, *, directory: str, wait_s: float) -> None:
    """Wait for the launcher that works in the directory to end, and send what it left, as tar."""
    deadline = time.monotonic() + wait_s
    for pid in _pids_in(directory):
        wait_for_exit(pid, within_s=deadline - time.monotonic())
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            # None where the connection did not get as far as to make it.
            for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():  # noqa: PTH112, PTH208
                archive.add(os.path.join(directory, name), name)  # noqa: PTH118
        file.seek(0)
        while chunk := file.read(_CHUNK):
            channel.send(chunk)
    shutil.rmtree(directory, ignore_errors=True)
    channel.send(b"")


class _Received(io.RawIOBase):
    """The chunks of a channel as a file; an empty one is its end."""

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
        given, self._held = self._held[:size], self._held[size:]
        return given


def _cache() -> str:
    """As `rttcheck.kernels.cache.cache_root`, which is not there yet."""
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
    """Held as long as this process lives; None when somebody else holds it."""
    descriptor = os.open(os.path.join(directory, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # noqa: PTH118
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _sweep(sessions: str) -> None:
    """Remove what sessions left whose agent is gone; one that is just being made has no lock for a moment."""
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
    """The launchers of a session that still run."""
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
