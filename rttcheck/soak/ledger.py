"""The file of a soak: all suites so far, rewritten atomically after each one, so that a soak can be resumed.

A lock ensures that only one soak at a time writes the file.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rttcheck import __version__
from rttcheck.errors import RecordingError, ScenarioError
from rttcheck.soak.code import code_digest
from rttcheck.soak.condition import Condition
from rttcheck.soak.figures import document
from rttcheck.soak.suite import SuiteResult

SCHEMA = 2
"""Version of the file format; other versions are refused."""


@dataclass(slots=True)
class Ledger:
    """Suites in the order in which they ran. ``ending`` is the reason for an early end, else empty."""

    path: Path
    scenarios: tuple[str, ...]
    boot: str
    code: str = field(default_factory=code_digest)
    """Digest of the code that ran."""
    suites: list[SuiteResult] = field(default_factory=list)
    ending: str = ""

    @property
    def directory(self) -> Path:
        """Directory for the recordings of the suites, beside the file."""
        return self.path.with_name(f"{self.path.stem}.recordings")

    def done(self, condition: Condition) -> int:
        """Return how many suites ran under ``condition``."""
        return sum(suite.condition == condition for suite in self.suites)

    def add(self, suite: SuiteResult) -> None:
        """Add a suite and write the file."""
        self.suites.append(suite)
        self.save()

    def text(self) -> str:
        """Return the file's text; ``report`` is the `document` of the ``suites``."""
        header = {
            "schema": SCHEMA,
            "rttcheck": __version__,
            "code": self.code,
            "boot": self.boot,
            "scenarios": list(self.scenarios),
            "ending": self.ending,
            "report": document(self.suites),
        }
        # One line per suite keeps the file readable and short.
        suites = ",\n".join(json.dumps(suite.to_json(), ensure_ascii=False) for suite in self.suites)
        return f'{json.dumps(header, indent=1, ensure_ascii=False)[:-2]},\n "suites": [\n{suites}\n]}}\n'

    def save(self) -> None:
        """Write the file atomically. Raises RecordingError when it cannot be written."""
        try:
            handle, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
            temporary = Path(name)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(self.text())
                    file.flush()
                    os.fsync(file.fileno())
                temporary.chmod(0o644)
                temporary.replace(self.path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise RecordingError(
                f"the soak cannot be written to {self.path} ({error.strerror}): free space, or name another --output"
            ) from error


@contextmanager
def opened(path: Path, *, scenarios: tuple[str, ...], boot: str, resume: bool) -> Iterator[Ledger]:
    """Yield the ledger in ``path``, locked: a new one, or with ``resume`` the existing one.

    Raises ScenarioError when the file exists without ``resume``, or is of other scenarios, boots or code;
    RecordingError when it is damaged, or the directory cannot be written, or another soak has locked it.
    """
    path = path.absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.parent.name == ".rttcheck":
            (path.parent / ".gitignore").write_text("*\n")
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise RecordingError(
            f"the soak cannot be written to {path} ({error.strerror}): name another --output"
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RecordingError(f"another soak is writing {path}: wait for it, or name another --output") from error
        yield _ledger(path, scenarios=scenarios, boot=boot, resume=resume)
    finally:
        os.close(lock)


def _ledger(path: Path, *, scenarios: tuple[str, ...], boot: str, resume: bool) -> Ledger:
    if not path.exists():
        return Ledger(path, scenarios, boot)
    kept = load(path)
    if not resume:
        raise ScenarioError(
            f"{path} holds {len(kept.suites)} suites of an earlier soak: continue it with --resume, name another "
            "--output, or delete it"
        )
    if kept.code != code_digest():
        raise ScenarioError(
            f"{path} is a soak of another version of the code, whose checks may differ: name another --output"
        )
    if (kept.scenarios, kept.boot) != (scenarios, boot):
        raise ScenarioError(
            f"{path} is a soak of other scenarios or boots ({len(kept.scenarios)} scenarios, {kept.boot} guests): "
            "resume it with the same, or name another --output"
        )
    kept.ending = ""
    return kept


def load(path: Path) -> Ledger:
    """Load the ledger of a file. Raises RecordingError when it is missing, damaged, or of another schema."""
    try:
        given: Any = json.loads(path.read_text("utf-8"))
        if not isinstance(given, dict):
            raise ValueError("it holds no object")
        if given["schema"] != SCHEMA:
            raise RecordingError(
                f"the soak {path} has schema {given['schema']} and this rttcheck reads {SCHEMA}: name another --output"
            )
        return Ledger(
            path,
            tuple(str(name) for name in given["scenarios"]),
            str(given["boot"]),
            str(given["code"]),
            [SuiteResult.from_json(suite) for suite in given["suites"]],
            str(given["ending"]),
        )
    except OSError as error:
        raise RecordingError(f"the soak {path} cannot be read ({error.strerror}): name another --output") from error
    except (KeyError, TypeError, ValueError) as error:
        raise RecordingError(
            f"{path} is not a complete soak ({error}): it is damaged or truncated; delete it, or name another --output"
        ) from error
