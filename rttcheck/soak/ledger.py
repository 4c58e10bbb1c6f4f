"""The file that a soak is kept in: every suite so far, whole after each of them, and gone on from later.

Owns the file's form, that there is never half of it, and that one soak at a time writes it. It counts nothing.
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
"""Version of the file's form; another is refused."""


@dataclass(slots=True)
class Ledger:
    """Suites in the order in which they ran. ``ending`` says why it ended early, empty when it did not."""

    path: Path
    scenarios: tuple[str, ...]
    boot: str
    code: str = field(default_factory=code_digest)
    """Which code was soaked."""
    suites: list[SuiteResult] = field(default_factory=list)
    ending: str = ""

    @property
    def directory(self) -> Path:
        """Where what suites leave behind is kept: beside the file."""
        return self.path.with_name(f"{self.path.stem}.recordings")

    def done(self, condition: Condition) -> int:
        """How many suites ran under ``condition``."""
        return sum(suite.condition == condition for suite in self.suites)

    def add(self, suite: SuiteResult) -> None:
        """Keep one more suite, in the file too."""
        self.suites.append(suite)
        self.save()

    def text(self) -> str:
        """The file: ``report`` is what `document` makes of the ``suites`` below it."""
        header = {
            "schema": SCHEMA,
            "rttcheck": __version__,
            "code": self.code,
            "boot": self.boot,
            "scenarios": list(self.scenarios),
            "ending": self.ending,
            "report": document(self.suites),
        }
        # One suite a line: the file can be read by a person, and does not grow to millions of lines.
        suites = ",\n".join(json.dumps(suite.to_json(), ensure_ascii=False) for suite in self.suites)
        return f'{json.dumps(header, indent=1, ensure_ascii=False)[:-2]},\n "suites": [\n{suites}\n]}}\n'

    def save(self) -> None:
        """Write the file, whole or not at all. Raises RecordingError when it cannot be written."""
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
                f"the soak cannot be kept in {self.path} ({error.strerror}): make room, or name another --output"
            ) from error


@contextmanager
def opened(path: Path, *, scenarios: tuple[str, ...], boot: str, resume: bool) -> Iterator[Ledger]:
    """The ledger in ``path``, held against a second soak: a new one, or with ``resume`` the one that is there.

    Raises ScenarioError when there is one and nobody said ``resume``, or when it is of other scenarios, boots or
    code; RecordingError when it is damaged, or the directory cannot be written, or another soak has it.
    """
    path = path.absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.parent.name == ".rttcheck":
            (path.parent / ".gitignore").write_text("*\n")
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise RecordingError(f"the soak cannot be kept in {path} ({error.strerror}): name another --output") from error
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
            f"{path} holds {len(kept.suites)} suites of an earlier soak: go on with it by --resume, name another "
            "--output, or delete it"
        )
    if kept.code != code_digest():
        raise ScenarioError(
            f"{path} is a soak of other code than this, whose checks may be others: name another --output"
        )
    if (kept.scenarios, kept.boot) != (scenarios, boot):
        raise ScenarioError(
            f"{path} is a soak of other scenarios or boots ({len(kept.scenarios)} scenarios, {kept.boot} guests): "
            "resume it with the same, or name another --output"
        )
    kept.ending = ""
    return kept


def load(path: Path) -> Ledger:
    """The ledger in a file. Raises RecordingError when it is missing, damaged, or of another schema."""
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
            f"{path} is not a whole soak ({error}): it was damaged or cut short; delete it, or name another --output"
        ) from error
