"""The Python that a guest is frozen with: what identifies it, and its files for the initramfs.

QEMU saves a guest's memory only while no directory of the host is mounted in it. Therefore the initramfs holds Python
and the modules that it imports, at the same paths as on the host.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rttcheck.errors import KernelError
from rttcheck.kernels import warm_python

_TAKEN = ("PYTHON", "NPY_", "LANG", "LC_", "TZ")
"""Prefixes of the variables that Python and NumPy read when they start."""

_LISTING_S = 120.0
"""Seconds that the imports may take on the host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonImage:
    """This process' Python in a guest.

    ``environment`` has the variables that it starts with. ``key`` identifies interpreter, installed packages and
    environment, ``sources`` the source files of rttcheck: modules whose sources have changed can be imported anew.
    """

    executable: str
    environment: Mapping[str, str]
    key: str
    sources: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> PythonImage:
        """Return the image for a session with that environment."""
        kept = {name: value for name, value in environment.items() if name.startswith(_TAKEN)}
        facts = [
            sys.executable,
            sys.version,
            *sys.path[1:],
            *(f"{name}={value}" for name, value in sorted(kept.items())),
        ]
        facts += _installed()
        return cls(
            executable=sys.executable,
            environment=kept,
            key=_digest(facts),
            sources=_digest(_state(path) for path in _sources()),
        )

    def start_script(self) -> str:
        """Return the shell text with which init starts it."""
        exports = [f"export {name}={shlex.quote(value)}" for name, value in sorted(self.environment.items())]
        command = shlex.join([self.executable, warm_python.__file__, "--wait", "4", "5"])
        return "\n".join([*exports, f"exec {command}", ""])

    def files(self) -> tuple[Path, ...]:
        """Return directories, links and files, each after the directories it is in.

        Raises `KernelError` when the imports fail on this machine.
        """
        command = [self.executable, warm_python.__file__, "--files"]
        # Bytecode that is missing is written now, and spares the guest the compilation.
        environment = {key: value for key, value in self.environment.items() if key != "PYTHONDONTWRITEBYTECODE"}
        try:
            done = subprocess.run(
                command, env=environment, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=_LISTING_S, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise KernelError(f"Python cannot be frozen with a guest ({error})") from error
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise KernelError(f"Python cannot be frozen with a guest, its imports fail here ({reason})")
        found: dict[Path, None] = {}
        for name in json.loads(done.stdout.splitlines()[-1]):
            path = Path(name)
            _add(path, found)
            if ".so" in path.name:
                # The loader looks for a library's short name, a link to the file.
                for beside in path.parent.glob(f"{path.name.partition('.so')[0]}.so*"):
                    if beside.is_symlink() and beside.resolve() == path.resolve():
                        _add(beside, found)
        return tuple(found)


def _add(path: Path, found: dict[Path, None]) -> None:
    """Add a path with the directories and links on its way."""
    at = Path("/")
    for number, part in enumerate(path.parts[1:], start=2):
        at /= part
        if not at.is_symlink():
            found.setdefault(at)
            continue
        target = Path(os.path.normpath(at.parent / at.readlink()))
        rest = target.joinpath(*path.parts[number:])
        _add(rest, found)
        found.setdefault(at)
        return


def _installed() -> Iterator[str]:
    """Yield what is installed in the directories of modules: names and versions, and when that changed last."""
    for directory in sys.path[1:]:
        path = Path(directory)
        if path.is_dir():
            yield _state(path)
            yield from sorted(entry.name for entry in os.scandir(path) if entry.name.endswith((".dist-info", ".pth")))


def _sources() -> Iterator[Path]:
    import rttcheck
    import rttcheck_netns

    for package in (rttcheck, rttcheck_netns):
        for directory in package.__path__:
            yield from sorted(Path(directory).rglob("*.py"))


def _state(path: Path) -> str:
    status = path.stat()
    return f"{path}:{status.st_size if path.is_file() else 0}:{status.st_mtime_ns}"


def _digest(facts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()
