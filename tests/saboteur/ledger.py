"""What is known of the saboteur's faults: an entry for each kernel, fault and scenario, in a file that is continued.

It owns the entry, the word that an entry comes to, and the file: a line of JSON each, the last of a key counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from rttcheck.errors import RttcheckError
from rttcheck.judge.findings import Layer, Outcome
from rttcheck.judge.verdict import judge
from rttcheck.record.recording import Recording
from tests.saboteur.session import Recorded


class Word(StrEnum):
    """What became of a fault in a scenario."""

    FOUND = "found"
    """It failed, and the guilty layer was named."""
    MISBLAMED = "found, another is blamed"
    UNSURE = "inconclusive"
    UNSEEN = "not found"
    UNUSED = "path not used"
    """The fault never acted, and all is well."""
    ALARM = "false alarm"
    """Nothing was wrong, and it did not pass."""
    LOST = "not recorded"


Key = tuple[str, str, str]
"""Where it was tried (kernel, probe, engine), the fault's name, the scenario's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One fault in one scenario. ``where`` names kernel, probe and engine; ``path`` is of the recording."""

    where: str
    fault: str
    scenario: str
    kernel: str = ""
    probe: str = ""
    engine: str = ""
    hits: int = 0
    could: int = 0
    before: int = 0
    outcome: str = ""
    layer: str = ""
    check: str = ""
    message: str = ""
    path: str = ""
    error: str = ""

    @classmethod
    def of(cls, where: str, recorded: Recorded) -> Entry:
        """What was recorded, not judged yet."""
        return cls(
            where=where,
            fault=recorded.fault,
            scenario=recorded.scenario,
            kernel=recorded.kernel,
            probe=" and ".join(filter(None, (recorded.probe, recorded.second))),
            engine=recorded.engine,
            hits=recorded.hits,
            could=recorded.could,
            before=recorded.before,
            path=str(recorded.path or ""),
            error=recorded.error,
        )

    @property
    def key(self) -> Key:
        """What there is one entry of."""
        return self.where, self.fault, self.scenario

    def judged(self) -> Entry:
        """The same with today's verdict; as it is where there is no recording. A damaged one is an error."""
        if not self.path:
            return self
        try:
            verdict = judge(Recording.load(Path(self.path)))
        except RttcheckError as error:
            return replace(self, path="", error=str(error))
        reason = verdict.reason
        return replace(
            self,
            outcome=verdict.outcome.value,
            layer=reason.layer.value if reason is not None else "",
            check=reason.key if reason is not None else "",
            message=reason.message if reason is not None else "",
        )

    def word(self, guilty: Layer | None) -> Word:
        """What it comes to, where ``guilty`` is the layer of the fault; None where nothing is wrong."""
        if self.error or not self.outcome:
            return Word.LOST
        passed = self.outcome == Outcome.PASSED
        # A fault that acted in the control run alone is found there.
        acted = self.hits or (self.before and not passed)
        if not acted or guilty is None:
            return Word.UNUSED if passed else Word.ALARM
        if self.outcome == Outcome.PASSED:
            return Word.UNSEEN
        if self.outcome == Outcome.INCONCLUSIVE:
            return Word.UNSURE
        return Word.FOUND if self.layer == guilty else Word.MISBLAMED

    def render(self, guilty: Layer | None) -> str:
        """For a person, on one line."""
        blamed = f": {self.layer}: {self.message}" if self.layer else ""
        return f"{self.word(guilty)} ({self.hits} of {self.could}) {self.outcome}{blamed}{self.error}"


class Ledger:
    """The entries in a file, which is written to as they come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[Key, Entry] = {}
        with suppress(FileNotFoundError):
            for line in path.read_text().splitlines():
                entry = Entry(**json.loads(line))
                self._entries[entry.key] = entry

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    def get(self, key: Key) -> Entry | None:
        """The entry of that key, None where there is none."""
        return self._entries.get(key)

    def add(self, entry: Entry) -> None:
        """Keep an entry, in the file too."""
        self._entries[entry.key] = entry
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(f"{json.dumps(asdict(entry))}\n")

    def write(self, entries: Iterable[Entry]) -> None:
        """Keep entries, and write the file anew with one line for each key."""
        self._entries |= {entry.key: entry for entry in entries}
        fresh = self.path.with_suffix(".new")
        fresh.write_text("".join(f"{json.dumps(asdict(entry))}\n" for entry in self))
        fresh.rename(self.path)
